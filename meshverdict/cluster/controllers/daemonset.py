"""DaemonSet: one pod on every node that its template fits, replaced node by node."""

from __future__ import annotations

from dataclasses import dataclass

from meshverdict.cluster.store import Manifest

from . import pods as pod_facts
from . import revisions
from .changes import Change, Create, Delete, Emit, UpdateStatus, View
from .meta import (
    annotations_of,
    claim,
    counters,
    deleting,
    labels_of,
    name_of,
    namespace_of,
    namespace_terminating,
    scaled,
    seconds,
    uid_of,
    with_status,
)
from .node_fit import node_matches, untolerated

RESOURCE = "daemonsets.apps"
GENERATION = "deprecated.daemonset.template.generation"
_NODE = "node.kubernetes.io"
_TOLERATED = [
    {"key": f"{_NODE}/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": f"{_NODE}/unreachable", "operator": "Exists", "effect": "NoExecute"},
    *(
        {"key": f"{_NODE}/{key}", "operator": "Exists", "effect": "NoSchedule"}
        for key in ("disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
    ),
]
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class _Seat:
    """One node, whether it shall have a pod, whether it may keep one, and the pods it has, oldest first."""

    node: Manifest
    wanted: bool
    kept: bool
    pods: list[Manifest]


def plan(view: View, daemonset: Manifest, now: float) -> list[Change]:
    """Pods for nodes without one, the next nodes of an update, and the status."""
    mine, changes = claim(view, "pods", daemonset, daemonset["spec"]["selector"])
    generation = {GENERATION: str(daemonset["metadata"].get("generation", 1)), **annotations_of(daemonset)}
    revision, revised = revisions.current(view, daemonset, revisions.HASH_LABEL, generation)
    digest = labels_of(revision)[revisions.HASH_LABEL]
    seats = _seats(view, daemonset, mine)
    if not deleting(daemonset) and not namespace_terminating(view, namespace_of(daemonset)):
        changes += revised
        changes += _manage(daemonset, seats, digest) or _update(daemonset, seats, digest, now)
        used = {name_of(revision)} | {
            f"{name_of(daemonset)}-{labels_of(p).get(revisions.HASH_LABEL)}" for p in mine
        }
        changes += revisions.forget(view, daemonset, used)
    status = _status(daemonset, seats, digest, now)
    if status != daemonset.get("status"):
        changes.append(UpdateStatus(RESOURCE, with_status(daemonset, status)))
    return changes + pod_facts.until_available(mine, _min_ready(daemonset), now)


def _seats(view: View, daemonset: Manifest, mine: list[Manifest]) -> list[_Seat]:
    by_node: dict[str, list[Manifest]] = {}
    for pod in sorted(mine, key=lambda p: (seconds(p["metadata"].get("creationTimestamp")), name_of(p))):
        by_node.setdefault(pod["spec"].get("nodeName") or _target(pod), []).append(pod)
    spec = _tolerant(daemonset["spec"]["template"]["spec"])
    seats = []
    for node in view.list("nodes"):
        fits = node_matches(spec, node)
        wanted = fits and not untolerated(spec, node, ("NoSchedule", "NoExecute"))
        kept = fits and not untolerated(spec, node, ("NoExecute",))
        seats.append(_Seat(node, wanted, kept, by_node.get(name_of(node), [])))
    return seats


def _tolerant(spec: Manifest) -> Manifest:
    host = [{"key": f"{_NODE}/network-unavailable", "operator": "Exists", "effect": "NoSchedule"}]
    added = [*_TOLERATED, *(host if spec.get("hostNetwork") else [])]
    return {**spec, "tolerations": [*(spec.get("tolerations") or ()), *added]}


def _target(pod: Manifest) -> str:
    """The node that a pod not bound yet is made for."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    for term in (affinity.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            return str(field["values"][0])
    return ""


def _pod(daemonset: Manifest, node: str, digest: str) -> Create:
    labels = {
        revisions.HASH_LABEL: digest,
        "pod-template-generation": str(daemonset["metadata"].get("generation", 1)),
    }
    pod = pod_facts.from_template(daemonset, daemonset["spec"]["template"], labels=labels)
    spec = _tolerant(pod["spec"])
    affinity = spec.get("affinity") or {}
    by_name = {"key": "metadata.name", "operator": "In", "values": [node]}
    required = {"nodeSelectorTerms": [{"matchFields": [by_name]}]}
    node_affinity = {**(affinity.get("nodeAffinity") or {}), _REQUIRED: required}
    pod["spec"] = {**spec, "affinity": {**affinity, "nodeAffinity": node_affinity}}
    return Create("pods", pod, Emit(daemonset, "Normal", "SuccessfulCreate", "Created pod: {name}"))


def _drop(daemonset: Manifest, pod: Manifest) -> list[Change]:
    return [
        Delete("pods", namespace_of(pod), name_of(pod), uid_of(pod)),
        Emit(daemonset, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}"),
    ]


def _manage(daemonset: Manifest, seats: list[_Seat], digest: str) -> list[Change]:
    """A pod where one is missing; none where one may not be; no failed ones, no doubles of one template."""
    changes: list[Change] = []
    for seat in seats:
        alive = [p for p in seat.pods if not deleting(p)]
        if not seat.kept:
            changes += [c for p in alive for c in _drop(daemonset, p)]
        elif seat.wanted and not seat.pods:
            changes.append(_pod(daemonset, name_of(seat.node), digest))
        failed = [p for p in alive if pod_facts.phase(p) == "Failed"] if seat.kept else []
        for pod in failed:
            where = f"{namespace_of(pod)}/{name_of(pod)} on node {name_of(seat.node)}"
            text = f"Found failed daemon pod {where}, will try to kill it"
            changes += [Emit(daemonset, "Warning", "FailedDaemonPod", text), *_drop(daemonset, pod)]
        if seat.kept:
            running = [p for p in alive if p not in failed]
            same = [p for p in running if _is_new(p, digest)]
            for surplus in (same[1:], [p for p in running if not _is_new(p, digest)][1:]):
                changes += [c for p in surplus for c in _drop(daemonset, p)]
    return changes


def _is_new(pod: Manifest, digest: str) -> bool:
    return labels_of(pod).get(revisions.HASH_LABEL) == digest


def _update(daemonset: Manifest, seats: list[_Seat], digest: str, now: float) -> list[Change]:
    """RollingUpdate: old pods go while few enough are missing; with maxSurge new ones come first."""
    strategy = daemonset["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    rolling = strategy.get("rollingUpdate") or {}
    wanted = [s for s in seats if s.wanted]
    surge = scaled(rolling.get("maxSurge", 0), len(wanted), up=True)
    if surge:
        return _surge(daemonset, wanted, digest, surge, now)
    unavailable = max(scaled(rolling.get("maxUnavailable", 1), len(wanted), up=True), 1)
    min_ready = _min_ready(daemonset)
    serving = [s for s in wanted if any(_serves(p, min_ready, now) for p in s.pods)]
    old = [(s in serving, p) for s in wanted for p in s.pods if not deleting(p) and not _is_new(p, digest)]
    idle = [p for serves, p in old if not serves]
    budget = max(unavailable - (len(wanted) - len(serving)), 0)
    going = idle + [p for serves, p in old if serves][:budget]
    return [c for p in going for c in _drop(daemonset, p)]


def _surge(daemonset: Manifest, wanted: list[_Seat], digest: str, surge: int, now: float) -> list[Change]:
    min_ready = _min_ready(daemonset)
    changes: list[Change] = []
    doubled = 0
    for seat in wanted:
        old = [p for p in seat.pods if not deleting(p) and not _is_new(p, digest)]
        new = [p for p in seat.pods if not deleting(p) and _is_new(p, digest)]
        serving = any(_serves(p, min_ready, now) for p in old)
        if old and (not serving or any(_serves(p, min_ready, now) for p in new)):
            changes += [c for p in old for c in _drop(daemonset, p)]
        elif old and new:
            doubled += 1
        elif old and doubled < surge:
            doubled += 1
            changes.append(_pod(daemonset, name_of(seat.node), digest))
    return changes


def _serves(pod: Manifest, min_ready: int, now: float) -> bool:
    return not deleting(pod) and pod_facts.available(pod, min_ready, now)


def _min_ready(daemonset: Manifest) -> int:
    return int(daemonset["spec"].get("minReadySeconds", 0))


def _status(daemonset: Manifest, seats: list[_Seat], digest: str, now: float) -> Manifest:
    min_ready = _min_ready(daemonset)
    wanted = [s for s in seats if s.wanted]
    firsts = [s.pods[0] for s in wanted if s.pods]
    available = sum(any(_serves(p, min_ready, now) for p in s.pods) for s in wanted)
    return {
        "currentNumberScheduled": len(firsts),
        "numberMisscheduled": sum(bool(s.pods) for s in seats if not s.wanted),
        "desiredNumberScheduled": len(wanted),
        "numberReady": sum(any(pod_facts.ready(p) for p in s.pods) for s in wanted),
        "observedGeneration": daemonset["metadata"].get("generation", 1),
        **counters(
            updatedNumberScheduled=sum(any(_is_new(p, digest) for p in s.pods) for s in wanted),
            numberAvailable=available,
            numberUnavailable=len(wanted) - available,
        ),
    }
