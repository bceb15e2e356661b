"""The API server: one handler for every path, in the order security, identity, permission, resource.

    Host and Origin -> token -> route -> RBAC -> handler -> Status or answer

Nothing runs before the checks, and whatever a handler refuses becomes a Status.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from meshverdict.cluster import discovery, openapi
from meshverdict.cluster.auth import Authenticator, User
from meshverdict.cluster.backend import PodBackend
from meshverdict.cluster.bodies import BODY_LIMIT
from meshverdict.cluster.errors import (
    ApiError,
    method_not_allowed,
    no_such_resource,
    too_many_requests,
    unauthorized,
)
from meshverdict.cluster.http import answers, resources, reviews, streams, subresources
from meshverdict.cluster.http.answers import Form
from meshverdict.cluster.http.call import Call, Services
from meshverdict.cluster.http.route import Route, parse, resource_route
from meshverdict.cluster.http.watch import watch
from meshverdict.cluster.objects import Objects
from meshverdict.cluster.rbac import Attempt, authorize, refusal
from meshverdict.cluster.store import FullError

_log = logging.getLogger(__name__)
DEFAULT_HOSTS: Final = (
    "127.0.0.1",
    "localhost",
    "::1",
    "10.96.0.1",
    "172.31.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
_HEALTH: Final = frozenset({"healthz", "livez", "readyz"})
_COLLECTION_VERBS: Final = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT_VERBS: Final = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SUB_VERBS: Final = {**_OBJECT_VERBS, "POST": "create"}
_STREAMS: Final = frozenset({"log", "exec", "attach", "portforward", "proxy"})
_ENDPOINTS_WARNING: Final = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"


class Server:
    """Answers requests.

    Args:
        services: Objects, tokens and the pods' runtime.
        hosts: Names and addresses that may stand in a ``Host`` header.
    """

    def __init__(self, services: Services, hosts: Sequence[str] = DEFAULT_HOSTS) -> None:
        self._services = services
        self._hosts = frozenset(hosts)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; what is refused becomes a Status."""
        try:
            return await self._handle(request)
        except ApiError as error:
            response = answers.refusal(error)
            if request.can_read_body and not request.content.is_eof():
                response.force_close()  # what was not read must not be taken for the next request
            return response
        except FullError as error:
            return answers.refusal(too_many_requests(f"{error}: delete some, then try again"))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except RecursionError:
            return answers.refusal(ApiError(400, "BadRequest", "the object is nested too deeply"))
        except Exception:  # noqa: BLE001 - the last line before the client: it gets a Status, the log the cause
            _log.exception("%s %s", request.method, request.rel_url.path)
            text = "Internal error occurred: see the log of the lab"
            return answers.refusal(ApiError(500, "InternalError", text, {}))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._check_origin(request)
        user = self._user(request)
        segments, raw = parse(request.raw_path.partition("?")[0])
        route = resource_route(segments, raw) if segments[0] in {"api", "apis"} else None
        user = self._impersonated(request, route, user)
        if route is None:
            return self._other(request, segments, user)
        return await self._resource(request, route, user)

    def _check_origin(self, request: web.Request) -> None:
        host = request.headers.get("Host", "")
        name = host.rpartition(":")[0] if _has_port(host) else host
        if name.strip("[]").lower() not in self._hosts:
            text = f"the Host header {host!r} names none of this server's addresses"
            raise ApiError(403, "Forbidden", text, {})
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise ApiError(403, "Forbidden", f"requests of other sites ({origin!r}) are not answered", {})

    def _user(self, request: web.Request) -> User:
        user = self._services.auth.user(request.headers.get("Authorization"))
        if user is None:
            user = streams.user_of_protocol(request, self._services.auth)
        if user is None:
            raise unauthorized()
        return user

    def _impersonated(self, request: web.Request, route: Route | None, user: User) -> User:
        """Who the request is made as: the administrator may act as anybody.

        Raises:
            ApiError: 403 for everybody else.
        """
        name = request.headers.get("Impersonate-User")
        if name is None:
            return user
        if not user.superuser:
            verb = "impersonate-on:user-info:"
            if route is None:
                raise refusal(user, Attempt(verb + request.method.lower(), path=request.path))
            verb += _verb(request, route)
            place = (route.group, route.plural, route.subresource, route.namespace, route.name)
            raise refusal(user, Attempt(verb, *place))
        groups = tuple(request.headers.getall("Impersonate-Group", []))
        return User(name, (*groups, "system:authenticated"))

    # ---- everything that is no resource

    def _other(self, request: web.Request, segments: list[str], user: User) -> web.StreamResponse:
        path = "/" + "/".join(segments)
        attempt = Attempt(request.method.lower().replace("head", "get"), path=path)
        if not authorize(self._services.objects.store, user, attempt).allowed:
            raise refusal(user, attempt)
        while len(segments) > 1 and segments[-1] == "":
            segments = segments[:-1]
        response = self._page(request, segments)
        if response is None:
            return answers.not_found_page()
        if request.method not in {"GET", "HEAD"}:
            raise method_not_allowed()
        return response

    def _page(self, request: web.Request, segments: list[str]) -> web.Response | None:  # noqa: PLR0911, PLR0912 - a table of paths
        kinds = self._services.objects.kinds
        accept = request.headers.get("Accept", "")
        match segments:
            case [""]:
                return answers.answer({"paths": self._root_paths()})
            case ["version"]:
                return answers.answer(discovery.VERSION)
            case [name, *_] if name in _HEALTH:
                return answers.plain_text("ok")
            case ["api" | "apis" as root]:
                version = next(
                    (v for v in ("v2", "v2beta1") if f"v={v};as=APIGroupDiscoveryList" in accept), ""
                )
                if version:
                    value = discovery.aggregated(kinds, core=root == "api", version=version)
                    return answers.answer(value, form=Form(discovery.AGGREGATED[version]))
                host = request.headers.get("Host", "")
                return answers.answer(
                    discovery.core_versions(host) if root == "api" else discovery.group_list(kinds)
                )
            case ["api", version]:
                return _or_none(discovery.resource_list(kinds, "", version))
            case ["apis", group]:
                return _or_none(discovery.group(kinds, group))
            case ["apis", group, version]:
                return _or_none(discovery.resource_list(kinds, group, version))
            case ["openapi", "v2"]:
                if openapi.VERSION_TWO_MEDIA in accept:
                    headers = {
                        "Content-Type": openapi.VERSION_TWO_MEDIA.replace("@", ".")
                    }  # as a real server: no @ in it
                    return web.Response(body=openapi.version_two_protobuf(), headers=headers)
                return answers.answer(openapi.version_two())
            case ["openapi", "v3"]:
                return answers.answer(openapi.index(kinds), form=Form("text/plain; charset=utf-8"))
            case ["openapi", "v3", "api", version]:
                return _or_none(openapi.document(kinds, "", version))
            case ["openapi", "v3", "apis", group, version]:
                return _or_none(openapi.document(kinds, group, version))
            case _:
                return None

    def _root_paths(self) -> list[str]:
        paths = ["/api", "/api/v1", "/apis"]
        for name, versions in self._services.objects.kinds.groups().items():
            paths += [f"/apis/{name}", *(f"/apis/{name}/{version}" for version in versions)]
        return [*sorted(paths), "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]

    # ---- resources

    async def _resource(self, request: web.Request, route: Route, user: User) -> web.StreamResponse:
        kinds = self._services.objects.kinds
        kind = kinds.find(route.group, route.version, route.plural)
        known = kind is not None or self._known_version(route)
        if not known:
            attempt = Attempt(request.method.lower(), path=request.path)
            if not authorize(self._services.objects.store, user, attempt).allowed:
                raise refusal(user, attempt)
            return answers.not_found_page()
        verb = _verb(request, route)
        attempt = Attempt(verb, route.group, route.plural, route.subresource, _namespace(route), route.name)
        if not authorize(self._services.objects.store, user, attempt).allowed:
            raise refusal(user, attempt)
        if kind is None or (route.subresource and kind.sub(route.subresource) is None):
            raise no_such_resource()
        if route.namespace and not kind.namespaced:
            raise no_such_resource()
        if route.name and kind.namespaced and not route.namespace:
            raise no_such_resource()
        form = answers.negotiate(request.headers.get("Accept", ""))
        call = Call(request, self._services, user, route, kind, form)
        if kind.resource == "endpoints":
            call.warnings.append(_ENDPOINTS_WARNING)
        if route.subresource:
            return await self._subresource(call)
        return await self._plain(call, verb)

    def _known_version(self, route: Route) -> bool:
        if not route.group:
            return route.version == "v1"
        return route.version in self._services.objects.kinds.groups().get(route.group, [])

    async def _plain(self, call: Call, verb: str) -> web.StreamResponse:  # noqa: PLR0911 - a table of verbs
        allowed = call.kind.verbs
        if verb not in allowed:
            raise method_not_allowed()
        if call.kind.verbs == ("create",):
            if call.kind.plural == "bindings":
                raise method_not_allowed()
            return await reviews.review(call)
        match verb:
            case "watch":
                with self._services.watches.held():
                    return await watch(call)
            case "list":
                return await resources.list_objects(call)
            case "create":
                return await resources.create(call)
            case "deletecollection":
                return await resources.delete_collection(call)
            case "get":
                return await resources.get(call)
            case "update":
                return await resources.update(call)
            case "patch":
                return await resources.patch(call)
            case _:
                return await resources.delete(call)

    async def _subresource(self, call: Call) -> web.StreamResponse:
        name, method = call.route.subresource, call.request.method
        if name in _STREAMS:
            with self._services.streams.held():
                return await streams.handle(call)
        verb = _SUB_VERBS.get(method, "")
        found = call.kind.sub(name)
        if found is None or verb not in found.verbs:
            raise method_not_allowed()
        if name == "scale":
            return await subresources.scale(call)
        if name == "status":
            match method:
                case "GET":
                    return await resources.get(call)
                case "PUT":
                    return await resources.update(call)
                case _:
                    return await resources.patch(call)
        return await subresources.HANDLERS[call.kind.plural, name](call)


def _has_port(host: str) -> bool:
    return ":" in host and (not host.endswith("]")) and (host.count(":") == 1 or "]:" in host)


def _or_none(value: dict[str, object] | None) -> web.Response | None:
    return None if value is None else answers.answer(value)


def _namespace(route: Route) -> str:
    """The namespace that RBAC looks at: a namespace is in itself."""
    return route.name if route.plural == "namespaces" and not route.namespace else route.namespace


def _verb(request: web.Request, route: Route) -> str:
    """Kubernetes' verb of a request.

    Raises:
        ApiError: 405 for methods that mean nothing here.
    """
    if route.subresource:
        verbs = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
        verb = verbs.get(request.method)
        if verb is None:
            raise method_not_allowed()
        return verb
    watching = request.query.get("watch", "").lower() in {"1", "true", "t"}
    verbs = _OBJECT_VERBS if route.name else _COLLECTION_VERBS
    verb = verbs.get(request.method)
    if verb is None:
        raise method_not_allowed()
    return "watch" if watching and verb in {"list", "get"} else verb


def make_app(
    objects: Objects, auth: Authenticator, backend: PodBackend, *, hosts: Sequence[str] = DEFAULT_HOSTS
) -> web.Application:
    """The API as an aiohttp application.

    Args:
        objects: The cluster.
        auth: Who may come in.
        backend: Where pods run.
        hosts: What a ``Host`` header may name.
    """
    app = web.Application(client_max_size=BODY_LIMIT)
    server = Server(Services(objects, auth, backend), hosts)
    app.router.add_route("*", "/{path:.*}", server.handle)
    return app


async def serve(
    app: web.Application, sockets: Sequence[socket.socket], context: ssl.SSLContext | None
) -> None:
    """Serve on *sockets*, which are bound, until cancelled; they are closed at the end.

    Args:
        app: From `make_app`.
        sockets: Of any network namespace.
        context: TLS; None only for tests.
    """
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        for listening in sockets:
            await web.SockSite(runner, listening, ssl_context=context).start()
        await asyncio.Event().wait()
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await runner.cleanup()
