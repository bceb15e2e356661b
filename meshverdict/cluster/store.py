"""Objects by key, resource versions, and the log that watches read.

The store is the truth of the embedded cluster and knows nothing of Kubernetes' rules: admission,
deletion protocol and defaulting are :mod:`.objects`' job. Objects are plain manifests (dicts) and
are NEVER changed once they are put here; a change is a new dict.

One event loop owns a store: every method is synchronous, and subscribers are called before the
method that changed something returns.
"""

from __future__ import annotations

import marshal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

Manifest = dict[str, Any]
EventType = Literal["ADDED", "MODIFIED", "DELETED"]

HISTORY = 20_000  # changes that a watch may lag behind before it gets 410 Gone
HISTORY_BYTES = 128 * 1024 * 1024  # of large objects it remembers fewer changes
CAPACITY_BYTES = 512 * 1024 * 1024  # of objects; then new ones are refused, as etcd refuses them


@dataclass(frozen=True, slots=True)
class Event:
    """One change: *resource* is a group resource, ``pods`` or ``deployments.apps``.

    ``old`` is None for ADDED; ``obj`` of DELETED is the last state with the revision of the deletion.
    """

    type: EventType
    resource: str
    obj: Manifest
    old: Manifest | None
    revision: int
    size: int = 0


class FullError(Exception):
    """The store holds as much as it may."""


class AlreadyExistsError(Exception):
    """An object with this key is there."""


class NotFoundError(Exception):
    """No object has this key."""


class ConflictError(Exception):
    """The object has changed since the revision that the caller had read."""


class GoneError(Exception):
    """The revision is older than the log reaches."""


Subscriber = Callable[[Event], None]


class Store:
    """All objects of one cluster, in memory.

    Args:
        first_revision: The revision before the first change. A restarted store starts
            higher than its predecessor ended, so that old resource versions get 410.
        capacity: Bytes of objects that it holds, as `marshal` writes them.
    """

    def __init__(self, first_revision: int = 1, *, capacity: int = CAPACITY_BYTES) -> None:
        self.revision = first_revision
        self.oldest = first_revision  # changes after it are remembered
        self._objects: dict[str, dict[tuple[str, str], Manifest]] = {}
        self._log: deque[Event] = deque()
        self._subscribers: list[Subscriber] = []
        self._capacity = capacity
        self._held = 0
        self._logged = 0

    def get(self, resource: str, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None. *namespace* is ``""`` or None for cluster-scoped resources."""
        return self._objects.get(resource, {}).get((namespace or "", name))

    def list(self, resource: str, namespace: str | None = None) -> list[Manifest]:
        """All objects, of one namespace if given, ordered by namespace and name."""
        objects = self._objects.get(resource, {})
        keys = sorted(k for k in objects if not namespace or k[0] == namespace)
        return [objects[k] for k in keys]

    def create(self, resource: str, obj: Manifest) -> Manifest:
        """Put a new object; returns it with its resource version."""
        key = _key(obj)
        objects = self._objects.setdefault(resource, {})
        if key in objects:
            raise AlreadyExistsError(f"{resource} {key}")
        return self._put(resource, key, obj, "ADDED", None)

    def update(self, resource: str, obj: Manifest, *, expected: str | None = None) -> Manifest:
        """Replace an object; *expected* is the resource version that must still be current."""
        key = _key(obj)
        old = self._objects.get(resource, {}).get(key)
        if old is None:
            raise NotFoundError(f"{resource} {key}")
        if expected is not None and old["metadata"]["resourceVersion"] != expected:
            raise ConflictError(f"{resource} {key}")
        return self._put(resource, key, obj, "MODIFIED", old)

    def remove(
        self, resource: str, namespace: str | None, name: str, *, last: Manifest | None = None
    ) -> Manifest:
        """Take an object away for good; returns its last state, with the deletion's revision.

        *last* is that state when it differs from what is stored (a finalizer taken off, a deletion time).
        """
        key = (namespace or "", name)
        old = self._objects.get(resource, {}).pop(key, None)
        if old is None:
            raise NotFoundError(f"{resource} {key}")
        return self._record(resource, last or old, "DELETED", old)

    def since(self, revision: int) -> Iterator[Event]:
        """The changes after *revision*, oldest first.

        Raises:
            GoneError: The log no longer reaches back that far.
        """
        if revision < self.oldest:
            raise GoneError(str(revision))
        return iter([e for e in self._log if e.revision > revision])

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call *subscriber* with every change from now on; returns the function that ends it."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def require_room(self, new: Manifest, old: Manifest | None = None) -> None:
        """Make sure that there is room for *new* in the place of *old*; asked for what clients send.

        Raises:
            FullError: There is none.
        """
        more = _size(new) - (_size(old) if old is not None else 0)
        if more > 0 and self._held + more > self._capacity:
            raise FullError(f"the lab holds {self._held >> 20} MiB of objects, of {self._capacity >> 20} MiB")

    def _put(
        self, resource: str, key: tuple[str, str], obj: Manifest, event: EventType, old: Manifest | None
    ) -> Manifest:
        stored = self._stamp(obj)
        self._objects.setdefault(resource, {})[key] = stored
        size = _size(stored)
        self._held += size - (_size(old) if old is not None else 0)
        return self._publish(Event(event, resource, stored, old, self.revision, size))

    def _record(self, resource: str, obj: Manifest, event: EventType, old: Manifest) -> Manifest:
        self._held -= _size(old)
        return self._publish(Event(event, resource, self._stamp(obj), old, self.revision, _size(old)))

    def _stamp(self, obj: Manifest) -> Manifest:
        self.revision += 1
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}

    def _publish(self, event: Event) -> Manifest:
        self._log.append(event)
        self._logged += event.size
        while len(self._log) > HISTORY or self._logged > HISTORY_BYTES:
            first = self._log.popleft()
            self.oldest = first.revision
            self._logged -= first.size
        for subscriber in list(self._subscribers):
            subscriber(event)
        return event.obj


def _key(obj: Manifest) -> tuple[str, str]:
    meta = obj["metadata"]
    return (meta.get("namespace") or "", meta["name"])


def _size(obj: Manifest) -> int:
    """Bytes of an object, written down: quick to tell, and about a third of what it takes in memory."""
    return len(marshal.dumps(obj))
