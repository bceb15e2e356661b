"""Endpoints of a cluster as Envoy's load assignment: one resource a file, because Envoy reads no more from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshverdict.mesh import locality
from meshverdict.mesh.envoy import LOAD_ASSIGNMENT, Json, address, typed
from meshverdict.mesh.lookup import mtls_mode
from meshverdict.mesh.names import outbound_cluster
from meshverdict.mesh.values import HOSTNAME_LABEL, Endpoint, Mesh, Port, Service, Workload


@dataclass(frozen=True)
class Target:
    """What a cluster stands for: a port of a Service, or a subset of it, with the policy that holds for it."""

    service: Service
    port: Port
    subset: Mapping[str, Any] | None
    policy: Mapping[str, Any]

    @property
    def subset_name(self) -> str:
        """The subset's name, empty for the whole."""
        return str((self.subset or {}).get("name") or "")

    @property
    def name(self) -> str:
        """The cluster's name."""
        return outbound_cluster(self.port.number, self.service.host, self.subset_name)

    @property
    def members(self) -> list[Endpoint]:
        """The endpoints that serve the port and carry the subset's labels."""
        wanted = (self.subset or {}).get("labels") or {}
        return [
            e
            for e in self.service.endpoints
            if self.port.name in e.ports and all(e.labels.get(key) == value for key, value in wanted.items())
        ]


def assignment(mesh: Mesh, proxy: Workload, target: Target) -> Json:
    """The load assignment of a cluster, as this client should see it.

    Endpoints that are not ready are sent where outlierDetection is on, as Istio does today: the panic threshold is 0
    there, so they get nothing, and their number still tells Envoy how much of a locality is healthy. Without it they
    are left out, because Envoy's own threshold of 50 % would send requests to them.
    """
    ejecting = "outlierDetection" in target.policy
    here = target.service.node_local
    members = [
        e for e in target.members if (e.ready or ejecting) and (not here or (e.node and e.node == proxy.node))
    ]
    labels = dict(proxy.labels) | {HOSTNAME_LABEL: proxy.node}
    found = locality.groups(members, target.policy, proxy.locality, labels, target.service.near)
    places = [
        {
            "locality": _locality(group),
            "priority": group.priority,
            "load_balancing_weight": group.weight,
            "lb_endpoints": [_endpoint(mesh, target.service, target.port, e) for e in group.endpoints],
        }
        for group in found
    ]
    return typed(LOAD_ASSIGNMENT, cluster_name=target.name, endpoints=places)


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
