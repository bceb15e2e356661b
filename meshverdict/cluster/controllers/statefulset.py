"""StatefulSet: pods with names that stay, made in order and replaced from the last to the first."""

from __future__ import annotations

from meshverdict.cluster.store import Manifest

from . import pods as pod_facts
from . import revisions
from .changes import BURST, Change, Create, Delete, Emit, UpdateStatus, View
from .meta import (
    claim,
    counters,
    deleting,
    labels_of,
    name_of,
    namespace_of,
    namespace_terminating,
    replicas_of,
    uid_of,
    with_status,
)

RESOURCE = "statefulsets.apps"
POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def plan(view: View, statefulset: Manifest, now: float) -> list[Change]:
    """The next pod to make, remove or replace, and the status."""
    mine, changes = claim(view, "pods", statefulset, statefulset["spec"]["selector"])
    pods = {i: p for p in mine if (i := _ordinal(statefulset, p)) is not None}
    revision, revised = revisions.current(view, statefulset, "controller.kubernetes.io/hash")
    update = name_of(revision)
    current = (statefulset.get("status") or {}).get("currentRevision") or update
    if not deleting(statefulset) and not namespace_terminating(view, namespace_of(statefulset)):
        changes += revised
        changes += _next(view, statefulset, pods, (current, update), now)
        used = {current, update} | {labels_of(p).get(revisions.HASH_LABEL, "") for p in mine}
        changes += revisions.forget(view, statefulset, used)
    status = _status(statefulset, pods, current, update, now)
    if status != statefulset.get("status"):
        changes.append(UpdateStatus(RESOURCE, with_status(statefulset, status)))
    return changes + pod_facts.until_available(pods.values(), _min_ready(statefulset), now)


def _ordinal(statefulset: Manifest, pod: Manifest) -> int | None:
    prefix = name_of(statefulset) + "-"
    digits = name_of(pod).removeprefix(prefix)
    return int(digits) if name_of(pod).startswith(prefix) and digits.isdigit() else None


def _first(statefulset: Manifest) -> int:
    return int((statefulset["spec"].get("ordinals") or {}).get("start", 0))


def _next(
    view: View, statefulset: Manifest, pods: dict[int, Manifest], revision: tuple[str, str], now: float
) -> list[Change]:
    """Scale first; replace only when nothing is being scaled. OrderedReady does one thing at a time."""
    ordered = statefulset["spec"].get("podManagementPolicy", "OrderedReady") != "Parallel"
    first = _first(statefulset)
    wanted = range(first, first + replicas_of(statefulset))
    changes: list[Change] = []
    for ordinal in wanted:
        changes += _seat(view, statefulset, ordinal, pods.get(ordinal), revision)
        healthy = ordinal in pods and _healthy(statefulset, pods[ordinal], now)
        if (ordered and (changes or not healthy)) or len(changes) >= BURST:
            return changes
    for ordinal in sorted((o for o in pods if o not in wanted), reverse=True):
        if not deleting(pods[ordinal]):
            changes += _drop(statefulset, pods[ordinal])
        if ordered:
            return changes
    return changes or _replace(statefulset, pods, wanted, revision[1], now)


def _seat(
    view: View, statefulset: Manifest, ordinal: int, pod: Manifest | None, revision: tuple[str, str]
) -> list[Change]:
    if pod is None:
        return _make(view, statefulset, ordinal, revision)
    if pod_facts.finished(pod) and not deleting(pod):
        return _drop(statefulset, pod)
    return []


def _make(view: View, statefulset: Manifest, ordinal: int, revision: tuple[str, str]) -> list[Change]:
    current, update = revision
    held = ordinal < _first(statefulset) + _partition(statefulset)
    name = current if held else update
    template = revisions.template(view, statefulset, name) if held else None
    owner, spec = name_of(statefulset), statefulset["spec"]
    pod_name = f"{owner}-{ordinal}"
    labels = {POD_INDEX: str(ordinal), revisions.HASH_LABEL: name, POD_NAME: pod_name}
    pod = pod_facts.from_template(statefulset, template or spec["template"], labels=labels)
    pod["metadata"]["name"] = pod_name
    pod["spec"]["hostname"] = pod_name
    if spec.get("serviceName"):
        pod["spec"]["subdomain"] = spec["serviceName"]
    text = f"create Pod {pod_name} in StatefulSet {owner} successful"
    return [Create("pods", pod, Emit(statefulset, "Normal", "SuccessfulCreate", text))]


def _drop(statefulset: Manifest, pod: Manifest) -> list[Change]:
    text = f"delete Pod {name_of(pod)} in StatefulSet {name_of(statefulset)} successful"
    return [
        Delete("pods", namespace_of(pod), name_of(pod), uid_of(pod)),
        Emit(statefulset, "Normal", "SuccessfulDelete", text),
    ]


def _replace(
    statefulset: Manifest, pods: dict[int, Manifest], wanted: range, update: str, now: float
) -> list[Change]:
    """RollingUpdate: the highest ordinal with an old template, once all above it are healthy."""
    if (statefulset["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate") != "RollingUpdate":
        return []
    lowest = wanted.start + _partition(statefulset)
    for ordinal in reversed(range(lowest, wanted.stop)):
        pod = pods.get(ordinal)
        if pod is None or deleting(pod):
            return []
        if labels_of(pod).get(revisions.HASH_LABEL) != update:
            return _drop(statefulset, pod)
        if not _healthy(statefulset, pod, now):
            return []
    return []


def _partition(statefulset: Manifest) -> int:
    strategy = statefulset["spec"].get("updateStrategy") or {}
    return int((strategy.get("rollingUpdate") or {}).get("partition", 0))


def _min_ready(statefulset: Manifest) -> int:
    return int(statefulset["spec"].get("minReadySeconds", 0))


def _healthy(statefulset: Manifest, pod: Manifest, now: float) -> bool:
    return pod_facts.active(pod) and pod_facts.available(pod, _min_ready(statefulset), now)


def _status(
    statefulset: Manifest, pods: dict[int, Manifest], current: str, update: str, now: float
) -> Manifest:
    def of(revision: str) -> int:
        return sum(labels_of(p).get(revisions.HASH_LABEL) == revision and pod_facts.active(p) for p in alive)

    alive = list(pods.values())
    ready = sum(map(pod_facts.ready, alive))
    updated = of(update)
    if updated == len(alive) == ready == replicas_of(statefulset):
        current = update
    return {
        "observedGeneration": statefulset["metadata"].get("generation", 1),
        "replicas": len(alive),
        **counters(readyReplicas=ready, currentReplicas=of(current), updatedReplicas=updated),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": 0,
        "availableReplicas": sum(_healthy(statefulset, p, now) for p in alive),
    }
