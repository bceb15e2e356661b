"""What the controllers ask about a pod, and how a pod is made from a template."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from meshverdict.cluster.store import Manifest

from .changes import Change, Requeue
from .meta import condition, deleting, is_true, owner_reference, seconds

FINISHED = ("Succeeded", "Failed")


def phase(pod: Manifest) -> str:
    """status.phase; a pod that nobody has touched is Pending."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def finished(pod: Manifest) -> bool:
    """Whether all its containers have ended for good."""
    return phase(pod) in FINISHED


def active(pod: Manifest) -> bool:
    """Whether it counts as a replica: neither finished nor being deleted."""
    return not finished(pod) and not deleting(pod)


def ready(pod: Manifest) -> bool:
    """The Ready condition."""
    return is_true(pod.get("status") or {}, "Ready")


def ready_since(pod: Manifest) -> float:
    """Unix seconds since which it is ready; 0 if it is not."""
    found = condition(pod.get("status") or {}, "Ready")
    if found is None or found["status"] != "True":
        return 0.0
    return seconds(found.get("lastTransitionTime"))


def available(pod: Manifest, min_ready: int, now: float) -> bool:
    """Ready for at least *min_ready* seconds."""
    return ready(pod) and (not min_ready or ready_since(pod) + min_ready <= now)


def until_available(pods: Iterable[Manifest], min_ready: int, now: float) -> list[Change]:
    """A Requeue for when the next ready pod becomes available, if one is waiting for that."""
    waits = [ready_since(p) + min_ready - now for p in pods if ready(p) and not available(p, min_ready, now)]
    return [Requeue(max(min(waits), 0.01))] if waits else []


def restarts(pod: Manifest) -> int:
    """The most restarts of one of its containers."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(s.get("restartCount", 0)) for s in statuses), default=0)


def from_template(owner: Manifest, template: Manifest, *, labels: dict[str, str] | None = None) -> Manifest:
    """A pod without a name, controlled by *owner*; safe to change."""
    meta = copy.deepcopy(template.get("metadata") or {})
    for key in ("name", "creationTimestamp"):
        meta.pop(key, None)
    meta["namespace"] = owner["metadata"]["namespace"]
    meta["generateName"] = owner["metadata"]["name"] + "-"
    if labels:
        meta["labels"] = {**(meta.get("labels") or {}), **labels}
    meta["ownerReferences"] = [owner_reference(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": copy.deepcopy(template["spec"])}
