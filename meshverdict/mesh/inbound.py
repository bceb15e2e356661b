"""The inbound listener (15006): a filter chain for each way in, by port, by mutual TLS or plain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshverdict.mesh import metrics, rbac, retries, tls
from meshverdict.mesh.clusters import inbound as inbound_cluster_of
from meshverdict.mesh.envoy import ANY_ADDRESS, LISTENER, Json, address, listener_filter, tcp_proxy, typed
from meshverdict.mesh.http_manager import access_log, listener_log, manager
from meshverdict.mesh.lookup import destination_policy, mtls_mode
from meshverdict.mesh.names import BLACK_HOLE, INBOUND_PASSTHROUGH, inbound_cluster
from meshverdict.mesh.outbound import tcp_limits, tcp_logs
from meshverdict.mesh.values import Mesh, Port, Service, Workload

PORT: Final = 15006
_EVERYWHERE: Final[Json] = {"prefix_ranges": [{"address_prefix": ANY_ADDRESS, "prefix_len": 0}]}


@dataclass(frozen=True)
class ServedPort:
    """A port of the pod that a Service leads to: the oldest Service that does.

    Args:
        number: The container's port.
        service: The Service.
        port: The Service's port.
    """

    number: int
    service: Service
    port: Port


def served_ports(mesh: Mesh, proxy: Workload) -> list[ServedPort]:
    """The ports on which Services lead to this pod, ready or not, or about to end: requests come until all know."""
    found: dict[int, ServedPort] = {}
    for service in mesh.in_age:
        own = [
            e
            for e in (*service.endpoints, *service.leaving)
            if e.workload == proxy.key and not service.external_host
        ]
        for endpoint in own:
            for port in service.ports:
                number = endpoint.ports.get(port.name)
                if number is not None:
                    found.setdefault(number, ServedPort(number, service, port))
    return [found[number] for number in sorted(found)]


def clusters(mesh: Mesh, proxy: Workload) -> list[Json]:
    """The clusters of the pod's own ports."""
    return [
        inbound_cluster_of(s.service, s.port, s.number, _own_policy(mesh, s))
        for s in served_ports(mesh, proxy)
    ]


def _own_policy(mesh: Mesh, served: ServedPort) -> Mapping[str, Any]:
    rules = destination_policy(mesh, served.service.namespace, served.service.host)
    return rules.policy(served.port)


def listener(mesh: Mesh, proxy: Workload, folder: str) -> Json:
    """``virtualInbound``: every connection to the pod arrives here."""
    served = served_ports(mesh, proxy)
    builder = _Chains(mesh, proxy, folder)
    chains = [_own_port(), *builder.catch_all()]
    for item in served:
        chains += builder.of_port(item)
    found = typed(
        LISTENER,
        name="virtualInbound",
        address=address(ANY_ADDRESS, PORT),
        traffic_direction="INBOUND",
        listener_filters=_listener_filters([s.number for s in served]),
        listener_filters_timeout="0s",
        continue_on_listener_filters_timeout=True,
        filter_chains=chains,
    )
    log = listener_log(mesh.settings.access_log)
    return found | ({"access_log": log} if log else {})


def _own_port() -> Json:
    """A connection to 15006 itself would call itself without end."""
    return {
        "name": "virtualInbound-blackhole",
        "filter_chain_match": {"destination_port": PORT},
        "filters": [tcp_proxy(BLACK_HOLE)],
    }


def _ports(first: int) -> Json:
    return {"destination_port_range": {"start": first, "end": first + 1}}


def _listener_filters(known: list[int]) -> list[Json]:
    """Looking for HTTP is needed only where no Service says what a port speaks: it waits for the client's first bytes."""
    ranges = [_ports(number) for number in (*known, PORT)]
    nowhere = {"or_match": {"rules": ranges}} if len(ranges) > 1 else ranges[0]
    return [
        listener_filter("original_dst", "OriginalDst"),
        listener_filter("tls_inspector", "TlsInspector", filter_disabled=_ports(PORT)),
        listener_filter("http_inspector", "HttpInspector", filter_disabled=nowhere),
    ]


class _Chains:
    """Filter chains of one sidecar."""

    def __init__(self, mesh: Mesh, proxy: Workload, folder: str) -> None:
        self._mesh, self._proxy, self._folder = mesh, proxy, folder
        self._http_rules = rbac.filters(mesh, proxy, http=True)
        self._tcp_rules = rbac.filters(mesh, proxy, http=False)

    def _mode(self, number: int) -> str:
        return mtls_mode(self._mesh, self._proxy.namespace, self._proxy.labels, number)

    def _socket(self, *, http: bool) -> Json:
        return tls.server_socket(self._folder, self._mesh.settings.trust_domain, http=http)

    def of_port(self, served: ServedPort) -> list[Json]:
        """The chains of a port that a Service leads to."""
        number, http = served.number, served.port.is_http
        cluster = inbound_cluster(number)
        if http:
            table = _table(
                cluster, f"inbound|http|{served.port.number}", served.service.host, served.port.number
            )
            policy = _own_policy(self._mesh, served)

            def filters(*, mutual: bool) -> list[Json]:
                logs = self._http_logs(served, mutual=mutual)
                return [self._manager(f"inbound_0.0.0.0_{number}", table, policy, logs)]
        else:

            def filters(*, mutual: bool) -> list[Json]:
                return [*self._tcp_rules, self._proxy_to(cluster, served, mutual=mutual)]

        mode = self._mode(number)
        found = []
        for match in self._matches(mode, http=http):
            mesh_tls = match["transport_protocol"] == "tls" and (
                mode == "STRICT" or "application_protocols" in match
            )
            chain: Json = {
                "name": f"0.0.0.0_{number}",
                "filter_chain_match": {"destination_port": number, **match},
                "filters": filters(mutual=mesh_tls),
            }
            found.append(chain | ({"transport_socket": self._socket(http=http)} if mesh_tls else {}))
        return found

    @staticmethod
    def _matches(mode: str, *, http: bool) -> list[Json]:
        plain = {"transport_protocol": "raw_buffer"}
        if mode == "STRICT":
            return [{"transport_protocol": "tls"}]
        if mode == "DISABLE":
            return [plain]
        mutual = {"transport_protocol": "tls", "application_protocols": list(tls.MESH_PROTOCOLS)}
        # An application's own TLS passes through where it cannot be a request.
        return [mutual, plain] if http else [mutual, {"transport_protocol": "tls"}, plain]

    def catch_all(self) -> list[Json]:
        """The chains of ports that no Service leads to."""
        mode = self._mode(0)
        found = []
        if mode != "DISABLE":
            found.append(self._catch_http("tls", tls.HTTP_PROTOCOLS))
        if mode != "STRICT":
            found.append(self._catch_http("raw_buffer", ("http/1.1", "h2c")))
        if mode != "DISABLE":
            protocols = {} if mode == "STRICT" else {"application_protocols": list(tls.TCP_PROTOCOLS)}
            found.append(self._catch_tcp("tls", protocols, mutual=True))
        if mode != "STRICT":
            found += [
                self._catch_tcp("raw_buffer", {}, mutual=False),
                self._catch_tcp("tls", {}, mutual=False),
            ]
        return found

    def _catch_http(self, transport: str, protocols: tuple[str, ...]) -> Json:
        name = INBOUND_PASSTHROUGH
        # Not counted: what no Service leads to is a probe or a look at metrics, and no edge of the service graph.
        logs = access_log(self._mesh.settings.access_log)
        last = self._manager(name, _table(name, "inbound|http|0", "", 0), {}, logs)
        match = {**_EVERYWHERE, "transport_protocol": transport, "application_protocols": list(protocols)}
        chain: Json = {"name": "virtualInbound-catchall-http", "filter_chain_match": match, "filters": [last]}
        return chain | ({"transport_socket": self._socket(http=True)} if transport == "tls" else {})

    def _catch_tcp(self, transport: str, protocols: Json, *, mutual: bool) -> Json:
        match = {**_EVERYWHERE, "transport_protocol": transport, **protocols}
        filters = [*self._tcp_rules, tcp_proxy(INBOUND_PASSTHROUGH)]
        chain: Json = {"name": "virtualInbound", "filter_chain_match": match, "filters": filters}
        return chain | ({"transport_socket": self._socket(http=False)} if mutual else {})

    def _http_logs(self, served: ServedPort, *, mutual: bool) -> list[Json]:
        settings, to = self._mesh.settings, (served.service, served.port.number)
        counted = metrics.http_server(self._proxy, *to, mutual=mutual) if settings.metrics else ()
        return [*access_log(settings.access_log), *counted]

    def _proxy_to(self, cluster: str, served: ServedPort, *, mutual: bool) -> Json:
        settings, to = self._mesh.settings, (served.service, served.port.number)
        counted = metrics.tcp_server(self._proxy, *to, mutual=mutual) if settings.metrics else ()
        logs = tcp_logs([*access_log(settings.access_log), *counted])
        return tcp_proxy(cluster, **tcp_limits(_own_policy(self._mesh, served)), **logs)

    def _manager(self, stat_prefix: str, table: Json, policy: Mapping[str, Any], logs: list[Json]) -> Json:
        return manager(
            stat_prefix,
            policy,
            logs,
            self._http_rules,
            route_config=table,
            server_name="istio-envoy",
            forward_client_cert_details="APPEND_FORWARD",
            set_current_client_cert_details={"subject": True, "dns": True, "uri": True},
        )


def _table(cluster: str, name: str, host: str, port: int) -> Json:
    """The routes of an inbound chain: one, to the application."""
    route = {
        "name": "default",
        "match": {"prefix": "/"},
        "decorator": {"operation": f"{host}:{port}/*"},
        "route": {
            "cluster": cluster,
            "timeout": "0s",
            "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
            "retry_policy": retries.INBOUND,
        },
    }
    host_of_all = {"name": name, "domains": ["*"], "routes": [route]}
    return {"name": cluster, "virtual_hosts": [host_of_all], "validate_clusters": False}
