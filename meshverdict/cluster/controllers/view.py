"""The controllers' view: the store's objects by owner, node, uid and namespace.

Kept up to date by the store's events, so that finding the pods of a ReplicaSet costs as many steps
as it has pods, not as the cluster has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from meshverdict.cluster.store import Event, Manifest, Store

from .changes import Dependents, Manifests
from .meta import controller_of

_Key = tuple[str, str, str]  # resource, namespace, name
_Bucket = dict[_Key, Manifest]
_Places = list[tuple[dict[Any, _Bucket], Any]]  # an index, and a key in it
_K = TypeVar("_K")


class IndexedView:
    """A :class:`~.changes.View` of a store; call :meth:`see` with each of the store's events."""

    def __init__(self, store: Store, resources: Iterable[str] = ()) -> None:
        self._store = store
        self._by_uid: dict[str, tuple[str, Manifest]] = {}
        self._by_namespace: dict[tuple[str, str], _Bucket] = {}
        self._controlled: dict[tuple[str, str], _Bucket] = {}
        self._orphans: dict[tuple[str, str], _Bucket] = {}
        self._dependents: dict[str, _Bucket] = {}
        self._by_node: dict[str, _Bucket] = {}
        for resource in resources:
            for obj in store.list(resource):
                self.see(Event("ADDED", resource, obj, None, store.revision))

    def see(self, event: Event) -> None:
        """Take one change of the store into the indexes."""
        if event.old is not None:
            self._forget(event.resource, event.old)
        if event.type != "DELETED":
            self._remember(event.resource, event.obj)

    def get(self, resource: str, namespace: str | None, name: str) -> Manifest | None:
        """One object, or None."""
        return self._store.get(resource, namespace, name)

    def list(self, resource: str, namespace: str | None = None) -> Manifests:
        """All objects of a resource, of one namespace if given."""
        if not namespace:
            return self._store.list(resource)
        return _values(self._by_namespace, (resource, namespace))

    def find(self, uid: str) -> tuple[str, Manifest] | None:
        """The object with this uid and its resource, or None."""
        return self._by_uid.get(uid)

    def owned(self, resource: str, uid: str) -> Manifests:
        """Objects whose controller is *uid*."""
        return _values(self._controlled, (resource, uid))

    def orphans(self, resource: str, namespace: str) -> Manifests:
        """Objects of the namespace without a controller."""
        return _values(self._orphans, (resource, namespace))

    def dependents(self, uid: str) -> Dependents:
        """Objects of any resource that name *uid* among their owners, with their resource."""
        bucket: _Bucket = self._dependents.get(uid, {})
        return [(key[0], obj) for key, obj in bucket.items()]

    def pods_on(self, node: str) -> Manifests:
        """Pods bound to *node*; ``""`` for pods that have no node yet."""
        return _values(self._by_node, node)

    def contents(self, namespace: str) -> dict[str, Manifests]:
        """Everything in a namespace, by resource; no empty lists."""
        resources = sorted(resource for resource, space in self._by_namespace if space == namespace)
        return {resource: _values(self._by_namespace, (resource, namespace)) for resource in resources}

    def _places(self, resource: str, obj: Manifest) -> _Places:
        """Every bucket that an object belongs into."""
        meta = obj["metadata"]
        namespace = meta.get("namespace") or ""
        places: _Places = [(self._by_namespace, (resource, namespace))]
        controller = controller_of(obj)
        if controller is None:
            places.append((self._orphans, (resource, namespace)))
        else:
            places.append((self._controlled, (resource, controller["uid"])))
        places.extend((self._dependents, ref["uid"]) for ref in meta.get("ownerReferences") or ())
        if resource == "pods":
            places.append((self._by_node, obj.get("spec", {}).get("nodeName") or ""))
        return places

    def _remember(self, resource: str, obj: Manifest) -> None:
        meta = obj["metadata"]
        namespace = meta.get("namespace") or ""
        self._by_uid[meta["uid"]] = (resource, obj)
        for index, key in self._places(resource, obj):
            index.setdefault(key, {})[resource, namespace, meta["name"]] = obj

    def _forget(self, resource: str, obj: Manifest) -> None:
        meta = obj["metadata"]
        self._by_uid.pop(meta["uid"], None)
        for index, key in self._places(resource, obj):
            bucket = index.get(key, {})
            bucket.pop((resource, meta.get("namespace") or "", meta["name"]), None)
            if not bucket:  # owners and namespaces come and go too
                index.pop(key, None)


def _values(index: dict[_K, _Bucket], key: _K) -> list[Manifest]:
    bucket = index.get(key)
    return list(bucket.values()) if bucket else []
