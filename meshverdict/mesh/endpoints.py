"""Endpoints of a cluster as Envoy's load assignment: one resource a file, because Envoy reads no more from one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshverdict.mesh import locality
from meshverdict.mesh.envoy import LOAD_ASSIGNMENT, Json, address, typed
from meshverdict.mesh.lookup import mtls_mode
from meshverdict.mesh.values import Endpoint, Mesh, Port, Service, Workload


def members(service: Service, port: Port, subset: Mapping[str, Any] | None) -> list[Endpoint]:
    """The endpoints that serve a port and carry a subset's labels."""
    wanted = (subset or {}).get("labels") or {}
    return [
        e
        for e in service.endpoints
        if port.name in e.ports and all(e.labels.get(key) == value for key, value in wanted.items())
    ]


def assignment(
    mesh: Mesh,
    proxy: Workload,
    service: Service,
    port: Port,
    subset: Mapping[str, Any] | None,
    policy: Mapping[str, Any],
    name: str,
) -> Json:
    """The load assignment of a cluster, as this client should see it.

    Endpoints that are not ready are sent too, as Istio does today: with a panic threshold of 0 they get nothing, and
    their number still tells Envoy how much of a locality is healthy.
    """
    found = locality.groups(members(service, port, subset), policy, proxy.locality, proxy.labels)
    places = [
        {
            "locality": _locality(group),
            "priority": group.priority,
            "load_balancing_weight": group.weight,
            "lb_endpoints": [_endpoint(mesh, service, port, e) for e in group.endpoints],
        }
        for group in found
    ]
    return typed(LOAD_ASSIGNMENT, cluster_name=name, endpoints=places)


def _locality(group: locality.Group) -> Json:
    place = group.locality
    parts = {"region": place.region, "zone": place.zone, "sub_zone": place.subzone}
    return {key: value for key, value in parts.items() if value}


def _endpoint(mesh: Mesh, service: Service, port: Port, endpoint: Endpoint) -> Json:
    number = endpoint.ports[port.name]
    metadata: Json = {"istio": {"workload": endpoint.workload.rpartition("/")[2]}}
    encrypted = endpoint.sidecar and mtls_mode(mesh, service.namespace, endpoint.labels, number) != "DISABLE"
    if encrypted:
        metadata["envoy.transport_socket_match"] = {"tlsMode": "istio"}
    return {
        "endpoint": {"address": address(endpoint.address, number)},
        "health_status": "HEALTHY" if endpoint.ready else "UNHEALTHY",
        "load_balancing_weight": 1,
        "metadata": {"filter_metadata": metadata},
    }
