"""ReplicaSet: as many pods as asked for, and the choice of which to give up first."""

from __future__ import annotations

from collections import Counter

from meshverdict.cluster.store import Manifest

from . import pods as pod_facts
from .changes import BURST, Change, Create, Delete, Emit, UpdateStatus, View
from .meta import (
    annotations_of,
    claim,
    controller_of,
    counters,
    deleting,
    labels_of,
    matches,
    name_of,
    namespace_of,
    namespace_terminating,
    replicas_of,
    seconds,
    uid_of,
    with_status,
)

RESOURCE = "replicasets.apps"
_PHASES = {"Pending": 0, "Unknown": 1}
_COST = "controller.kubernetes.io/pod-deletion-cost"


def plan(view: View, rs: Manifest, now: float) -> list[Change]:
    """The pods to create or delete, and the status as the pods are now."""
    mine, changes = claim(view, "pods", rs, rs["spec"]["selector"])
    active = [p for p in mine if pod_facts.active(p)]
    if not deleting(rs):
        changes += _scale(view, rs, active)
    status = _status(rs, active, sum(map(deleting, mine)), now)
    if status != rs.get("status"):
        changes.append(UpdateStatus(RESOURCE, with_status(rs, status)))
    return changes + pod_facts.until_available(active, rs["spec"].get("minReadySeconds", 0), now)


def _scale(view: View, rs: Manifest, active: list[Manifest]) -> list[Change]:
    missing = replicas_of(rs) - len(active)
    if missing > 0:
        if namespace_terminating(view, namespace_of(rs)):
            return []
        pod = pod_facts.from_template(rs, rs["spec"]["template"])
        event = Emit(rs, "Normal", "SuccessfulCreate", "Created pod: {name}")
        return [Create("pods", pod, event)] * min(missing, BURST)
    if missing == 0:
        return []
    changes: list[Change] = []
    for pod in deletion_order(active, _related(view, rs))[: min(-missing, BURST)]:
        changes.append(Delete("pods", namespace_of(pod), name_of(pod), uid_of(pod)))
        changes.append(Emit(rs, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}"))
    return changes


def deletion_order(pods: list[Manifest], related: list[Manifest]) -> list[Manifest]:
    """The pods, first to go first, by Kubernetes' ranking.

    Without a node, then not running, then not ready, then cheaper, then sharing their node with more
    *related* pods, then younger, with more restarts.
    """
    crowd = Counter(p["spec"].get("nodeName") for p in related if pod_facts.active(p))

    def rank(pod: Manifest) -> tuple[object, ...]:
        ready = pod_facts.ready(pod)
        node = pod["spec"].get("nodeName")
        return (
            bool(node),
            _PHASES.get(pod_facts.phase(pod), 2),
            ready,
            _cost(pod),
            -crowd[node] if node else 0,
            -pod_facts.ready_since(pod) if ready else 0,
            -pod_facts.restarts(pod),
            -seconds(pod["metadata"].get("creationTimestamp")),
            name_of(pod),
        )

    return sorted(pods, key=rank)


def _cost(pod: Manifest) -> int:
    try:
        return int(annotations_of(pod).get(_COST, "0"))
    except ValueError:
        return 0


def _related(view: View, rs: Manifest) -> list[Manifest]:
    """Pods of all ReplicaSets with the same controller."""
    owner = controller_of(rs)
    siblings = view.owned(RESOURCE, owner["uid"]) if owner else [rs]
    return [pod for sibling in siblings for pod in view.owned("pods", uid_of(sibling))]


def _status(rs: Manifest, active: list[Manifest], terminating: int, now: float) -> Manifest:
    min_ready = rs["spec"].get("minReadySeconds", 0)
    wanted = {"matchLabels": (rs["spec"]["template"].get("metadata") or {}).get("labels") or {}}
    return {
        "replicas": len(active),
        **counters(
            fullyLabeledReplicas=sum(matches(wanted, labels_of(p)) for p in active),
            readyReplicas=sum(map(pod_facts.ready, active)),
            availableReplicas=sum(pod_facts.available(p, min_ready, now) for p in active),
        ),
        "terminatingReplicas": terminating,
        "observedGeneration": rs["metadata"].get("generation", 1),
    }
