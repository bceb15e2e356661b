"""Logs, exec, attach, port-forward and proxies: what leads into running pods.

The checks come first and are the same for all: who asks was checked at the upgrade too (a websocket is a request
like any other), the pod must exist, the container must be one of its own.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from typing import Any

from aiohttp import web

from meshverdict.cluster.auth import Authenticator, User
from meshverdict.cluster.backend import BackendError, LogOptions
from meshverdict.cluster.errors import ApiError, bad, bad_request, go_quote, invalid, method_not_allowed
from meshverdict.cluster.http import exec_session, port_forward, proxy
from meshverdict.cluster.http.call import Call
from meshverdict.cluster.http.resources import stored
from meshverdict.cluster.store import Manifest

_BEARER = "base64url.bearer.authorization.k8s.io."


def user_of_protocol(request: web.Request, auth: Authenticator) -> User | None:
    """Who a websocket names in its subprotocols, for clients that can set no headers."""
    for offered in request.headers.get("Sec-WebSocket-Protocol", "").split(","):
        name = offered.strip()
        if not name.startswith(_BEARER):
            continue
        text = name.removeprefix(_BEARER)
        try:
            token = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        except (binascii.Error, ValueError):
            return None
        return auth.of_token(token)
    return None


async def handle(call: Call) -> web.StreamResponse:
    """Any stream into a pod, or through a Service."""
    name, method = call.route.subresource, call.request.method
    if name == "proxy":
        return await proxy.handle(call)
    if name == "log":
        if method != "GET":
            raise method_not_allowed()
        return await log(call)
    if method not in {"GET", "POST"}:
        raise method_not_allowed()
    if name == "portforward":
        return await port_forward.handle(call)
    return await exec_session.handle(call)


def choose_container(call: Call, pod: Manifest) -> str:
    """The container of the query, or the pod's only one.

    Raises:
        ApiError: 400.
    """
    spec = pod["spec"]
    names = [c["name"] for c in spec.get("containers") or []]
    initial = [c["name"] for c in spec.get("initContainers") or []]
    wanted = call.query("container")
    if wanted:
        if wanted in names or wanted in initial:
            return wanted
        raise bad_request(f"container {wanted} is not valid for pod {pod['metadata']['name']}")
    if len(names) == 1:
        return str(names[0])
    preferred = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if preferred in names:
        return str(preferred)
    text = f"a container name must be specified for pod {pod['metadata']['name']}"
    text += f", choose one of: [{' '.join(names)}]"
    if initial:
        text += f" or one of the init containers: [{' '.join(initial)}]"
    raise bad_request(text)


async def log(call: Call) -> web.StreamResponse:
    """``GET .../log``."""
    options = _log_options(call)
    pod = stored(call)
    container = choose_container(call, pod)
    if not pod["spec"].get("nodeName"):
        return web.Response(status=204)
    chunks = call.services.backend.logs(pod, container, options)
    response = web.StreamResponse()
    response.headers["Content-Type"] = "text/plain"
    response.headers["Cache-Control"] = "no-cache, private"
    try:
        first = await anext(chunks, None)
    except BackendError as error:
        raise bad_request(str(error)) from None
    await response.prepare(call.request)
    try:
        if first:
            await response.write(first)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
    except (BackendError, ConnectionError):
        pass  # the log ended badly after its first part was sent, or nobody reads it any more
    return response


def _log_options(call: Call) -> LogOptions:
    tail, limit = call.integer("tailLines"), call.integer("limitBytes")
    seconds, since = call.integer("sinceSeconds"), call.query("sinceTime")
    errors = []
    if tail is not None and tail < 0:
        errors.append(bad("tailLines", tail, "must be greater than or equal to 0"))
    if limit is not None and limit < 1:
        errors.append(bad("limitBytes", limit, "must be greater than 0"))
    if seconds is not None and since:
        errors.append(
            bad("sinceSeconds", seconds, "at most one of `sinceTime` or `sinceSeconds` may be specified")
        )
    elif seconds is not None and seconds < 1:
        errors.append(bad("sinceSeconds", seconds, "must be greater than 0"))
    if errors:
        raise invalid("PodLogOptions", "", call.route.name, errors)
    moment: float | None = None
    if seconds is not None:
        moment = call.objects.clock() - seconds
    elif since:
        try:
            moment = dt.datetime.fromisoformat(since).timestamp()
        except ValueError:
            text = f'parsing time {go_quote(since)} as "2006-01-02T15:04:05Z07:00"'
            raise bad_request(text) from None
    return LogOptions(
        follow=call.flag("follow"),
        previous=call.flag("previous"),
        timestamps=call.flag("timestamps"),
        tail_lines=tail,
        limit_bytes=limit,
        since_time=moment,
    )


def require_upgrade(call: Call) -> None:
    """Refuse a request that is no websocket.

    Raises:
        ApiError: 400.
    """
    headers = call.request.headers
    upgrade = headers.get("Upgrade", "").lower()
    if "upgrade" not in headers.get("Connection", "").lower() or not upgrade:
        raise bad_request("Upgrade request required")
    if upgrade != "websocket":
        text = f"unable to upgrade: this server speaks websocket, not {upgrade}; use kubectl 1.31 or newer"
        raise ApiError(400, "BadRequest", text)


def running(pod: Manifest) -> bool:
    """Whether a pod has containers to reach."""
    status: dict[str, Any] = pod.get("status") or {}
    return status.get("phase") == "Running"
