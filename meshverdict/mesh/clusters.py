"""Clusters of a sidecar: one for each port and subset of each Service, its own ports, and where the rest goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from meshverdict.mesh import metrics, tls, traffic_policy
from meshverdict.mesh.endpoints import Target, assignment
from meshverdict.mesh.envoy import CLUSTER, HTTP_OPTIONS, Json, file_source, typed
from meshverdict.mesh.files import endpoint_file
from meshverdict.mesh.identity import server_identities
from meshverdict.mesh.lookup import destination_policy, namespace_mtls_mode
from meshverdict.mesh.names import (
    BLACK_HOLE,
    INBOUND_PASSTHROUGH,
    PASSTHROUGH,
    inbound_cluster,
    sni,
)
from meshverdict.mesh.values import Mesh, Port, Service, Workload

# Traffic that Envoy hands to its own pod comes from here, so that the redirect rules let it through.
INBOUND_SOURCE = "127.0.0.6"
_BIND: Json = {"source_address": {"address": INBOUND_SOURCE, "port_value": 0}}
_AS_CALLED: Json = {
    "use_downstream_protocol_config": {
        "http_protocol_options": {},
        "http2_protocol_options": {"max_concurrent_streams": 1073741824},
    }
}


@dataclass(frozen=True)
class OutboundCluster:
    """A cluster with the endpoints that go with it; None where Envoy finds the address itself."""

    cluster: Json
    assignment: Json | None


def outbound(mesh: Mesh, proxy: Workload, folder: str) -> Iterator[OutboundCluster]:
    """The clusters by which a sidecar reaches every Service, with their endpoints."""
    for service in mesh.by_host.values():
        rules = destination_policy(mesh, proxy.namespace, service.host)
        for port in service.ports:
            for subset in (None, *rules.subsets):
                policy = rules.policy(port, (subset or {}).get("name") or "")
                yield _outbound(mesh, proxy, Target(service, port, subset, policy), folder)


def _outbound(mesh: Mesh, proxy: Workload, target: Target, folder: str) -> OutboundCluster:
    service, port, policy = target.service, target.port, target.policy
    cluster = typed(CLUSTER, name=target.name, **traffic_policy.connections(policy))
    cluster |= traffic_policy.http_options(policy, port) | traffic_policy.outlier(policy)
    own_address = (service.headless and not port.is_http) or traffic_policy.passthrough(policy)
    cluster |= traffic_policy.balancing(policy, () if own_address else service.near)
    own = metrics.cluster_metadata(service, port.number)
    cluster["metadata"] = {"filter_metadata": {"istio": _metadata(target), metrics.CLUSTER_METADATA: own}}
    found: Json | None = None
    if own_address:
        cluster |= {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
        cluster.pop("ring_hash_lb_config", None)
        cluster.pop("maglev_lb_config", None)
    else:
        found = assignment(mesh, proxy, target)
        cluster |= _discovery(mesh, service, found, folder)
    cluster |= _transport(mesh, target, folder, own_address=own_address)
    return OutboundCluster(cluster, None if "load_assignment" in cluster else found)


def _metadata(target: Target) -> Json:
    service, subset = target.service, target.subset_name
    described: Json = {
        "services": [{"host": service.host, "namespace": service.namespace, "name": service.name}],
        "default_original_port": target.port.number,
    }
    return described | ({"subset": subset} if subset else {})


def _discovery(mesh: Mesh, service: Service, found: Json, folder: str) -> Json:
    plain = {key: value for key, value in found.items() if key != "@type"}
    if service.resolution == "DNS":
        return {
            "type": "STRICT_DNS",
            "load_assignment": plain,
            "dns_lookup_family": "V4_ONLY",
            "respect_dns_ttl": True,
            "dns_refresh_rate": "60s",
        }
    if mesh.settings.inline_endpoints:
        return {"type": "STATIC", "load_assignment": plain}
    name = found["cluster_name"]
    source = {"eds_config": file_source(endpoint_file(folder, name)), "service_name": name}
    return {"type": "EDS", "eds_cluster_config": source}


def _transport(mesh: Mesh, target: Target, folder: str, *, own_address: bool) -> Json:
    """Auto mTLS, unless a DestinationRule or the namespace's PeerAuthentication decides."""
    service, mode = target.service, (target.policy.get("tls") or {}).get("mode")
    if mode == "DISABLE" or (mode is None and _plain(mesh, service)):
        return {}
    server = sni(target.port.number, service.host, target.subset_name)
    identities = server_identities(service, mesh.settings.trust_domain)
    if mode == "ISTIO_MUTUAL" or (own_address and all(e.sidecar for e in service.endpoints)):
        return {"transport_socket": tls.client_socket(folder, server, identities)}
    return {} if own_address else {"transport_socket_matches": tls.client_matches(folder, server, identities)}


def _plain(mesh: Mesh, service: Service) -> bool:
    return bool(service.external_host) or namespace_mtls_mode(mesh, service.namespace) == "DISABLE"


def inbound(service: Service, port: Port, number: int, policy: Mapping[str, Any]) -> Json:
    """The cluster of a port of the sidecar's own pod; a connection pool for the Service holds here too."""
    described = {"services": [{"host": service.host, "namespace": service.namespace, "name": service.name}]}
    return typed(
        CLUSTER,
        name=inbound_cluster(number),
        type="ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        cleanup_interval="60s",
        upstream_bind_config=_BIND,
        metadata={"filter_metadata": {"istio": described}},
        **traffic_policy.connections(policy),
        **traffic_policy.http_options(policy, port),
    )


def fallbacks() -> list[Json]:
    """Where a sidecar sends what belongs to no Service: on to where it was going, or nowhere."""
    common: Json = {
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "typed_extension_protocol_options": {HTTP_OPTIONS: typed(HTTP_OPTIONS, **_AS_CALLED)},
        **traffic_policy.connections({}),
    }
    outside = {metrics.CLUSTER_METADATA: metrics.outside_metadata(PASSTHROUGH)}
    return [
        typed(CLUSTER, name=BLACK_HOLE, type="STATIC", connect_timeout="10s"),
        typed(CLUSTER, name=PASSTHROUGH, metadata={"filter_metadata": outside}, **common),
        typed(CLUSTER, name=INBOUND_PASSTHROUGH, upstream_bind_config=_BIND, **common),
    ]
