"""The least of ``cluster.objects.Objects`` that a kubelet needs, for tests of the runtime alone."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from meshverdict.cluster.store import Manifest, Store


class MemoryObjects:
    """Objects without validation or defaults; events are kept in a list."""

    def __init__(self) -> None:
        self.store = Store()
        self.events: list[tuple[str, str, str, str]] = []
        self._uids = itertools.count(1)

    def get(self, resource: str, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None."""
        return self.store.get(resource, namespace, name)

    def list(self, resource: str, namespace: str | None = None) -> list[Manifest]:
        """All objects."""
        return self.store.list(resource, namespace)

    def create(self, resource: str, obj: Manifest) -> Manifest:
        """Put a new object, with a uid."""
        uid = f"00000000-0000-4000-8000-{next(self._uids):012d}"
        return self.store.create(
            resource, {**obj, "metadata": {"generation": 1, **obj["metadata"], "uid": uid}}
        )

    def update(self, resource: str, obj: Manifest) -> Manifest:
        """Replace an object."""
        return self.store.update(resource, obj)

    def update_status(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Replace an object, as the kubelet does."""
        assert manager == "kubelet"
        return self.store.update(resource, obj)

    def delete_pod(self, namespace: str, name: str, grace: int = 30) -> None:
        """Begin a pod's deletion, as the API does."""
        pod = self.store.get("pods", namespace, name)
        assert pod is not None
        deleted = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
        self.store.update("pods", {**pod, "metadata": {**pod["metadata"], **deleted}})

    def finish_pod(self, namespace: str, name: str, uid: str) -> None:
        """The pod is gone from its node."""
        pod = self.store.get("pods", namespace, name)
        if pod is not None and pod["metadata"]["uid"] == uid:
            self.store.remove("pods", namespace, name)

    def event(
        self,
        obj: Manifest,  # noqa: ARG002 - the real one writes about it
        *,
        type: str,  # noqa: A002 - the API's own name
        reason: str,
        message: str,
        source: str,
        field_path: str = "",
    ) -> None:
        """Keep an event."""
        assert source == "kubelet"
        self.events.append((type, reason, message, field_path))

    def reasons(self) -> list[str]:
        """The reasons of all events, in order."""
        return [reason for _, reason, _, _ in self.events]

    async def until(self, namespace: str, name: str, condition: Any, seconds: float = 15) -> Manifest:
        """Wait until a pod (None when it is gone) fulfils a condition."""
        changed = asyncio.Event()
        unsubscribe = self.store.subscribe(lambda _event: changed.set())
        try:
            async with asyncio.timeout(seconds):
                while True:
                    pod = self.store.get("pods", namespace, name)
                    if condition(pod):
                        return pod or {}
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"{namespace}/{name} never: {pod and pod.get('status')}\n{self.events}"
            ) from None
        finally:
            unsubscribe()


def pod(name: str, *containers: dict[str, Any], namespace: str = "test", **spec: Any) -> Manifest:
    """A pod bound to node-a."""
    filled = [{"name": f"c{i}", **c} for i, c in enumerate(containers)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {"nodeName": "node-a", "containers": filled, **spec},
    }


def is_ready(obj: Manifest | None) -> bool:
    """Whether the pod is Ready."""
    conditions = ((obj or {}).get("status") or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def has_phase(phase: str) -> Any:
    """A condition: the pod is in this phase."""
    return lambda obj: ((obj or {}).get("status") or {}).get("phase") == phase


def is_gone(obj: Manifest | None) -> bool:
    """A condition: the object is no more."""
    return obj is None
