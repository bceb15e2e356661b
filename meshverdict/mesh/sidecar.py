"""The way through the room: one snapshot of the cluster and one workload -> everything its Envoy has to know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshverdict.mesh import clusters, inbound, outbound, routes
from meshverdict.mesh.envoy import Json
from meshverdict.mesh.envoy_filter import Hits, Sidecar
from meshverdict.mesh.envoy_filter import apply as apply_filters
from meshverdict.mesh.files import CLUSTERS, LISTENERS, ResourceFile, endpoint_file, resource_file, route_file
from meshverdict.mesh.values import Mesh, Workload


@dataclass(frozen=True)
class Translation:
    """One sidecar's configuration.

    Args:
        listeners: Listeners, the two that catch all first.
        clusters: Clusters of both directions.
        routes: Route configurations.
        endpoints: Load assignments.
        hits: For each EnvoyFilter that selects the workload, how often its patches took hold.
        folder: Where the files are, as Envoy sees it.
        texts: JSON of the resources that other sidecars have too, by their ``id``.
    """

    listeners: tuple[Json, ...]
    clusters: tuple[Json, ...]
    routes: tuple[Json, ...]
    endpoints: tuple[Json, ...]
    hits: tuple[Hits, ...]
    folder: str
    texts: Mapping[int, str] = field(default_factory=dict, compare=False, repr=False)

    def files(self) -> list[ResourceFile]:
        """The files, each with its version: endpoints, clusters, routes, listeners."""
        folder, texts = self.folder, self.texts
        return [
            *(resource_file(endpoint_file(folder, e["cluster_name"]), [e], texts) for e in self.endpoints),
            resource_file(f"{folder}/{CLUSTERS}", self.clusters, texts),
            *(resource_file(route_file(folder, r["name"]), [r], texts) for r in self.routes),
            resource_file(f"{folder}/{LISTENERS}", self.listeners, texts),
        ]


def translate(mesh: Mesh, proxy: Workload, folder: str) -> Translation:
    """Everything that the Envoy of a workload has to know.

    Args:
        mesh: The cluster at one moment; make one for all sidecars.
        proxy: The workload.
        folder: Folder of the sidecar's files, as its Envoy sees it; without a final slash.
    """
    shared = _shared(mesh, proxy, folder)
    sidecar = Sidecar(
        listeners=[*shared.listeners, inbound.listener(mesh, proxy, folder)],
        clusters=[*shared.clusters, *inbound.clusters(mesh, proxy)],
        routes=list(shared.routes),
    )
    if mesh.of_kind("EnvoyFilter"):
        # Patches change in place, and parts such as filter lists are shared between chains.
        sidecar = Sidecar(*(_unshared(x) for x in (sidecar.listeners, sidecar.clusters, sidecar.routes)))
    hits = apply_filters(mesh, proxy, sidecar)
    return Translation(
        listeners=tuple(sidecar.listeners),
        clusters=tuple(sidecar.clusters),
        routes=tuple(sidecar.routes),
        endpoints=shared.endpoints,
        hits=tuple(hits),
        folder=folder,
        texts=shared.texts,
    )


@dataclass(frozen=True)
class _Shared:
    """What goes out of a workload: the same for all that look alike, such as the replicas of a Deployment."""

    listeners: tuple[Json, ...]
    clusters: tuple[Json, ...]
    routes: tuple[Json, ...]
    endpoints: tuple[Json, ...]
    texts: Mapping[int, str]


def _shared(mesh: Mesh, proxy: Workload, folder: str) -> _Shared:
    """Made once a snapshot for each kind of workload: it is most of the work of a translation."""
    # A headless Service's own pod does not call itself.
    own = proxy.key if any(service.headless for service in mesh.services) else ""
    labels = tuple(sorted(proxy.labels.items()))
    key = (proxy.namespace, labels, proxy.locality, proxy.workload_name, folder, own)
    found: _Shared | None = mesh.memo.get(key)
    if found is None:
        found = mesh.memo[key] = _outgoing(mesh, proxy, folder)
    return found


def _outgoing(mesh: Mesh, proxy: Workload, folder: str) -> _Shared:
    reached = list(clusters.outbound(mesh, proxy, folder))
    listeners = tuple(outbound.listeners(mesh, proxy, folder))
    going = (*(r.cluster for r in reached), *clusters.fallbacks())
    tables = tuple(routes.configuration(mesh, proxy, number) for number in routes.http_ports(mesh))
    ends = tuple(r.assignment for r in reached if r.assignment is not None)
    texts = {id(r): json.dumps(r, separators=(",", ":")) for r in (*listeners, *going, *tables, *ends)}
    return _Shared(listeners, going, tables, ends, texts)


def _unshared(resources: list[Json]) -> list[Json]:
    """A copy in which no part is shared: a patch of one filter chain may not reach its twin."""
    found: list[Json] = json.loads(json.dumps(resources))
    return found


def useless_patches(translations: Iterable[Translation]) -> Mapping[tuple[str, str], list[int]]:
    """EnvoyFilters (namespace, name) with patches that hit nothing in any of these sidecars: their positions."""
    totals: dict[tuple[str, str], list[int]] = {}
    for translation in translations:
        for hits in translation.hits:
            known = totals.setdefault((hits.namespace, hits.name), [0] * len(hits.counts))
            totals[hits.namespace, hits.name] = [a + b for a, b in zip(known, hits.counts, strict=True)]
    found = {key: [i for i, n in enumerate(counts) if n == 0] for key, counts in totals.items()}
    return {key: positions for key, positions in found.items() if positions}
