"""The store's objects as the mesh room's values: the cluster at one moment, the same for all sidecars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshverdict.mesh import inputs
from meshverdict.mesh.admission import GROUPS
from meshverdict.mesh.shapes import SHAPES
from meshverdict.mesh.values import Mesh

if TYPE_CHECKING:
    from meshverdict.cluster.store import Manifest, Store

_PLURALS: Final = {
    "VirtualService": "virtualservices",
    "DestinationRule": "destinationrules",
    "EnvoyFilter": "envoyfilters",
    "ServiceEntry": "serviceentries",
    "PeerAuthentication": "peerauthentications",
    "AuthorizationPolicy": "authorizationpolicies",
}
# Kind -> the store's name of its resources.
ISTIO: Final = {
    kind: f"{_PLURALS[kind]}.{group}" for group, kinds in GROUPS.items() for kind in kinds if kind in SHAPES
}
_SLICES: Final = "endpointslices.discovery.k8s.io"
# What a snapshot is made of.
WATCHED: Final = frozenset({"pods", "services", "nodes", _SLICES, *ISTIO.values()})


def snapshot(store: Store) -> Mesh:
    """The mesh as it is now."""
    places = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in store.list("nodes")}
    found = (inputs.workload(p, places.get(p["spec"].get("nodeName"), {})) for p in store.list("pods"))
    workloads = tuple(w for w in found if w is not None)
    by_address = {w.ip: w for w in workloads}
    slices: dict[tuple[str, str], list[Manifest]] = {}
    for piece in store.list(_SLICES):
        meta = piece["metadata"]
        name = (meta.get("labels") or {}).get(inputs.SERVICE_NAME_LABEL, "")
        slices.setdefault((meta["namespace"], name), []).append(piece)
    services = [
        inputs.service(s, slices.get((s["metadata"]["namespace"], s["metadata"]["name"]), ()), by_address)
        for s in store.list("services")
    ]
    resources = tuple(inputs.resource(m) for kind in sorted(ISTIO) for m in store.list(ISTIO[kind]))
    entries = [
        s for r in resources if r.kind == "ServiceEntry" for s in inputs.services_of_entry(r, by_address)
    ]
    return Mesh(
        services=(*(s for s in services if s is not None), *entries), workloads=workloads, resources=resources
    )
