"""Node lifecycle: the taints that a node's state means, who has to leave because of a taint, and silent nodes.

A pod cannot stay on a node that is not there either.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshverdict.cluster.store import Manifest

from . import pods as pod_facts
from . import silence
from .changes import Change, Delete, Emit, Key, Requeue, Update, View
from .meta import condition, deleting, name_of, namespace_of, seconds, stamp, uid_of
from .node_fit import covers

RESOURCE = "nodes"
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_NOT_READY = "node.kubernetes.io/not-ready"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_OURS = (_UNSCHEDULABLE, _NOT_READY, _UNREACHABLE)


def plan(view: View, node: Manifest, now: float) -> list[Change]:
    """Keep the node's own taints true, notice its silence, and send away pods that do not tolerate NoExecute taints."""
    current = node["spec"].get("taints") or []
    wanted = _taints(node, current, now)
    if wanted != current:
        spec = {k: v for k, v in node["spec"].items() if k != "taints"}
        return [Update(RESOURCE, {**node, "spec": {**spec, **({"taints": wanted} if wanted else {})}})]
    evicted = [c for pod in view.pods_on(name_of(node)) for c in _evict(pod, current, now)]
    return silence.plan(view, node, now) + evicted


def gone(view: View, key: Key, now: float) -> list[Change]:
    """The pods of a node that is gone, at once: no kubelet is left to confirm their end."""
    del now
    return [
        Delete("pods", namespace_of(pod), name_of(pod), uid_of(pod), grace=0) for pod in view.pods_on(key[1])
    ]


def tainted(view: View, pod: Manifest) -> Iterable[Key]:
    """The node of a pod, if it has a taint that may send the pod away."""
    name = pod["spec"].get("nodeName")
    node = view.get(RESOURCE, "", name) if name else None
    if name and (node is None or any(t["effect"] == "NoExecute" for t in node["spec"].get("taints") or ())):
        yield "", name


def _taints(node: Manifest, current: list[Manifest], now: float) -> list[Manifest]:
    wanted: list[tuple[str, str]] = []
    if node["spec"].get("unschedulable"):
        wanted.append((_UNSCHEDULABLE, "NoSchedule"))
    ready = condition(node.get("status") or {}, "Ready")
    if ready is not None and ready["status"] != "True":
        key = _NOT_READY if ready["status"] == "False" else _UNREACHABLE
        wanted += [(key, "NoSchedule"), (key, "NoExecute")]
    kept = [t for t in current if t["key"] not in _OURS or (t["key"], t["effect"]) in wanted]
    there = {(t["key"], t["effect"]) for t in kept}
    new = [{"key": key, "effect": effect} for key, effect in wanted if (key, effect) not in there]
    # Tolerations in seconds count from here on.
    return [
        {**t, "timeAdded": stamp(now)} if t["effect"] == "NoExecute" and not t.get("timeAdded") else t
        for t in [*kept, *new]
    ]


def _evict(pod: Manifest, taints: list[Manifest], now: float) -> list[Change]:
    if deleting(pod) or pod_facts.finished(pod):
        return []
    waits = [w for t in taints if t["effect"] == "NoExecute" for w in _patience(pod, t, now)]
    if not waits:
        return []
    if min(waits) > 0:
        return [Requeue(min(waits))]
    text = f"Marking for deletion Pod {namespace_of(pod)}/{name_of(pod)}"
    return [
        Emit(pod, "Normal", "TaintManagerEviction", text),
        Delete("pods", namespace_of(pod), name_of(pod), uid_of(pod)),
    ]


def _patience(pod: Manifest, taint: Manifest, now: float) -> list[float]:
    """Seconds that the pod bears the taint still: none listed means for ever."""
    covering = [t for t in pod["spec"].get("tolerations") or () if covers(t, taint)]
    if not covering:
        return [0.0]
    limits = [float(t["tolerationSeconds"]) for t in covering if t.get("tolerationSeconds") is not None]
    if not limits:
        return []
    return [max(seconds(taint.get("timeAdded")) + max(min(limits), 0.0) - now, 0.0)]
