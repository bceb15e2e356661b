"""Garbage collection: what becomes of objects whose owners go.

Background: dependents go once no owner is left. Foreground: the owner waits, under the finalizer
``foregroundDeletion``, for those that block it. Orphan: the dependents forget their owner first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from meshverdict.cluster.store import Manifest

from .changes import Change, Delete, Key, Update, View
from .meta import deleting, name_of, namespace_of, uid_of, with_meta

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


def concerned(view: View, obj: Manifest) -> Iterable[Key]:
    """Keys (``""``, uid) of the objects that may go, or go on, because *obj* changed."""
    uid = uid_of(obj)
    refs = obj["metadata"].get("ownerReferences") or ()
    if refs or obj["metadata"].get("finalizers"):
        yield "", uid
    for ref in refs:
        yield "", ref["uid"]
    if deleting(obj) or view.find(uid) is None:
        for _, dependent in view.dependents(uid):
            yield "", uid_of(dependent)


def find(view: View, key: Key) -> Manifest | None:
    """The object with the uid in *key*."""
    found = view.find(key[1])
    return found[1] if found else None


def plan(view: View, obj: Manifest, now: float) -> list[Change]:
    """Whether *obj* has to go, and whether it has waited long enough for its dependents."""
    del now
    found = view.find(uid_of(obj))
    if found is None:
        return []
    resource = found[0]
    if deleting(obj):
        return _release(view, resource, obj)
    refs = obj["metadata"].get("ownerReferences") or []
    if not refs:
        return []
    solid = [ref for ref in refs if _is_solid(view, obj, ref)]
    present = [ref for ref in refs if _owner(view, obj, ref) is not None]
    if not solid:
        waited_for = bool(present) and bool(view.dependents(uid_of(obj)))
        policy: Literal["Foreground", "Background"] = "Foreground" if waited_for else "Background"
        return [Delete(resource, namespace_of(obj), name_of(obj), uid_of(obj), propagation=policy)]
    if len(present) < len(refs):
        return [Update(resource, with_meta(obj, ownerReferences=present))]
    return []


def _owner(view: View, obj: Manifest, ref: Manifest) -> Manifest | None:
    """The owner, if it is there and in reach: of the same namespace or cluster-scoped."""
    found = view.find(ref["uid"])
    if found is None or namespace_of(found[1]) not in {"", namespace_of(obj)}:
        return None
    return found[1]


def _is_solid(view: View, obj: Manifest, ref: Manifest) -> bool:
    """Whether this owner keeps the object: not one that waits for its dependents to go."""
    owner = _owner(view, obj, ref)
    if owner is None:
        return False
    return not (deleting(owner) and FOREGROUND in (owner["metadata"].get("finalizers") or ()))


def _release(view: View, resource: str, obj: Manifest) -> list[Change]:
    finalizers = obj["metadata"].get("finalizers") or []
    uid = uid_of(obj)
    if ORPHAN in finalizers:
        return [*_orphaned(view, uid), _without(resource, obj, ORPHAN)]
    if FOREGROUND in finalizers:
        blocking = [d for _, d in view.dependents(uid) if _blocks(d, uid)]
        if not blocking:
            return [_without(resource, obj, FOREGROUND)]
    return []


def _orphaned(view: View, uid: str) -> list[Change]:
    changes: list[Change] = []
    for resource, dependent in view.dependents(uid):
        refs = [r for r in dependent["metadata"]["ownerReferences"] if r["uid"] != uid]
        changes.append(Update(resource, with_meta(dependent, ownerReferences=refs or None)))
    return changes


def _blocks(dependent: Manifest, uid: str) -> bool:
    refs = dependent["metadata"].get("ownerReferences") or ()
    return any(r["uid"] == uid and r.get("blockOwnerDeletion") for r in refs)


def _without(resource: str, obj: Manifest, finalizer: str) -> Update:
    left = [f for f in obj["metadata"]["finalizers"] if f != finalizer]
    return Update(resource, with_meta(obj, finalizers=left or None))
