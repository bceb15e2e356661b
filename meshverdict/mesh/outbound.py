"""The outbound listeners: one that catches all (15001), and behind it one for each HTTP port and each TCP Service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from meshverdict.mesh import durations, metrics, traffic_policy
from meshverdict.mesh.envoy import (
    ANY_ADDRESS,
    LISTENER,
    Json,
    address,
    file_source,
    listener_filter,
    network_filter,
    tcp_proxy,
    typed,
)
from meshverdict.mesh.files import route_file
from meshverdict.mesh.http_manager import access_log, manager
from meshverdict.mesh.lookup import destination_policy, virtual_service
from meshverdict.mesh.names import BLACK_HOLE, PASSTHROUGH, outbound_cluster
from meshverdict.mesh.routes import http_ports, tcp_destinations
from meshverdict.mesh.values import Mesh, Port, Service, Workload

PORT: Final = 15001


def listeners(mesh: Mesh, proxy: Workload, folder: str) -> Iterator[Json]:
    """``virtualOutbound`` first, then what it hands connections to by their original destination."""
    file = access_log(mesh.settings.access_log)
    counted = mesh.settings.metrics
    tcp = [*file, *(metrics.tcp_client(proxy) if counted else ())]
    http = [*file, *(metrics.http_client(proxy) if counted else ())]
    yield _catch_all(tcp)
    for number in http_ports(mesh):
        yield _http(number, folder, http, tcp)
    taken: set[str] = set()
    for service in mesh.in_age:
        for port in service.ports:
            if not port.is_http:
                for found in _tcp(mesh, proxy, service, port, tcp):
                    if found["name"] not in taken:  # the oldest Service keeps an address
                        taken.add(found["name"])
                        yield found


def tcp_limits(policy: Mapping[str, Any]) -> Json:
    """What a connection pool says about the life of TCP connections."""
    tcp, _ = traffic_policy.pools(policy)
    found: Json = {}
    if "idleTimeout" in tcp:
        found["idle_timeout"] = durations.envoy(tcp["idleTimeout"])
    if "maxConnectionDuration" in tcp:
        found["max_downstream_connection_duration"] = durations.envoy(tcp["maxConnectionDuration"])
    if (policy.get("loadBalancer") or {}).get("consistentHash", {}).get("useSourceIp"):
        found["hash_policy"] = [{"source_ip": {}}]
    return found


def tcp_logs(logs: list[Json]) -> Json:
    """The fields of a TCP proxy that logs a connection when it is made and when it ends."""
    return {"access_log": logs, "access_log_options": {"flush_access_log_on_connected": True}} if logs else {}


def _catch_all(logs: list[Json]) -> Json:
    to_itself = {
        "name": "virtualOutbound-blackhole",
        "filter_chain_match": {"destination_port": PORT},
        "filters": [tcp_proxy(BLACK_HOLE)],
    }
    return typed(
        LISTENER,
        name="virtualOutbound",
        address=address(ANY_ADDRESS, PORT),
        use_original_dst=True,
        traffic_direction="OUTBOUND",
        filter_chains=[
            to_itself,
            {"name": "virtualOutbound-catchall-tcp", "filters": [tcp_proxy(PASSTHROUGH, **tcp_logs(logs))]},
        ],
    )


def _http(number: int, folder: str, http: list[Json], tcp: list[Json]) -> Json:
    """A port on which Services speak HTTP: routed by the Host header; what is no HTTP passes."""
    name = f"0.0.0.0_{number}"
    source = {"route_config_name": str(number), "config_source": file_source(route_file(folder, str(number)))}
    return typed(
        LISTENER,
        name=name,
        address=address(ANY_ADDRESS, number),
        bind_to_port=False,
        traffic_direction="OUTBOUND",
        listener_filters=[
            listener_filter("tls_inspector", "TlsInspector"),
            listener_filter("http_inspector", "HttpInspector"),
        ],
        listener_filters_timeout="0s",
        continue_on_listener_filters_timeout=True,
        filter_chains=[
            {
                "filter_chain_match": {
                    "transport_protocol": "raw_buffer",
                    "application_protocols": ["http/1.1", "h2c"],
                },
                "filters": [manager(f"outbound_{name}", {}, http, rds=source)],
            }
        ],
        default_filter_chain={
            "name": "PassthroughFilterChain",
            "filter_chain_match": {},
            "filters": [tcp_proxy(PASSTHROUGH, **tcp_logs(tcp))],
        },
    )


def _tcp(mesh: Mesh, proxy: Workload, service: Service, port: Port, logs: list[Json]) -> Iterator[Json]:
    """A TCP Service: by its own address, or by each pod's where it is headless."""
    filters = [_proxy(mesh, proxy, service, port, logs)]
    addresses = [service.cluster_ip] if service.cluster_ip else []
    if service.headless:
        addresses = [e.address for e in service.endpoints if port.name in e.ports and e.workload != proxy.key]
    for ip in addresses:
        yield typed(
            LISTENER,
            name=f"{ip}_{port.number}",
            address=address(ip, port.number),
            bind_to_port=False,
            traffic_direction="OUTBOUND",
            filter_chains=[{"filters": filters}],
        )


def _proxy(mesh: Mesh, proxy: Workload, service: Service, port: Port, logs: list[Json]) -> Json:
    limits = tcp_limits(destination_policy(mesh, proxy.namespace, service.host).policy(port))
    limits |= tcp_logs(logs)
    rule = virtual_service(mesh, proxy, service.host)
    routed = tcp_destinations(mesh, proxy, rule, port.number) if rule is not None else []
    if rule is None or not routed:
        return tcp_proxy(outbound_cluster(port.number, service.host), **limits)
    if len(routed) == 1:
        return tcp_proxy(routed[0][0], **limits)
    clusters = [{"name": name, "weight": weight} for name, weight in routed]
    return network_filter(
        "tcp_proxy",
        "TcpProxy",
        stat_prefix=f"{rule.name}.{rule.namespace}",
        weighted_clusters={"clusters": clusters},
        **limits,
    )
