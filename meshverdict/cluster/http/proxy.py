"""``/proxy``: HTTP requests to a pod, through a Service or to a node's kubelet, as the API server sends them on.

The path is passed on as it came; nothing of the caller's credentials is. One connection a request, HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from meshverdict.cluster.backend import BackendError
from meshverdict.cluster.errors import ApiError, bad_request, method_not_allowed
from meshverdict.cluster.http import answers
from meshverdict.cluster.http.call import Call
from meshverdict.cluster.store import Manifest

_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "authorization",
        "host",
        "content-length",
        "sec-websocket-protocol",
    }
)
_CHUNK: Final = 64 * 1024
_SECONDS: Final = 60
_SUMMARY: Final = "/stats/summary"


async def handle(call: Call) -> web.StreamResponse:
    """Any method of ``/proxy`` below a pod, Service or node."""
    if call.kind.plural == "nodes":
        return _kubelet(call)
    scheme, name, port = _target(call.route.name)
    if scheme == "https":
        raise bad_request("the embedded lab's proxy speaks http to pods: leave the scheme out")
    pod, number = (
        _of_service(call, name, port) if call.kind.plural == "services" else _of_pod(call, name, port)
    )
    try:
        reader, writer = await asyncio.wait_for(call.services.backend.dial(pod, number), _SECONDS)
    except (OSError, BackendError, TimeoutError) as error:
        text = f"error trying to reach service: {error or 'timed out'}"
        raise ApiError(503, "ServiceUnavailable", text, {}) from None
    try:
        return await _exchange(call, reader, writer, number)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, TimeoutError) as error:
        text = f"error trying to reach service: the answer cannot be read: {type(error).__name__}"
        raise ApiError(503, "ServiceUnavailable", text, {}) from None
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, OSError):
            await writer.wait_closed()


def _kubelet(call: Call) -> web.Response:
    """What the lab's kubelet serves: the summary of what its pods use.

    Raises:
        ApiError: 404 for everything else that a kubelet has.
    """
    node = _named(call, _target(call.route.name)[1])
    # Client libraries write the slash as %2F.
    if unquote(call.route.rest).rstrip("/") != _SUMMARY:
        text = f"the embedded lab's kubelet serves {_SUMMARY} alone, not {call.route.rest or '/'!r}"
        raise ApiError(404, "NotFound", text, {})
    if call.request.method != "GET":
        raise method_not_allowed()
    return answers.answer(call.services.backend.stats(node))


def _target(text: str) -> tuple[str, str, str]:
    """``[scheme:]name[:port]``."""
    parts = text.split(":")
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    if len(parts) == 2 and parts[0] not in {"http", "https"}:
        return "", parts[0], parts[1]
    return ("", text, "") if len(parts) == 1 else (parts[0], parts[1], "")


def _named(call: Call, name: str) -> Manifest:
    obj = call.objects.get(call.kind.resource, call.route.namespace, name)
    if obj is None:
        raise ApiError(
            404,
            "NotFound",
            f'{call.kind.plural} "{name}" not found',
            {"name": name, "kind": call.kind.plural},
        )
    return obj


def _of_pod(call: Call, name: str, port: str) -> tuple[Manifest, int]:
    pod = _named(call, name)
    ports = [p for c in pod["spec"]["containers"] for p in c.get("ports") or []]
    if not port:
        return pod, int(ports[0]["containerPort"]) if ports else 80
    if port.isdigit() and 1 <= int(port[:6]) <= 65535:
        return pod, int(port)
    found = next((p for p in ports if p.get("name") == port), None)
    if found is None:
        raise bad_request(f'invalid pod request "{call.route.name}": no port "{port}"')
    return pod, int(found["containerPort"])


def _of_service(call: Call, name: str, port: str) -> tuple[Manifest, int]:
    """A ready pod behind the Service, and its port."""
    service = _named(call, name)
    ports = service["spec"].get("ports") or []
    wanted = next((p for p in ports if port in {str(p["port"]), p.get("name")}), None) if port else None
    if not port and ports:
        wanted = ports[0]
    if wanted is None:
        text = f'no service port "{port}" found for service "{name}"'
        raise ApiError(503, "ServiceUnavailable", text, {})
    label = "kubernetes.io/service-name"
    found: list[tuple[str, int]] = []
    for piece in call.objects.list("endpointslices.discovery.k8s.io", call.route.namespace):
        if (piece["metadata"].get("labels") or {}).get(label) != name:
            continue
        numbers = [p["port"] for p in piece.get("ports") or [] if p.get("name", "") == wanted.get("name", "")]
        for endpoint in piece.get("endpoints") or []:
            target = endpoint.get("targetRef") or {}
            if (endpoint.get("conditions") or {}).get("ready", True) and target.get("kind") == "Pod":
                found += [(target["name"], number) for number in numbers]
    if not found:
        raise ApiError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"', {})
    pod_name, number = random.choice(found)  # noqa: S311 - any will do
    pod = call.objects.get("pods", call.route.namespace, pod_name)
    if pod is None:
        raise ApiError(503, "ServiceUnavailable", f'no endpoints available for service "{name}"', {})
    return pod, int(number)


async def _exchange(
    call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
) -> web.StreamResponse:
    request = call.request
    body = await call.body()
    path = call.route.rest or "/"
    query = request.raw_path.partition("?")[2]
    target = f"{path}?{query}" if query else path
    if any(char in target for char in " \r\n\0"):
        raise bad_request("the path of a proxied request has characters that a request line cannot carry")
    address = (stored_address(call) or "pod") + f":{port}"
    lines = [f"{request.method} {target} HTTP/1.1", f"Host: {address}", "Connection: close"]
    for key, value in request.headers.items():
        if key.lower() not in _HOP and not key.lower().startswith("impersonate-"):
            lines.append(f"{key}: {value}")
    lines.append(f"X-Forwarded-Uri: {request.rel_url.raw_path}")
    if body or request.method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines) + "\r\n\r\n"
    writer.write(head.encode("utf-8", "surrogateescape") + body)
    await writer.drain()
    return await _relay(call, reader)


def stored_address(call: Call) -> str:
    """What stands in the Host header: the name of the target."""
    return _target(call.route.name)[1]


async def _relay(call: Call, reader: asyncio.StreamReader) -> web.StreamResponse:
    raw = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _SECONDS)
    first, *rest = raw[:-4].decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if not parts[0].startswith("HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
        raise ValueError(first)
    response = web.StreamResponse(status=int(parts[1]))
    length: int | None = None
    chunked = False
    for line in rest:
        key, _, value = line.partition(":")
        name, value = key.strip().lower(), value.strip()
        if name == "content-length":
            length = int(value)
        elif name == "transfer-encoding":
            chunked = value.lower() == "chunked"
        elif name not in _HOP and name:
            response.headers.add(key.strip(), value)
    if length is not None and call.request.method != "HEAD":
        response.content_length = length
    await response.prepare(call.request)
    if call.request.method != "HEAD" and response.status not in {204, 304}:
        if chunked:
            await _copy_chunks(reader, response)
        else:
            await _copy(reader, response, length)
    await response.write_eof()
    return response


async def _copy(reader: asyncio.StreamReader, response: web.StreamResponse, length: int | None) -> None:
    left = length
    while left is None or left > 0:
        data = await reader.read(_CHUNK if left is None else min(_CHUNK, left))
        if not data:
            return
        await response.write(data)
        if left is not None:
            left -= len(data)


async def _copy_chunks(reader: asyncio.StreamReader, response: web.StreamResponse) -> None:
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0].strip(), 16)
        if size == 0:
            return
        await _copy(reader, response, size)
        await reader.readexactly(2)
