"""Nodes that fell silent: what the control plane makes of them once it notices.

As Kubernetes' node lifecycle controller: the node's conditions become Unknown, and its pods are no longer Ready,
which takes them out of their Services. Until then they stand in them, and nobody answers there.
"""

from __future__ import annotations

from meshverdict.cluster.store import Manifest
from meshverdict.model.silence import STATUS_UNKNOWN, noticed_at

from . import pods as pod_facts
from .changes import Change, Emit, Requeue, UpdateStatus, View
from .meta import condition, name_of, stamp, with_status

_MESSAGE = "Kubelet stopped posting node status."


def plan(view: View, node: Manifest, now: float) -> list[Change]:
    """Conditions of a silent node and of its pods, when its silence has lasted long enough."""
    moment = noticed_at(node)
    if moment is None:
        return []
    if now < moment:
        return [Requeue(moment - now)]
    ready = condition(node, "Ready")
    if ready is not None and ready["status"] != "Unknown":
        text = f"Node {name_of(node)} status is now: NodeNotReady"
        return [UpdateStatus("nodes", _unknown(node, now)), Emit(node, "Normal", "NodeNotReady", text)]
    return [c for pod in view.pods_on(name_of(node)) if pod_facts.ready(pod) for c in _unready(pod, now)]


def _unknown(node: Manifest, now: float) -> Manifest:
    entry = {
        "status": "Unknown",
        "reason": STATUS_UNKNOWN,
        "message": _MESSAGE,
        "lastTransitionTime": stamp(now),
    }
    status = node.get("status") or {}
    return with_status(
        node, {**status, "conditions": [{**c, **entry} for c in status.get("conditions") or ()]}
    )


def _unready(pod: Manifest, now: float) -> list[Change]:
    status = pod["status"]
    conditions = [
        {**c, "status": "False", "lastTransitionTime": stamp(now)} if c["type"] == "Ready" else c
        for c in status["conditions"]
    ]
    return [
        UpdateStatus("pods", with_status(pod, {**status, "conditions": conditions})),
        Emit(pod, "Warning", "NodeNotReady", "Node is not ready"),
    ]
