"""Route configurations: one for each HTTP port, a virtual host for each Service on it, a VirtualService's routes inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from meshverdict.mesh import retries, route_action, route_match, traffic_policy
from meshverdict.mesh.check_texts import LARGEST_BODY
from meshverdict.mesh.envoy import ROUTE_CONFIGURATION, Json, typed
from meshverdict.mesh.lookup import destination_policy, virtual_service, virtual_services
from meshverdict.mesh.names import PASSTHROUGH, domains, full_host, outbound_cluster
from meshverdict.mesh.translation_error import naming
from meshverdict.mesh.values import Mesh, Port, Resource, Service, Workload

_NO_LIMIT: Json = {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"}
# Hosts that only a VirtualService knows are served where plain HTTP is.
_HTTP_PORT = 80


def http_ports(mesh: Mesh) -> list[int]:
    """The ports on which some Service speaks HTTP."""
    return sorted({port.number for s in mesh.by_host.values() for port in s.ports if port.is_http})


def configuration(mesh: Mesh, proxy: Workload, number: int) -> Json:
    """The route configuration of a port, as Istio names it: by the port's number."""
    hosts = [
        _service_host(mesh, proxy, service, port)
        for service in mesh.by_host.values()
        if (port := service.port(number)) is not None and port.is_http
    ]
    if number == _HTTP_PORT:
        hosts += _invented_hosts(mesh, proxy)
    hosts.append(_anywhere())
    return typed(
        ROUTE_CONFIGURATION,
        name=str(number),
        virtual_hosts=_without_doubles(hosts),
        validate_clusters=False,
        ignore_port_in_host_matching=True,
        max_direct_response_body_size_bytes=LARGEST_BODY,
    )


def _without_doubles(hosts: Iterable[Json]) -> list[Json]:
    """Envoy refuses a domain that two virtual hosts claim, in whatever case: the first keeps it."""
    taken: set[str] = set()
    kept = []
    for host in hosts:
        own = [domain for domain in host["domains"] if domain.lower() not in taken]
        taken.update(domain.lower() for domain in own)
        if own:
            kept.append(host | {"domains": own})
    return kept


def _host(name: str, names: list[str], routes: list[Json]) -> Json:
    return {"name": name, "domains": names, "routes": routes, "include_request_attempt_count": True}


def _service_host(mesh: Mesh, proxy: Workload, service: Service, port: Port) -> Json:
    rule = virtual_service(mesh, proxy, service.host)
    routed = rule is not None and "http" in rule.spec
    routes = (
        virtual_service_routes(mesh, proxy, rule, port.number)
        if rule is not None and routed
        else [_plain(mesh, proxy, service, port)]
    )
    return _host(f"{service.host}:{port.number}", domains(service, proxy.namespace), routes)


def _plain(mesh: Mesh, proxy: Workload, service: Service, port: Port) -> Json:
    action: Json = {
        "cluster": outbound_cluster(port.number, service.host),
        "timeout": "0s",
        "retry_policy": retries.default(mesh.settings.retries),
        "max_stream_duration": _NO_LIMIT,
    }
    policy = destination_policy(mesh, proxy.namespace, service.host).policy(port)
    hashing = traffic_policy.hash_policy(policy)
    if hashing:
        action["hash_policy"] = hashing
    return _named("default", {"prefix": "/"}, action, f"{service.host}:{port.number}/*")


def _named(name: str, match: Json, action: Json, operation: str) -> Json:
    return {"match": match, "route": action, "decorator": {"operation": operation}, "name": name}


def _invented_hosts(mesh: Mesh, proxy: Workload) -> list[Json]:
    """Virtual hosts for a VirtualService's hosts that are no Service; a wildcard that Services match is theirs."""
    found = []
    for rule in virtual_services(mesh, proxy):
        for written in rule.spec.get("hosts") or ():
            host = full_host(written, rule.namespace)
            if host in mesh.by_host or host.startswith("*") or "http" not in rule.spec:
                continue
            routes = virtual_service_routes(mesh, proxy, rule, _HTTP_PORT)
            found.append(_host(f"{host}:{_HTTP_PORT}", [host], routes))
    return found


def _anywhere() -> Json:
    """ALLOW_ANY: a host that nobody knows is called at the address that the client chose."""
    action = {"cluster": PASSTHROUGH, "timeout": "0s", "max_stream_duration": _NO_LIMIT}
    return _host("allow_any", ["*"], [{"name": "allow_any", "match": {"prefix": "/"}, "route": action}])


def virtual_service_routes(mesh: Mesh, proxy: Workload, rule: Resource, port: int) -> list[Json]:
    """A VirtualService's routes for one client and port, up to the first that takes everything."""
    around = _Around(mesh, proxy, rule, port)
    found: list[Json] = []
    for http in rule.spec.get("http") or ():
        for match in http.get("match") or (None,):
            if match is not None and not route_match.holds_for(match, proxy, port):
                continue
            with naming(f"VirtualService {rule.namespace}/{rule.name}"):
                built: Json = {
                    "match": route_match.route_match(match),
                    **route_action.action(http, around.surroundings),
                }
            name = ".".join(filter(None, (http.get("name"), (match or {}).get("name"))))
            if name:
                built["name"] = name
            found.append(built)
            if route_match.takes_everything(built["match"]):
                return found
    return found


class _Around:
    """Names and hash policies of a rule's destinations, for one client and port."""

    def __init__(self, mesh: Mesh, proxy: Workload, rule: Resource, port: int) -> None:
        self._mesh, self._proxy, self._rule, self._port = mesh, proxy, rule, port
        self.surroundings = route_action.Surroundings(
            port=port, cluster=self._cluster, hashing=self._hashing, variant=mesh.settings.retries
        )

    def _cluster(self, destination: Mapping[str, Any]) -> str:
        return destination_cluster(self._mesh, self._rule, destination, self._port)

    def _hashing(self, destination: Mapping[str, Any]) -> list[Json]:
        host = full_host(destination["host"], self._rule.namespace)
        service = self._mesh.by_host.get(host)
        port = service.port(_port_number(service, destination, self._port)) if service else None
        if port is None:
            return []
        rules = destination_policy(self._mesh, self._proxy.namespace, host)
        return traffic_policy.hash_policy(rules.policy(port, destination.get("subset") or ""))


def _port_number(service: Service | None, destination: Mapping[str, Any], port: int) -> int:
    written = (destination.get("port") or {}).get("number")
    if written:
        return int(written)
    return service.ports[0].number if service is not None and len(service.ports) == 1 else port


def destination_cluster(mesh: Mesh, rule: Resource, destination: Mapping[str, Any], port: int) -> str:
    """The cluster that a destination means: its own port, else the Service's only one, else the listener's."""
    host = full_host(destination["host"], rule.namespace)
    number = _port_number(mesh.by_host.get(host), destination, port)
    return outbound_cluster(number, host, destination.get("subset") or "")


def tcp_destinations(mesh: Mesh, proxy: Workload, rule: Resource, port: int) -> list[tuple[str, int]]:
    """The clusters and weights of a VirtualService's first TCP route that holds; empty when none does."""
    for tcp in rule.spec.get("tcp") or ():
        matches: list[Mapping[str, Any]] = tcp.get("match") or [{}]
        if any(route_match.holds_for(match, proxy, port) for match in matches):
            only = len(tcp["route"]) == 1
            return [
                (destination_cluster(mesh, rule, d["destination"], port), d.get("weight") or 100)
                for d in tcp["route"]
                if only or d.get("weight")
            ]
    return []
