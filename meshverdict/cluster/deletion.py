"""The deletion protocol: what a DELETE does to an object, as a decision.

Kubernetes deletes in steps: finalizers and graceful pods stay, marked, until somebody finishes; everything
else goes at once. Most clients that hang wait for one of these steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from meshverdict.cluster.store import Manifest

Propagation = Literal["Background", "Foreground", "Orphan"]
_FINALIZERS: Final = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
# Kinds whose DELETE answers the object and not a Status.
ANSWERS_OBJECT: Final = frozenset(
    {"pods", "services", "serviceaccounts", "namespaces", "customresourcedefinitions.apiextensions.k8s.io"}
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do: ``remove`` it, ``mark`` it, or ``keep`` it as it is; *obj* is its state afterwards."""

    do: Literal["remove", "mark", "keep"]
    obj: Manifest


def decide(
    resource: str,
    obj: Manifest,
    *,
    now: str,
    later: str,
    grace: int | None,
    propagation: Propagation | None,
) -> Decision:
    """What a DELETE does.

    Args:
        resource: Group resource.
        obj: The stored object.
        now: The time, RFC 3339.
        later: The time after *grace* seconds (0 when there is none).
        grace: Seconds, from `effective_grace`.
        propagation: None for the kind's default.
    """
    meta = obj["metadata"]
    finalizers = _finalizers(list(meta.get("finalizers") or []), propagation)
    if resource == "namespaces":
        return _namespace(obj, now, finalizers)
    seconds = grace or 0
    if meta.get("deletionTimestamp"):
        return _again(obj, seconds, later, finalizers)
    marked = {
        **meta,
        "deletionTimestamp": later if resource == "pods" else now,
        "deletionGracePeriodSeconds": seconds,
    }
    if meta.get("generation"):
        marked["generation"] = meta["generation"] + 1
    if finalizers:
        marked["finalizers"] = finalizers
    if finalizers or seconds:
        return Decision("mark", {**obj, "metadata": marked})
    marked.pop("finalizers", None)
    return Decision("remove", {**obj, "metadata": marked} if resource == "pods" else obj)


def _finalizers(there: list[str], propagation: Propagation | None) -> list[str]:
    if propagation is None:
        return there
    kept = [name for name in there if name not in _FINALIZERS.values()]
    wanted = _FINALIZERS.get(propagation)
    return [*kept, wanted] if wanted else kept


def _again(obj: Manifest, seconds: int, later: str, finalizers: list[str]) -> Decision:
    """A DELETE of what is already going: it may only hurry."""
    meta = obj["metadata"]
    before = meta.get("deletionGracePeriodSeconds") or 0
    if seconds >= before and before:
        return Decision("keep", obj)
    if not seconds and not finalizers:
        return Decision("remove", obj)
    if seconds >= before:
        return Decision("keep", obj)
    hurried = {**meta, "deletionTimestamp": later, "deletionGracePeriodSeconds": seconds}
    return Decision("mark", {**obj, "metadata": hurried})


def _namespace(obj: Manifest, now: str, finalizers: list[str]) -> Decision:
    meta = obj["metadata"]
    if not finalizers and not (obj.get("spec") or {}).get("finalizers"):
        return Decision("remove", obj)
    if meta.get("deletionTimestamp"):
        return Decision("keep", obj)
    status = {**(obj.get("status") or {}), "phase": "Terminating"}
    marked = {**meta, "deletionTimestamp": now}
    if finalizers:
        marked["finalizers"] = finalizers
    return Decision("mark", {**obj, "metadata": marked, "status": status})


def effective_grace(resource: str, obj: Manifest, asked: int | None) -> int:
    """Seconds that the object's end may take."""
    if resource != "pods":
        return 0
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in {"Succeeded", "Failed"}:
        return 0
    if asked is None:
        return int(spec.get("terminationGracePeriodSeconds", 30))
    return max(asked, 0)


def finished(resource: str, obj: Manifest) -> bool:
    """Whether an updated object that is being deleted holds nothing back any more."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    if resource == "namespaces":
        return not (obj.get("spec") or {}).get("finalizers")
    return not meta.get("deletionGracePeriodSeconds")
