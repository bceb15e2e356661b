"""PodDisruptionBudget: how many pods may be evicted now. The eviction itself is the API's."""

from __future__ import annotations

from meshverdict.cluster.store import Manifest

from . import pods as pod_facts
from .changes import Change, UpdateStatus, View
from .meta import (
    condition,
    controller_of,
    labels_of,
    matches,
    namespace_of,
    replicas_of,
    scaled,
    stamp,
    with_status,
)

RESOURCE = "poddisruptionbudgets.policy"
_SCALED = {"ReplicaSet": "replicasets.apps", "StatefulSet": "statefulsets.apps"}
OWNERS = ("deployments.apps", *_SCALED.values())


def plan(view: View, budget: Manifest, now: float) -> list[Change]:
    """The budget's status."""
    spec = budget["spec"]
    pods = [
        p
        for p in view.list("pods", namespace_of(budget))
        if matches(spec.get("selector"), labels_of(p)) and pod_facts.active(p)
    ]
    healthy = sum(map(pod_facts.ready, pods))
    expected, desired = _targets(view, spec, pods)
    allowed = max(healthy - desired, 0) if expected else 0
    before = budget.get("status") or {}
    generation = budget["metadata"].get("generation", 1)
    status: Manifest = {
        "observedGeneration": generation,
        **({"disruptedPods": before["disruptedPods"]} if before.get("disruptedPods") else {}),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
    }
    old = condition(before, "DisruptionAllowed")
    value = "True" if allowed else "False"
    same = old is not None and old["status"] == value
    entry = {
        "type": "DisruptionAllowed",
        "status": value,
        "observedGeneration": generation,
        "lastTransitionTime": old["lastTransitionTime"] if old and same else stamp(now),
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
    }
    status["conditions"] = [entry]
    return [] if status == before else [UpdateStatus(RESOURCE, with_status(budget, status))]


def _targets(view: View, spec: Manifest, pods: list[Manifest]) -> tuple[int, int]:
    """(expected, desired healthy): of the pods that are there, or of the sizes that their owners want."""
    least = spec.get("minAvailable")
    if isinstance(least, int):
        return len(pods), least
    expected = _wanted(view, pods)
    if least is not None:
        return expected, scaled(least, expected, up=True)
    return expected, max(expected - scaled(spec.get("maxUnavailable"), expected, up=True), 0)


def _wanted(view: View, pods: list[Manifest]) -> int:
    owners: dict[str, int] = {}
    for pod in pods:
        ref = controller_of(pod)
        known = ref is not None and ref["kind"] in _SCALED
        owner = view.get(_SCALED[ref["kind"]], namespace_of(pod), ref["name"]) if ref and known else None
        top = controller_of(owner) if owner else None
        if owner and top and top["kind"] == "Deployment":
            owner = view.get("deployments.apps", namespace_of(pod), top["name"]) or owner
        if owner is not None:
            owners[owner["metadata"]["uid"]] = replicas_of(owner)
    return sum(owners.values())
