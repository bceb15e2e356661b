"""Which endpoints a client prefers: Istio's locality priorities, its failover lists and its fixed distribution.

Without outlierDetection nothing fails over and nothing is preferred by a DestinationRule; ``distribute`` works without it,
and so does what a Service prefers (``trafficDistribution``), which holds where no rule says anything.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from meshverdict.mesh.values import HOSTNAME_LABEL, Endpoint, Labels, Locality

Setting = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Endpoints of one locality that share a priority.

    Args:
        locality: Where they are.
        endpoints: They; empty where ``distribute`` gives a locality nothing.
        priority: 0 is tried first; without gaps.
        weight: Share among the localities of its priority.
    """

    locality: Locality
    endpoints: tuple[Endpoint, ...]
    priority: int = 0
    weight: int = 0


def setting(policy: Mapping[str, Any]) -> Setting | None:
    """The locality setting of a traffic policy: the mesh's (on, nothing listed) where it has none; None when off."""
    found = (policy.get("loadBalancer") or {}).get("localityLbSetting")
    if found is None:
        return {}
    return None if found.get("enabled") is False else found


def _preferred(policy: Mapping[str, Any], near: Sequence[str]) -> bool:
    """Whether the Service's own preference holds: a rule's setting, even one that is off, takes its place."""
    return bool(near) and (policy.get("loadBalancer") or {}).get("localityLbSetting") is None


def weighted(policy: Mapping[str, Any], near: Sequence[str] = ()) -> bool:
    """Whether Envoy has to keep to the weights of localities; *near* as for `groups`."""
    if _preferred(policy, near):
        return True
    found = setting(policy)
    if found is None:
        return False
    fails_over = "outlierDetection" in policy and bool(found.get("failover") or found.get("failoverPriority"))
    return bool(found.get("distribute")) or fails_over


def groups(
    endpoints: Sequence[Endpoint],
    policy: Mapping[str, Any],
    place: Locality,
    labels: Labels,
    near: Sequence[str] = (),
) -> list[Group]:
    """Endpoints as this client should see them, nearest first.

    Args:
        endpoints: What is behind the cluster.
        policy: Traffic policy of the cluster.
        place: Locality of the client.
        labels: The client's labels, for ``failoverPriority``.
        near: Labels in which the Service wants client and endpoint to agree.
    """
    plain = _by_locality(endpoints)
    if _preferred(policy, near):
        return _by_labels(plain, near, dict(labels) | place.labels)
    found = setting(policy)
    if found is None:
        return plain
    if found.get("distribute"):
        return _distributed(plain, found["distribute"], place)
    if "outlierDetection" not in policy:
        return plain
    if found.get("failoverPriority"):
        return _by_labels(plain, found["failoverPriority"], dict(labels) | place.labels)
    ranks = [_distance(group.locality, place, found.get("failover") or ()) for group in plain]
    return _ranked(zip(ranks, plain, strict=True))


def _by_locality(endpoints: Iterable[Endpoint]) -> list[Group]:
    places: dict[Locality, list[Endpoint]] = defaultdict(list)
    for endpoint in endpoints:
        places[endpoint.locality].append(endpoint)
    return [
        Group(place, tuple(sorted(found, key=lambda e: e.address)), weight=len(found))
        for place, found in sorted(places.items())
    ]


def _ranked(ranked: Iterable[tuple[int, Group]]) -> list[Group]:
    pairs = sorted(ranked, key=lambda pair: pair[0])
    levels = sorted({rank for rank, _ in pairs})
    return [Group(g.locality, g.endpoints, levels.index(rank), g.weight) for rank, g in pairs]


def _distance(there: Locality, here: Locality, failover: Iterable[Setting]) -> int:
    if there.region == here.region:
        if there.zone != here.zone:
            return 2
        return int(there.subzone != here.subzone)
    listed = next((rule for rule in failover if rule.get("from") == here.region), None)
    return 4 if listed is not None and listed.get("to") != there.region else 3


def _distributed(plain: list[Group], rules: Iterable[Setting], place: Locality) -> list[Group]:
    rule = next((r for r in rules if _matches(place, r.get("from") or "")), None)
    if rule is None:
        return plain
    chosen: dict[Locality, Group] = {}
    for pattern, share in rule["to"].items():
        found = [g for g in plain if g.locality not in chosen and _matches(g.locality, pattern)]
        total = sum(g.weight for g in found)
        for group in found:
            weight = ceil(share * group.weight / total)
            chosen[group.locality] = Group(group.locality, group.endpoints, weight=weight)
    return [chosen.get(g.locality) or Group(g.locality, (), weight=g.weight) for g in plain]


def _matches(place: Locality, pattern: str) -> bool:
    region, zone, subzone = [*pattern.split("/"), "", ""][:3]
    return (
        region in {"*", place.region}
        and zone in {"*", "", place.zone}
        and subzone in {"*", "", place.subzone}
    )


def _by_labels(plain: list[Group], keys: Sequence[str], mine: Labels) -> list[Group]:
    ranked = []
    for group in plain:
        levels: dict[int, list[Endpoint]] = defaultdict(list)
        for endpoint in group.endpoints:
            levels[_mismatch(endpoint, keys, mine)].append(endpoint)
        ranked += [
            (rank, Group(group.locality, tuple(found), weight=len(found))) for rank, found in levels.items()
        ]
    return _ranked(ranked)


def _mismatch(endpoint: Endpoint, keys: Sequence[str], mine: Labels) -> int:
    """How far from the end of the list the first label differs: 0 when all are equal."""
    theirs = dict(endpoint.labels) | endpoint.locality.labels | {HOSTNAME_LABEL: endpoint.node}
    for position, written in enumerate(keys):
        key, equals, wanted = written.partition("=")
        if theirs.get(key, "") != (wanted if equals else mine.get(key, "")):
            return len(keys) - position
    return 0
