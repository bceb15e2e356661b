"""One pod on its node: address, network, volumes, containers; and all of it taken away again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import time
from typing import TYPE_CHECKING, Any, Final

from meshverdict.cluster.errors import ApiError
from meshverdict.model.errors import MeshverdictError
from meshverdict.model.silence import noticed_at
from meshverdict.network.addresses import DNS_IP
from meshverdict.runtime.builtin import BuiltinWorker
from meshverdict.runtime.container import ContainerWorker
from meshverdict.runtime.container_plan import ConfigError, user_ids
from meshverdict.runtime.container_state import ContainerRecord, Waiting, records
from meshverdict.runtime.image_rows import DEFAULT_UID
from meshverdict.runtime.linux import socket_in
from meshverdict.runtime.pod_status import PodFacts, pod_status
from meshverdict.runtime.sidecar_injection import has_sidecar
from meshverdict.runtime.spawn_client import SpawnError
from meshverdict.runtime.topology import sandbox_request
from meshverdict.runtime.volumes import PodVolumes, Sources, VolumeError, etc_files, pod_hostname

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from meshverdict.cluster.store import Manifest
    from meshverdict.runtime.node_services import NodeServices

_VOLUME_RETRY_S: Final = 1.0
_SIDECAR_RETRY_S: Final = 1.0
_DEFAULT_GRACE_S: Final = 30

Worker = ContainerWorker | BuiltinWorker


class PodWorker:
    """Runs one pod from its binding to its end.

    Args:
        manifest: The pod as it is stored; :meth:`update` brings newer ones.
        services: What the node has to work with.
    """

    def __init__(self, manifest: Manifest, services: NodeServices) -> None:
        meta = manifest["metadata"]
        self.manifest = manifest
        self.services = services
        self.uid: str = meta["uid"]
        self.name: str = meta["name"]
        self.namespace: str = meta["namespace"]
        self.hostname = pod_hostname(manifest)
        self.node = services.nodes[manifest["spec"]["nodeName"]]
        self.address = ""
        self._holds_address = False
        self.network = -1
        self._sandboxed = False
        self.folder = services.scratch / "pods" / self.uid
        self.etc = self.folder / "etc"
        self.log_folder = services.logs / f"{self.namespace}_{self.name}_{self.uid}"
        self.workers: dict[str, Worker] = {}
        self._records: list[ContainerRecord] = records(manifest["spec"])
        self._started = time.time()
        self._failure: tuple[str, str] | None = None
        self._publishing = False
        self._background: set[asyncio.Task[None]] = set()
        self._deleting = asyncio.Event()
        self._captured = services.sidecars is not None and has_sidecar(manifest)
        self._main: asyncio.Task[None] | None = None
        uid = self._world_uid()
        group = (manifest["spec"].get("securityContext") or {}).get("fsGroup")
        self._sources = Sources(self.lookup, services.token, services.capacity)
        self.volumes = PodVolumes(self.folder / "volumes", uid, self._world_group(group))

    # ---- life

    async def run(self) -> None:
        """The pod's whole life; returns when nothing of it is left on the node."""
        self._main = asyncio.create_task(self._live())
        deletion = asyncio.create_task(self._deleting.wait())
        try:
            await asyncio.wait({self._main, deletion}, return_when=asyncio.FIRST_COMPLETED)
            if not self._deleting.is_set():
                self._main.result()  # an error of ours: the kubelet tells it
                await self._release()
                await deletion
            await self._terminate()
        finally:
            deletion.cancel()
            self._main.cancel()
            await asyncio.gather(self._main, return_exceptions=True)
            await self._release()

    def update(self, manifest: Manifest) -> None:
        """A newer manifest of this pod."""
        old, self.manifest = self.manifest, manifest
        if manifest["metadata"].get("deletionTimestamp") and not self._deleting.is_set():
            self._deleting.set()
        elif self._deleting.is_set() and self.grace < _grace(old):
            for worker in self.workers.values():
                self.background(worker.shorten(self.grace))
        if old["metadata"].get("labels") != manifest["metadata"].get("labels") or old["metadata"].get(
            "annotations"
        ) != manifest["metadata"].get("annotations"):
            self.refresh()

    @property
    def grace(self) -> float:
        """Seconds that the containers have to end."""
        return _grace(self.manifest)

    async def _live(self) -> None:
        body = asyncio.create_task(self._serve())
        try:
            await asyncio.wait({body}, timeout=self.manifest["spec"].get("activeDeadlineSeconds"))
            if body.done():
                body.result()
            else:
                message = "Pod was active on the node longer than the specified deadline"
                self._failure = ("DeadlineExceeded", message)
                self.event("Normal", "DeadlineExceeded", message)
                # While the containers' own tasks live: they wait for SIGTERM's effect, and tell how each has ended.
                await self._stop_all(self.grace)
        finally:
            body.cancel()
            await asyncio.gather(body, return_exceptions=True)
        self._publish()

    async def _serve(self) -> None:
        """From an address to the end of the last container."""
        await self._network()
        await self._volumes()
        await self._sidecar()
        await self._containers()

    async def _sidecar(self) -> None:
        """Its traffic captured and its sidecar's files written; tried again, because a resource may be in the way."""
        while self.services.sidecars is not None:
            try:
                self.services.sidecars.prepare(self.manifest, self.address, self.network, self.volumes.folder)
            except MeshverdictError as error:
                self.event("Warning", "FailedSidecar", str(error))
                await asyncio.sleep(_SIDECAR_RETRY_S)
            else:
                return

    async def _network(self) -> None:
        """An address, the firewall's word that it is enforced, and only then a network."""
        while True:
            self.address = self.services.addresses.allocate(self.node.number)
            self._holds_address = True
            self._publish()
            try:
                await self.services.enforced(self.node.name, self.address)
                request = sandbox_request(self.uid, self.hostname, self.node, self.address)
                self._sandboxed = True  # before it is asked for: it is made also when nobody waits any more
                self.network = await self.services.spawner.network(request)
            except SpawnError as error:
                self._release_address()
                self.event("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
                await asyncio.sleep(_VOLUME_RETRY_S)
            else:
                return

    async def _volumes(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.etc.mkdir(exist_ok=True)
        uid, gid = self._ids()
        for name, text in etc_files(self.manifest, self.address, DNS_IP, uid, gid).items():
            (self.etc / name).write_text(text)
        while True:
            try:
                self.volumes.prepare(self.manifest, self._sources)
            except VolumeError as error:
                self.event("Warning", "FailedMount", str(error))
                await asyncio.sleep(_VOLUME_RETRY_S)
            else:
                return

    async def _containers(self) -> None:
        sidecars = []
        for record in self._records:
            if record.kind == "app":
                continue
            worker = self._worker(record)
            task = asyncio.create_task(worker.run())
            if record.kind == "sidecar":
                sidecars.append(task)
                await worker.up.wait()
                continue
            await self._join([task])
            if not record.succeeded or self._failure is not None:
                await self._end_sidecars(sidecars)
                return
        apps = [self._worker(r) for r in self._records if r.kind == "app"]
        for worker in apps:
            worker.record.state = Waiting("ContainerCreating")
        self.changed()
        await self._join([asyncio.create_task(w.run()) for w in apps])
        await self._end_sidecars(sidecars)

    async def _join(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _end_sidecars(self, tasks: list[asyncio.Task[None]]) -> None:
        for record in reversed(self._records):
            if record.kind == "sidecar":
                await self.workers[record.name].stop(self.grace)
        await self._join(tasks)

    def _worker(self, record: ContainerRecord) -> Worker:
        builtin = self.services.builtins.get(record.spec.get("image") or "")
        worker: Worker = BuiltinWorker(self, record, builtin) if builtin else ContainerWorker(self, record)
        self.workers[record.name] = worker
        return worker

    # ---- end

    async def _terminate(self) -> None:
        await self._stop_all(self.grace)
        if self._main is not None and not self._main.done():
            self._main.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._main
        self._publish()
        await self._release()
        with contextlib.suppress(ApiError):
            self.services.objects.finish_pod(self.namespace, self.name, self.uid)
        shutil.rmtree(self.log_folder, ignore_errors=True)

    async def _stop_all(self, grace: float) -> None:
        """All app containers at once, then the sidecars, the last one first."""
        deadline = time.monotonic() + grace
        for worker in self.workers.values():
            worker.forbid_restart()
        apps = [w for w in self.workers.values() if w.record.kind != "sidecar"]
        await asyncio.gather(*(w.stop(grace) for w in apps))
        for worker in reversed([w for w in self.workers.values() if w.record.kind == "sidecar"]):
            await worker.stop(max(0.0, deadline - time.monotonic()))

    async def _release(self) -> None:
        """Give back network, address and volumes; may be called again."""
        if self.services.sidecars is not None:
            self.services.sidecars.forget(self.uid)
        if self.network >= 0:
            os.close(self.network)
            self.network = -1
        if self._sandboxed:
            self._sandboxed = False
            with contextlib.suppress(SpawnError):
                await self.services.spawner.call({"op": "remove", "pod": self.uid})
            self._publish()
        self._release_address()
        self.volumes.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _release_address(self) -> None:
        if self._holds_address:
            self._holds_address = False
            self.services.addresses.release(self.node.number, self.address)

    # ---- for containers

    def lookup(self, resource: str, name: str) -> Manifest | None:
        """A ConfigMap or Secret of the pod's namespace."""
        return self.services.objects.get(resource, self.namespace, name)

    async def dial(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from the pod's node; to the pod itself also where it listens on its loopback only."""
        return await _dial(self.services.networks[self.node.name], host, port)

    async def dial_probe(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect for a probe; in a pod with a sidecar from inside the pod, as Istio's rewritten probes do.

        From the node it would come to the sidecar, which refuses it where mutual TLS is strict.
        """
        return await _dial(self.network, host, port) if self._captured else await self.dial(host, port)

    def refresh(self) -> None:
        """Something that volumes or environments refer to has changed."""
        if self.folder.exists():
            self.volumes.refresh(self.manifest, self._sources)
        for worker in self.workers.values():
            worker.poke()

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something beside; it ends with the process."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def event(self, kind: str, reason: str, message: str, field: str = "") -> None:
        """An event about this pod, or about one container of it."""
        with contextlib.suppress(ApiError):  # an event is worth no failure: the namespace may be going
            self.services.objects.event(
                self.manifest, type=kind, reason=reason, message=message, source="kubelet", field_path=field
            )

    # ---- status

    def changed(self) -> None:
        """A container's record has changed; the status is written once the loop is idle."""
        if not self._publishing:
            self._publishing = True
            asyncio.get_running_loop().call_soon(self._publish)

    def _publish(self) -> None:
        self._publishing = False
        objects = self.services.objects
        pod = objects.get("pods", self.namespace, self.name)
        if pod is None or pod["metadata"]["uid"] != self.uid:
            return
        node = objects.get("nodes", None, self.node.name)
        if node is not None and noticed_at(node) is not None:
            return  # cut off: the kubelet tells it once the node is back
        facts = PodFacts(
            pod_ip=self.address,
            host_ip=self.node.address,
            started=self._started,
            sandbox=self.network >= 0,
            failure=self._failure,
            deleting=self._deleting.is_set(),
        )
        status = pod_status(pod, self._records, facts, time.time())
        if status != pod.get("status"):
            with contextlib.suppress(ApiError):
                objects.update_status("pods", {**pod, "status": status}, manager="kubelet")

    # ---- ids

    def _ids(self) -> tuple[int, int]:
        try:
            return user_ids(self.manifest, self.manifest["spec"]["containers"][0], DEFAULT_UID)
        except ConfigError:
            return DEFAULT_UID, DEFAULT_UID  # the container itself will say it

    def _world_uid(self) -> int:
        return self._ids()[0] if self.services.identity == "range" else 0

    def _world_group(self, group: int | None) -> int | None:
        if group is None:
            return None
        return group if self.services.identity == "range" else 0


def _grace(manifest: Manifest) -> float:
    meta = manifest["metadata"]
    given = meta.get("deletionGracePeriodSeconds")
    if given is None:
        given = manifest["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S)
    return float(given)


async def _dial(network: int, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from a network namespace."""
    sock = socket_in(network, socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return await asyncio.open_connection(sock=sock)
