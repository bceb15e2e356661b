"""What a write needs of the objects that are there: a namespace, an account, the expected revision."""

from __future__ import annotations

from typing import Final

from meshverdict.cluster import errors as refuse
from meshverdict.cluster import names, strategies
from meshverdict.cluster.kinds import Kind
from meshverdict.cluster.random_names import random_suffix
from meshverdict.cluster.store import Manifest, Store

_NAMESPACES: Final = "namespaces"


def namespace(store: Store, kind: Kind, meta: Manifest) -> None:
    """Refuse a new object in a namespace that is not there, or is going.

    Raises:
        ApiError: 404 or 403.
    """
    place = meta.get("namespace") or ""
    if not kind.namespaced or not place:
        return
    found = store.get(_NAMESPACES, None, place)
    if found is None:
        if not names.dns_label_problems(place):
            raise refuse.not_found(_NAMESPACES, "", place)
        return
    if found["metadata"].get("deletionTimestamp") and kind.resource != "events":
        name = meta.get("name") or ""
        why = f"unable to create new content in namespace {place} because it is being terminated"
        error = refuse.forbidden(kind.plural, kind.group, name, why)
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {place} is being terminated",
            "field": "metadata.namespace",
        }
        error.details = {**(error.details or {}), "causes": [cause]}
        raise error


def with_account(store: Store, pod: Manifest) -> Manifest:
    """A new pod with its service account's token volume.

    Raises:
        ApiError: 403: the account is not there (yet).
    """
    meta = pod["metadata"]
    name = pod["spec"].get("serviceAccountName") or "default"
    account = store.get("serviceaccounts", meta.get("namespace"), name)
    if account is None:
        key = f"{meta.get('namespace')}/{name}"
        why = f'error looking up service account {key}: serviceaccount "{name}" not found'
        raise refuse.forbidden("pods", "", meta.get("name") or "", why)
    return strategies.with_token_volume(pod, account, random_suffix())


def current(kind: Kind, meta: Manifest, old: Manifest) -> None:
    """Refuse an update that was made from another state, or is for another object.

    Raises:
        ApiError: 409.
    """
    version = meta.get("resourceVersion")
    if version and version not in {old["resourceVersion"], "0"}:
        raise refuse.conflict(kind.plural, kind.group, meta["name"])
    if meta.get("uid") and meta["uid"] != old["uid"]:
        place = "/".join(p for p in (kind.plural, old.get("namespace"), old["name"]) if p)
        why = (
            f"StorageError: invalid object, Code: 4, Key: /registry/{place}, ResourceVersion: 0, "
            f"AdditionalErrorMsg: Precondition failed: UID in precondition: {meta['uid']}, "
            f"UID in object meta: {old['uid']}"
        )
        raise refuse.conflict(kind.plural, kind.group, meta["name"], why)


def preconditions(kind: Kind, obj: Manifest, uid: str | None, version: str | None) -> None:
    """Refuse a deletion of another object or state than the one meant.

    Raises:
        ApiError: 409.
    """
    meta = obj["metadata"]
    if uid and uid != meta["uid"]:
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({meta['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise refuse.conflict(kind.kind, kind.group, meta["name"], why)
    if version and version != meta["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in "
            f"record ({meta['resourceVersion']}). The object might have been modified"
        )
        raise refuse.conflict(kind.kind, kind.group, meta["name"], why)
