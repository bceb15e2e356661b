"""One API server a test, in the test's own event loop, over real TLS; pods run in a tiny stand-in for the kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshverdict.cluster import bootstrap
from meshverdict.cluster.auth import Authenticator, User
from meshverdict.cluster.backend import BackendError, LogOptions
from meshverdict.cluster.controllers.registry import controllers
from meshverdict.cluster.objects import Objects
from meshverdict.cluster.reconcile import Reconciler
from meshverdict.cluster.server import make_app, serve
from meshverdict.cluster.store import Event, Store
from meshverdict.cluster.tls import Identity, kubeconfig, make_identity, write_private
from meshverdict.runtime.container_state import ContainerRecord, Running, Terminated, Waiting
from meshverdict.runtime.pod_status import PodFacts, pod_status

YARDSTICKS = Path(__file__).resolve().parents[2].parent / "shared" / "yardsticks"
NODE = "node5"
NODE_ADDRESS = "192.0.2.1"
LIMITED = "limited-token"


@pytest.fixture
def yardsticks() -> Path:
    """The folder with the third-party vectors."""
    if not YARDSTICKS.is_dir():
        pytest.skip("no ../shared/yardsticks beside the repository")
    return YARDSTICKS


@dataclass
class LocalExec:
    """A command of this machine in the place of one in a container."""

    process: asyncio.subprocess.Process

    @property
    def stdin(self) -> Any:
        """Where the command reads."""
        return self.process.stdin

    @property
    def stdout(self) -> Any:
        """What it writes."""
        return self.process.stdout

    @property
    def stderr(self) -> Any:
        """What it complains."""
        return self.process.stderr

    async def wait(self) -> int:
        """The exit status."""
        status = await self.process.wait()
        return 128 - status if status < 0 else status

    def resize(self, height: int, width: int) -> None:
        """Nothing to do: no terminal."""
        del height, width

    async def close(self) -> None:
        """End it."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


@dataclass
class LocalBackend:
    """Runs exec on this machine, and dials 127.0.0.1 for every pod."""

    lines: list[bytes] = field(default_factory=lambda: [b"one\n", b"two\n", b"three\n"])

    async def logs(self, pod: Any, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """The lines."""
        del pod, container
        if options.previous:
            raise BackendError("previous terminated container not found")
        lines = self.lines if options.tail_lines is None else self.lines[-options.tail_lines :]
        for line in lines:
            yield line

    async def exec(
        self, pod: Any, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> LocalExec:
        """Start it."""
        del pod, container, tty
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            raise BackendError(f"{command[0]}: {error.strerror}") from None
        return LocalExec(process)

    def stats(self, node: Any) -> dict[str, Any]:
        """A summary without pods."""
        return {"node": {"nodeName": node["metadata"]["name"]}, "pods": []}

    async def dial(
        self, pod: Any, port: int, *, loopback: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect."""
        del pod, loopback
        return await asyncio.open_connection("127.0.0.1", port)


@dataclass
class Api:
    """A running API server and a client with the administrator's token."""

    objects: Objects
    auth: Authenticator
    backend: LocalBackend
    identity: Identity
    url: str
    session: aiohttp.ClientSession
    kubeconfig: Path

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        content_type: str | None = None,
    ) -> tuple[int, Any, Any]:
        """Status, headers and body (JSON where it is JSON)."""
        sent = dict(headers or {})
        if token is not None and "Authorization" not in sent:
            sent["Authorization"] = f"Bearer {token or self.auth.admin_token}"
        if content_type:
            sent["Content-Type"] = content_type
        url = aiohttp.client.URL(self.url + path, encoded=True)
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        more: dict[str, Any] = {"data": io.BytesIO(data) if data else data}
        async with self.session.request(method, url, headers=sent, **more) as response:
            raw = await response.read()
            media = response.headers.get("Content-Type", "")
            value: Any = raw.decode("utf-8", "replace")
            if media.startswith("application/json") and raw:
                with contextlib.suppress(ValueError):
                    value = json.loads(raw)
            return response.status, response.headers, value

    async def kubectl(self, *arguments: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        """Exit status, output and errors of the real kubectl; skips the test where there is none."""
        if shutil.which("kubectl") is None:
            pytest.skip("kubectl is not on PATH")
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            "--kubeconfig",
            str(self.kubeconfig),
            "--cache-dir",
            str(self.kubeconfig.parent / "cache"),
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
        return process.returncode or 0, out.decode(), err.decode()

    def account(self, namespace: str = "default", name: str = "default") -> None:
        """A service account, as the namespace controller makes it."""
        meta = {"name": name, "namespace": namespace}
        self.objects.create("serviceaccounts", {"metadata": meta}, manager="test")

    def namespace(self, name: str) -> None:
        """A namespace with its default service account."""
        self.objects.create("namespaces", {"metadata": {"name": name}}, manager="test")
        self.account(name)

    def run_pod(self, namespace: str, name: str) -> None:
        """Let a pod be Running on a node."""
        pod = self.objects.get("pods", namespace, name)
        assert pod is not None
        if not pod["spec"].get("nodeName"):
            pod = {**pod, "spec": {**pod["spec"], "nodeName": NODE}}
            pod = self.objects.update("pods", pod, manager="kube-scheduler")
        self.objects.update_status("pods", {**pod, "status": running_status(pod)}, manager="kubelet")


def running_status(pod: dict[str, Any]) -> dict[str, Any]:
    """The status of a pod whose containers run and are ready, as the lab's own kubelet writes it."""
    return status_of(pod, {})


def outcome(container: dict[str, Any]) -> dict[str, Any]:
    """What a container's record becomes, by its command: only those of the recordings are known."""
    now = time.time()

    def ended(code: int, reason: str) -> Terminated:
        return Terminated(code, reason, now, now, "containerd://" + "cd" * 32)

    over = {"started": False, "ready": False}
    match container.get("command"):
        case ["true"]:
            return {**over, "state": ended(0, "Completed")}
        case ["false"]:
            return {**over, "state": ended(1, "Error")}
        case ["sh", "-c", "echo boom; exit 3"]:
            crash = ended(3, "Error")
            return {**over, "state": crash, "last": crash, "restarts": 2, "restarting": True}
    nothing = {**over, "pulled": False, "container_id": ""}
    if container.get("envFrom"):
        missing = f'configmap "{container["envFrom"][0]["configMapRef"]["name"]}" not found'
        return {**nothing, "state": Waiting("CreateContainerConfigError", missing)}
    if container["image"].endswith("/none:1"):
        return {**nothing, "state": Waiting("ErrImagePull", "no such image")}
    return {"ready": not container.get("readinessProbe", {}).get("exec")}


def status_of(pod: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The status that the lab's own kubelet writes of a pod.

    Args:
        pod: The pod.
        values: What its containers' records have other than those of containers that run and are ready.
    """
    now = time.time()
    container_id = "containerd://" + "ab" * 32
    normal = {"state": Running(now), "started": True, "ready": True, "pulled": True}
    records = [
        ContainerRecord(c["name"], "app", c, **{**normal, "container_id": container_id, **values})
        for c in pod["spec"]["containers"]
    ]
    facts = PodFacts("10.244.1.1", NODE_ADDRESS, now, sandbox=True)
    return pod_status(pod, records, facts, now)


@contextlib.asynccontextmanager
async def running_api(folder: Path) -> AsyncIterator[Api]:
    """An API server with the objects of an empty cluster."""
    store = Store(first_revision=1000)
    objects = Objects(store)
    bootstrap.install(objects)
    limited = User("limited", ("viewers", "system:authenticated"), "uid-limited")
    auth = Authenticator(store, users={LIMITED: limited})
    backend = LocalBackend()
    identity = make_identity()
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    url = f"https://127.0.0.1:{listening.getsockname()[1]}"
    config = folder / "state" / "kubeconfig"
    write_private(config, kubeconfig(url, identity.ca, auth.admin_token))
    app = make_app(objects, auth, backend)
    task = asyncio.create_task(serve(app, [listening], identity.server_context()))
    context = ssl.create_default_context(cadata=identity.ca)
    connector = aiohttp.TCPConnector(ssl=context, limit=100)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        yield Api(objects, auth, backend, identity, url, session, config)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """An API server without controllers; the namespace ``default`` has its service account."""
    async with running_api(tmp_path) as server:
        server.account()
        yield server


@pytest.fixture
def new_api(tmp_path: Path) -> Any:
    """Further servers, for ``async with``."""
    count = 0

    def make() -> contextlib.AbstractAsyncContextManager[Api]:
        nonlocal count
        count += 1
        return running_api(tmp_path / str(count))

    return make


class StandInKubelet:
    """Makes scheduled pods what their commands come to, and lets deleted ones go."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._end = objects.store.subscribe(self._see)

    def stop(self) -> None:
        """End."""
        self._end()

    def _see(self, event: Event) -> None:
        if event.resource == "pods" and event.type != "DELETED" and event.obj["spec"].get("nodeName"):
            asyncio.get_running_loop().call_soon(self._act, event.obj)

    def _act(self, seen: dict[str, Any]) -> None:
        meta = seen["metadata"]
        pod = self._objects.get("pods", meta["namespace"], meta["name"])
        if pod is None or pod["metadata"]["uid"] != meta["uid"]:
            return
        if pod["metadata"].get("deletionTimestamp"):
            self._objects.finish_pod(meta["namespace"], meta["name"], meta["uid"])
        elif (pod.get("status") or {}).get("phase") == "Pending":
            status = status_of(pod, outcome(pod["spec"]["containers"][0]))
            if status != pod["status"]:
                self._objects.update_status("pods", {**pod, "status": status}, manager="kubelet")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Api]:
    """An API server with all controllers, one node, and a stand-in for the kubelet."""
    async with running_api(tmp_path) as server:
        reconciler = Reconciler(
            server.objects,
            controllers(server.identity.ca),
            resources=[k.resource for k in server.objects.kinds.all()],
        )
        await reconciler.start()
        kubelet = StandInKubelet(server.objects)
        add_node(server.objects)
        await reconciler.wait_idle()
        yield server
        kubelet.stop()
        await reconciler.stop()


def add_node(objects: Objects) -> None:
    """A ready node with room for everything."""
    labels = {"topology.kubernetes.io/zone": "zone-a", "kubernetes.io/hostname": NODE}
    node = {"metadata": {"name": NODE, "labels": labels}, "spec": {}}
    made = objects.create("nodes", node, manager="kubelet")
    room = {"cpu": "64", "memory": "64Gi", "pods": "300"}
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}]
    status = {
        "capacity": room,
        "allocatable": room,
        "conditions": conditions,
        "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}],
        "nodeInfo": {"kubeletVersion": "v1.36.2"},
    }
    objects.update_status("nodes", {**made, "status": status}, manager="kubelet")
