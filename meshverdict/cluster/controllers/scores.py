"""Which of the nodes that fit is best: Kubernetes' default scores with their default weights."""

from __future__ import annotations

from meshverdict.cluster.store import Manifest

from .demand import requests
from .node_fit import preference, untolerated
from .placement import Place, Placement, terms

ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_ZONE_FIRST = 1000  # one pod more in a zone outweighs any difference between its nodes


def best(pod: Manifest, places: list[Place], placement: Placement) -> Place:
    """The node with the highest score; among equals the emptiest, then the first by name."""
    if len(places) == 1:
        return places[0]
    weighted = (
        (3.0, [-float(len(untolerated(pod["spec"], p.node, ("PreferNoSchedule",)))) for p in places]),
        (2.0, [float(preference(pod["spec"], p.node)) for p in places]),
        (2.0, [_affinity(pod, p, placement) for p in places]),
        (2.0, [-_crowding(pod, p, placement) for p in places]),
        (1.0, [_least_allocated(pod, p) for p in places]),
    )
    totals = [0.0] * len(places)
    for weight, values in weighted:
        for i, value in enumerate(_normal(values)):
            totals[i] += weight * value
    order = sorted(range(len(places)), key=lambda i: (-totals[i], len(places[i].pods), places[i].name))
    return places[order[0]]


def _normal(values: list[float]) -> list[float]:
    """Stretched to 0...100; all equal is no reason for anybody."""
    low, high = min(values), max(values)
    return [100 * (v - low) / (high - low) for v in values] if high > low else [0.0] * len(values)


def _affinity(pod: Manifest, place: Place, placement: Placement) -> float:
    total = 0
    for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
        for preferred in terms(pod, kind, _PREFERRED):
            term = preferred["podAffinityTerm"]
            domain = place.domain(term["topologyKey"])
            if domain is not None:
                count = placement.counts(placement.term(pod, term), term["topologyKey"])[domain]
                total += sign * preferred["weight"] * count
    return float(total)


def _crowding(pod: Manifest, place: Place, placement: Placement) -> float:
    """How many such pods share the node's domains: by the pod's own constraints, or by zone and host."""
    own = pod["spec"].get("topologySpreadConstraints") or ()
    if own:
        return float(
            sum(
                placement.counts(placement.same_namespace(pod, c), c["topologyKey"])[d]
                for c in own
                if c["whenUnsatisfiable"] == "ScheduleAnyway" and (d := place.domain(c["topologyKey"]))
            )
        )
    siblings = placement.siblings(pod)
    if siblings is None:
        return 0.0
    zone, host = place.domain(ZONE), place.domain(HOSTNAME) or place.name
    in_zone = placement.counts(siblings, ZONE)[zone] if zone else 0
    return float(in_zone * _ZONE_FIRST + placement.counts(siblings, HOSTNAME)[host])


def _least_allocated(pod: Manifest, place: Place) -> float:
    wanted = requests(pod)
    shares = [
        (place.free[name] - wanted[name]) / place.limits[name]
        for name in ("cpu", "memory")
        if place.limits[name]
    ]
    return sum(shares) / len(shares) if shares else 0.0
