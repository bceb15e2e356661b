"""ControllerRevisions: the templates that a DaemonSet or StatefulSet had, for history and undo."""

from __future__ import annotations

from collections.abc import Collection

from meshverdict.cluster.store import Manifest

from .changes import Change, Create, Delete, Update, View
from .meta import history_limit, name_of, namespace_of, owner_reference, template_hash, uid_of

RESOURCE = "controllerrevisions.apps"
HASH_LABEL = "controller-revision-hash"


def current(
    view: View, owner: Manifest, hash_label: str, annotations: dict[str, str] | None = None
) -> tuple[Manifest, list[Change]]:
    """The revision of the owner's template, and the change that makes it or makes it the newest."""
    data = _data(owner)
    known = sorted(view.owned(RESOURCE, uid_of(owner)), key=_number)
    newest = _number(known[-1]) if known else 0
    for revision in known:
        if revision.get("data") == data:
            if _number(revision) == newest:
                return revision, []
            raised = {**revision, "revision": newest + 1}
            return raised, [Update(RESOURCE, raised)]
    made = _revision(owner, data, newest + 1, hash_label, annotations or {})
    return made, [Create(RESOURCE, made)]


def template(view: View, owner: Manifest, name: str) -> Manifest | None:
    """The template of the revision of this name, if it is still there."""
    found = view.get(RESOURCE, namespace_of(owner), name)
    if found is None:
        return None
    stored = found["data"]["spec"]["template"]
    return {k: v for k, v in stored.items() if k != "$patch"}


def forget(view: View, owner: Manifest, used: Collection[str]) -> list[Change]:
    """Delete the oldest revisions beyond spec.revisionHistoryLimit, except those in use."""
    known = view.owned(RESOURCE, uid_of(owner))
    unused = sorted((r for r in known if name_of(r) not in used), key=_number)
    surplus = unused[: max(len(unused) - history_limit(owner), 0)]
    return [Delete(RESOURCE, namespace_of(r), name_of(r), uid_of(r)) for r in surplus]


def _data(owner: Manifest) -> Manifest:
    return {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}


def _revision(
    owner: Manifest, data: Manifest, number: int, hash_label: str, annotations: dict[str, str]
) -> Manifest:
    digest = template_hash(data)
    labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    meta: Manifest = {
        "name": f"{name_of(owner)}-{digest}",
        "namespace": namespace_of(owner),
        "labels": {**labels, hash_label: digest},
        "ownerReferences": [owner_reference(owner)],
    }
    if annotations:
        meta["annotations"] = annotations
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": meta,
        "data": data,
        "revision": number,
    }


def _number(revision: Manifest) -> int:
    return int(revision["revision"])
