"""The scheduler: a node for every pod that has none, or the reason why there is none.

All waiting pods are planned together, oldest first, so that each sees where the others go.
"""

from __future__ import annotations

from collections import Counter

from meshverdict.cluster.store import Manifest

from .changes import Change, Emit, Update, UpdateStatus, View
from .filters import Misfit, misfits
from .meta import (
    condition,
    deleting,
    labels_of,
    name_of,
    namespace_of,
    seconds,
    stamp,
    with_meta,
    with_status,
)
from .placement import Place, Placement
from .scores import best

SCHEDULER = "default-scheduler"
_COPIED = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


def plan(view: View, nothing: Manifest, now: float) -> list[Change]:
    """Bindings of the pods that fit somewhere, conditions and events of those that do not."""
    del nothing
    waiting = [p for p in view.pods_on("") if _is_ours(p)]
    if not waiting:
        return []
    placement = Placement(view)
    changes: list[Change] = []
    for pod in sorted(waiting, key=_queue_order):
        try:
            reasons = {place.name: misfits(pod, place, placement) for place in placement.places}
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # One pod that cannot be read must not keep all others from their nodes.
            unread = Misfit(f"node(s) could not be judged by the pod's spec ({error!r})", final=True)
            changes += _refuse(pod, [[unread] for _ in placement.places], now)
            continue
        fitting = [place for place in placement.places if not reasons[place.name]]
        if fitting:
            place = best(pod, fitting, placement)
            placement.put(pod, place)
            changes += _bind(pod, place, now)
        else:
            changes += _refuse(pod, list(reasons.values()), now)
    return changes


def _is_ours(pod: Manifest) -> bool:
    spec = pod["spec"]
    mine = spec.get("schedulerName", SCHEDULER) == SCHEDULER
    return mine and not deleting(pod) and not spec.get("schedulingGates")


def _queue_order(pod: Manifest) -> tuple[int, float, str]:
    created = seconds(pod["metadata"].get("creationTimestamp"))
    return -int(pod["spec"].get("priority") or 0), created, name_of(pod)


def _bind(pod: Manifest, place: Place, now: float) -> list[Change]:
    node = labels_of(place.node)
    labels = {**labels_of(pod), **{k: node[k] for k in _COPIED if k in node}}
    bound = {**with_meta(pod, labels=labels or None), "spec": {**pod["spec"], "nodeName": place.name}}
    entry = {
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": stamp(now),
    }
    text = f"Successfully assigned {namespace_of(pod)}/{name_of(pod)} to {place.name}"
    return [
        Update("pods", bound),
        UpdateStatus("pods", with_status(bound, _conditions(pod, entry))),
        Emit(pod, "Normal", "Scheduled", text),
    ]


def _conditions(pod: Manifest, entry: Manifest) -> Manifest:
    status = pod.get("status") or {}
    others = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
    return {"phase": "Pending", **status, "conditions": [*others, entry]}


def _refuse(pod: Manifest, reasons: list[list[Misfit]], now: float) -> list[Change]:
    message = explain(reasons)
    current = condition(pod.get("status") or {}, "PodScheduled")
    if current is not None and current.get("message") == message:
        return []
    same = current is not None and current["status"] == "False"
    entry = {
        "type": "PodScheduled",
        "observedGeneration": pod["metadata"].get("generation", 1),
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": current["lastTransitionTime"] if current and same else stamp(now),
        "reason": "Unschedulable",
        "message": message,
    }
    return [
        UpdateStatus("pods", with_status(pod, _conditions(pod, entry))),
        Emit(pod, "Warning", "FailedScheduling", message),
    ]


def explain(reasons: list[list[Misfit]]) -> str:
    """Kubernetes' sentence about the nodes that did not fit; *reasons* are one list a node."""
    if not reasons:
        return "no nodes available to schedule pods"
    head = f"0/{len(reasons)} nodes are available"
    why = Counter(m.reason for node in reasons for m in node)
    hopeless = sum(any(m.final for m in node) for node in reasons)
    help_ = {
        "Preemption is not helpful for scheduling": hopeless,
        "No preemption victims found for incoming pod": len(reasons) - hopeless,
    }
    preemption = f"preemption: {head}: {_tally(help_)}."
    return f"{head}: {_tally(why)}. no new claims to deallocate, {preemption}"


def _tally(counts: dict[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items() if count))
