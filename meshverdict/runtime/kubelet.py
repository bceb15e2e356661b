"""The kubelet of all nodes: follows the store, gives every pod bound to a node its worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

from meshverdict.cluster.errors import ApiError
from meshverdict.model.silence import STATUS_UNKNOWN, noticed_at
from meshverdict.runtime.container import ContainerWorker
from meshverdict.runtime.node_object import node_conditions
from meshverdict.runtime.pod import PodWorker
from meshverdict.runtime.pod_status import timestamp
from meshverdict.runtime.pod_usage import RunningContainer

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshverdict.cluster.store import Event, Manifest
    from meshverdict.runtime.node_services import NodeServices

_OVER: Final = ("Succeeded", "Failed")
_REFERRED: Final = ("configmaps", "secrets")
log = logging.getLogger(__name__)


class Kubelet:
    """Runs the pods of the nodes that it was given."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services
        self._pods: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Take up the pods that there are, and follow the store from now on."""
        store = self._services.objects.store
        self._unsubscribe = store.subscribe(self._changed)
        for pod in store.list("pods"):
            self._pod_changed(pod)

    def worker(self, pod: Manifest) -> PodWorker | None:
        """The worker of a pod, if it is on one of our nodes."""
        return self._pods.get(pod["metadata"]["uid"])

    def containers(self, node: str) -> list[RunningContainer]:
        """The containers that run on a node now, each with its first process."""
        return [
            RunningContainer(pod.namespace, pod.name, pod.uid, name, worker.process.pid)
            for pod in self._pods.values()
            if pod.node.name == node
            for name, worker in pod.workers.items()
            if isinstance(worker, ContainerWorker) and worker.process is not None and worker.process.running
        ]

    async def stop(self) -> None:
        """End all pods at once, without a word to the API: the lab is going down."""
        self._unsubscribe()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _changed(self, event: Event) -> None:
        if event.resource == "pods":
            if event.type == "DELETED":
                self._gone(event.obj)
            else:
                self._pod_changed(event.obj)
        elif event.resource in _REFERRED:
            # Not within the write that is being made: a volume takes a moment.
            asyncio.get_running_loop().call_soon(self._referred_changed, event.obj)
        elif event.resource == "nodes" and event.type == "MODIFIED":
            asyncio.get_running_loop().call_soon(self._node_changed, event.obj["metadata"]["name"])

    def _pod_changed(self, pod: Manifest) -> None:
        uid = pod["metadata"]["uid"]
        if uid in self._pods:
            self._pods[uid].update(pod)
            return
        if pod["spec"].get("nodeName") not in self._services.nodes:
            return
        if (pod.get("status") or {}).get("phase") in _OVER and not pod["metadata"].get("deletionTimestamp"):
            return
        worker = PodWorker(pod, self._services)
        self._pods[uid] = worker
        if pod["metadata"].get("deletionTimestamp"):
            worker.update(pod)
        task = asyncio.create_task(self._run(worker))
        self._tasks[uid] = task

    async def _run(self, worker: PodWorker) -> None:
        try:
            await worker.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            # One pod's trouble must not end the others' kubelet; it is told, and the pod stays as it is.
            log.exception("pod %s/%s", worker.namespace, worker.name)
        finally:
            self._pods.pop(worker.uid, None)
            self._tasks.pop(worker.uid, None)

    def _gone(self, pod: Manifest) -> None:
        """The object was removed by force: end what runs for it."""
        worker = self._pods.get(pod["metadata"]["uid"])
        if worker is not None:
            forced = {**pod, "metadata": {**pod["metadata"], "deletionGracePeriodSeconds": 0}}
            forced["metadata"].setdefault("deletionTimestamp", "forced")
            worker.update(forced)

    def _node_changed(self, name: str) -> None:
        """Speak again for a node that was cut off: its own state first, then that of its pods."""
        objects = self._services.objects
        node = objects.get("nodes", None, name)
        if node is None or name not in self._services.nodes or noticed_at(node) is not None:
            return
        for worker in list(self._pods.values()):
            if worker.node.name == name:
                worker.changed()
        status = node.get("status") or {}
        if any(c.get("reason") == STATUS_UNKNOWN for c in status.get("conditions") or ()):
            well = {**status, "conditions": node_conditions(timestamp(time.time()))}
            with contextlib.suppress(ApiError):  # written by somebody else meanwhile: that wakes us again
                objects.update_status("nodes", {**node, "status": well}, manager="kubelet")

    def _referred_changed(self, obj: Manifest) -> None:
        namespace = obj["metadata"].get("namespace")
        for worker in list(self._pods.values()):
            if worker.namespace == namespace:
                worker.refresh()
