"""How many pods each ReplicaSet of a Deployment may have: surge, unavailability, proportions."""

from __future__ import annotations

import math
import re

from meshverdict.cluster.store import Manifest

from . import pods as pod_facts
from .changes import Change, Emit, Update, View
from .meta import (
    annotations_of,
    name_of,
    replicas_of,
    scaled,
    seconds,
    uid_of,
    with_annotations,
)

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_REPLICASETS = "replicasets.apps"


def bounds(deployment: Manifest) -> tuple[int, int]:
    """(surge, unavailable) as counts. Both zero becomes one unavailable, or nothing could move."""
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0, 0
    rolling = strategy.get("rollingUpdate") or {}
    replicas = replicas_of(deployment)
    surge = scaled(rolling.get("maxSurge", "25%"), replicas, up=True)
    unavailable = scaled(rolling.get("maxUnavailable", "25%"), replicas, up=False)
    if not surge and not unavailable:
        unavailable = 1
    return surge, min(unavailable, replicas)


def scale_annotations(deployment: Manifest) -> dict[str, str]:
    """What a ReplicaSet remembers of the Deployment's size, to notice that it changed."""
    replicas = replicas_of(deployment)
    return {DESIRED: str(replicas), MAXIMUM: str(replicas + bounds(deployment)[0])}


def was_scaled(deployment: Manifest, sets: list[Manifest]) -> bool:
    """Whether spec.replicas changed since its ReplicaSets were last scaled."""
    wanted = str(replicas_of(deployment))
    return any(replicas_of(rs) and annotations_of(rs).get(DESIRED) not in {None, wanted} for rs in sets)


def new_replicas(deployment: Manifest, current: int, others: list[Manifest]) -> int:
    """What the new ReplicaSet may grow to, beside the pods of the *others*."""
    replicas = replicas_of(deployment)
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return replicas
    total = current + sum(map(replicas_of, others))
    room = replicas + bounds(deployment)[0] - total
    return current if room <= 0 else current + min(room, max(replicas - current, 0))


def resize(deployment: Manifest, rs: Manifest, replicas: int) -> list[Change]:
    """Give *rs* this many replicas and tell about it; nothing if all is so already."""
    sized = with_annotations(rs, scale_annotations(deployment))
    before = replicas_of(rs)
    if before != replicas:
        sized = {**sized, "spec": {**sized["spec"], "replicas": replicas}}
    if sized == rs:
        return []
    if before == replicas:
        return [Update(_REPLICASETS, sized)]
    way = "up" if replicas > before else "down"
    text = f"Scaled {way} replica set {name_of(rs)} from {before} to {replicas}"
    return [Update(_REPLICASETS, sized), Emit(deployment, "Normal", "ScalingReplicaSet", text)]


def scale_down_all(deployment: Manifest, sets: list[Manifest]) -> list[Change]:
    """Every ReplicaSet that has replicas to zero."""
    return [change for rs in sets if replicas_of(rs) for change in resize(deployment, rs, 0)]


def any_running(view: View, sets: list[Manifest]) -> bool:
    """Whether a pod of these ReplicaSets is still there and not finished."""
    return any(not pod_facts.finished(p) for rs in sets for p in view.owned("pods", uid_of(rs)))


def scale_up_new(deployment: Manifest, new: Manifest, old: list[Manifest]) -> list[Change]:
    """The new ReplicaSet to what the others leave room for."""
    replicas = replicas_of(deployment)
    current = replicas_of(new)
    if current > replicas:
        return resize(deployment, new, replicas)
    return resize(deployment, new, new_replicas(deployment, current, old))


def rolling(deployment: Manifest, new: Manifest, old: list[Manifest]) -> list[Change]:
    """One step of RollingUpdate: up with the new one if there is room, else down with old ones."""
    up = scale_up_new(deployment, new, old)
    if any(isinstance(change, Emit) for change in up):
        return up
    return up + _scale_down_old(deployment, new, old)


def _scale_down_old(deployment: Manifest, new: Manifest, old: list[Manifest]) -> list[Change]:
    running = [rs for rs in old if replicas_of(rs)]
    if not running:
        return []
    minimum = replicas_of(deployment) - bounds(deployment)[1]
    total = sum(map(replicas_of, [*running, new]))
    budget = total - minimum - (replicas_of(new) - _available(new))
    if budget <= 0:
        return []
    sizes = {uid_of(rs): replicas_of(rs) for rs in running}
    for rs in running:  # unhealthy pods go first: they serve nobody
        cut = min(budget, sizes[uid_of(rs)] - _available(rs))
        sizes[uid_of(rs)] -= cut
        budget -= cut
    spare = sum(map(_available, running)) + _available(new) - minimum
    for rs in running:
        cut = max(min(spare, sizes[uid_of(rs)]), 0)
        sizes[uid_of(rs)] -= cut
        spare -= cut
    return [change for rs in running for change in resize(deployment, rs, sizes[uid_of(rs)])]


def _available(rs: Manifest) -> int:
    """What will be available: the status may still count pods that spec.replicas has given up."""
    return min(int((rs.get("status") or {}).get("availableReplicas", 0)), replicas_of(rs))


def proportional(deployment: Manifest, new: Manifest | None, old: list[Manifest]) -> list[Change]:
    """Spread a change of spec.replicas over the ReplicaSets that have pods."""
    replicas = replicas_of(deployment)
    everyone = [*old, new] if new else list(old)
    active = [rs for rs in everyone if replicas_of(rs)]
    latest = new or (max(old, key=_age) if old else None)
    if len(active) <= 1:
        target = active[0] if active else latest
        return resize(deployment, target, replicas) if target else []
    if new and replicas_of(new) == replicas == _available(new):
        return scale_down_all(deployment, old)
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return []
    return _spread(deployment, active)


def _spread(deployment: Manifest, active: list[Manifest]) -> list[Change]:
    total = sum(map(replicas_of, active))
    allowed = replicas_of(deployment) + bounds(deployment)[0]
    to_add = allowed - total
    newest_last = to_add < 0
    ordered = sorted(active, key=lambda rs: (-replicas_of(rs), -_age(rs) if not newest_last else _age(rs)))
    sizes: dict[str, int] = {}
    added = 0
    for rs in ordered:
        share = _share(deployment, rs, allowed, to_add - added) if to_add else 0
        sizes[uid_of(rs)] = replicas_of(rs) + share
        added += share
    first = uid_of(ordered[0])
    sizes[first] = max(sizes[first] + to_add - added, 0)
    return [change for rs in ordered for change in resize(deployment, rs, sizes[uid_of(rs)])]


def _share(deployment: Manifest, rs: Manifest, allowed: int, left: int) -> int:
    """The part of a size change that belongs to *rs*, never more than what is *left*."""
    told = annotations_of(rs).get(MAXIMUM, "")
    before = (int(told) if re.fullmatch("[0-9]{1,10}", told) else 0) or replicas_of(deployment)
    fraction = math.floor(replicas_of(rs) * allowed / before + 0.5) - replicas_of(rs)
    return min(fraction, left) if left > 0 else max(fraction, left)


def _age(rs: Manifest) -> float:
    return seconds(rs["metadata"].get("creationTimestamp"))
