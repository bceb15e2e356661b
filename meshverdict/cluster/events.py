"""v1 Events about objects: counted when they repeat, and never more than a bound of them."""

from __future__ import annotations

import contextlib
import secrets
from collections import OrderedDict
from typing import Final, Protocol

from meshverdict.cluster.errors import ApiError
from meshverdict.cluster.store import Manifest, NotFoundError, Store

LIMIT: Final = 2_000  # a real server forgets after an hour; a lab in a busy hour must not grow
Key = tuple[str, str, str, str, str, str]


class Writer(Protocol):
    """What the recorder needs of `Objects`."""

    store: Store

    def create(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Create an object."""

    def update(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Replace an object."""

    def now(self) -> str:
        """The time."""


class EventRecorder:
    """Writes the events of one cluster.

    Args:
        objects: Where they go.
    """

    def __init__(self, objects: Writer) -> None:
        self._objects = objects
        self._known: OrderedDict[Key, tuple[str, str]] = OrderedDict()

    def record(
        self, obj: Manifest, *, kind: str, reason: str, message: str, source: str, field_path: str = ""
    ) -> None:
        """Record one event.

        Raises:
            ApiError: The namespace is not there.
        """
        meta = obj["metadata"]
        key = (meta.get("uid") or "", kind, reason, message, source, field_path)
        known = self._known.get(key)
        if known is not None and self._count(known, source):
            self._known.move_to_end(key)
            return
        now = self._objects.now()
        namespace = meta.get("namespace") or "default"
        name = f"{meta['name']}.{secrets.token_hex(8)}"
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": _reference(obj, field_path),
            "reason": reason,
            "message": message,
            "source": {"component": source},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": kind,
            "reportingComponent": source,
            "reportingInstance": "",
        }
        self._objects.create("events", event, manager=source)
        self._known[key] = (namespace, name)
        self._forget()

    def _count(self, known: tuple[str, str], source: str) -> bool:
        event = self._objects.store.get("events", *known)
        if event is None:
            return False
        again = {**event, "count": event.get("count", 1) + 1, "lastTimestamp": self._objects.now()}
        with contextlib.suppress(ApiError):  # the event may be going with its namespace
            self._objects.update("events", again, manager=source)
        return True

    def _forget(self) -> None:
        while len(self._known) > LIMIT:
            _, (namespace, name) = self._known.popitem(last=False)
            with contextlib.suppress(NotFoundError):
                self._objects.store.remove("events", namespace, name)


def _reference(obj: Manifest, field_path: str) -> Manifest:
    meta = obj["metadata"]
    reference = {
        "kind": obj.get("kind"),
        "namespace": meta.get("namespace"),
        "name": meta.get("name"),
        "uid": meta.get("uid"),
        "apiVersion": obj.get("apiVersion"),
        "resourceVersion": meta.get("resourceVersion"),
        "fieldPath": field_path,
    }
    return {key: value for key, value in reference.items() if value}
