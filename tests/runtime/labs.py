"""A runtime in a real world, with objects in memory: what the tests of pods start from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memory_objects import MemoryObjects

from meshverdict.cluster.backend import LogOptions
from meshverdict.model.settings import LabSettings
from meshverdict.runtime.images import ImageTable
from meshverdict.runtime.keeper import WorldHandle
from meshverdict.runtime.runtime import Runtime, RuntimeOptions, system_manifests


@dataclass
class Lab:
    """A running runtime and its objects."""

    objects: MemoryObjects
    runtime: Runtime
    lost: list[str]

    async def log(self, namespace: str, name: str, container: str, **options: Any) -> str:
        """A container's log."""
        pod = self.objects.get("pods", namespace, name)
        assert pod is not None
        chunks = [c async for c in self.runtime.backend.logs(pod, container, LogOptions(**options))]
        return b"".join(chunks).decode()

    async def logged(self, namespace: str, name: str, container: str, text: str) -> bool:
        """Whether the log becomes *text* within five seconds."""
        deadline = time.monotonic() + 5
        while await self.log(namespace, name, container) != text:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    async def run(self, namespace: str, name: str, container: str, *command: str) -> tuple[int, str, str]:
        """A command in a container: status, stdout, stderr."""
        pod = self.objects.get("pods", namespace, name)
        assert pod is not None
        session = await self.runtime.backend.exec(pod, container, command, stdin=False, tty=False)
        assert session.stderr is not None
        out, err = await session.stdout.read(), await session.stderr.read()
        status = await session.wait()
        await session.close()
        return status, out.decode(), err.decode()

    def service(self, name: str, address: str, port: int, *endpoints: str, namespace: str = "test") -> None:
        """A Service with its endpoints."""
        ports = [{"name": "p", "port": port, "protocol": "TCP"}]
        spec = {"clusterIP": address, "ports": ports, "selector": {"app": name}}
        self.objects.create("services", {"metadata": {"name": name, "namespace": namespace}, "spec": spec})
        self.endpoints(name, ports, endpoints, namespace)

    def endpoints(self, name: str, ports: Any, addresses: Any, namespace: str) -> None:
        """The EndpointSlice of a Service."""
        self.objects.create(
            "endpointslices.discovery.k8s.io",
            {
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [{"addresses": [a], "conditions": {"ready": True}} for a in addresses],
            },
        )


async def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Poll until the condition holds; fails when it does not within *seconds*."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a condition of the kernel tells nobody
            await asyncio.sleep(0.005)


@asynccontextmanager
async def lab(world: WorldHandle, folder: Path, **settings: Any) -> AsyncIterator[Lab]:
    """Start the runtime; stop it at the end."""
    objects = MemoryObjects()
    for namespace in ("test", "kube-system", "meshverdict-system"):
        labels = {"kubernetes.io/metadata.name": namespace}
        objects.create("namespaces", {"metadata": {"name": namespace, "labels": labels}})
    lost: list[str] = []
    options = RuntimeOptions(
        settings=LabSettings(**settings),
        logs=folder / "logs",
        images=ImageTable(),
        token=lambda _pod, audience, seconds: f"token {audience} {seconds}",
        on_lost=lambda: lost.append("spawner"),
    )
    runtime = await Runtime.start(world, objects, options)
    try:
        yield Lab(objects, runtime, lost)
    finally:
        await runtime.stop()


async def with_dns(running: Lab) -> None:
    """Add the lab's own pods, with the endpoints that a controller would write."""
    for manifest in system_manifests(running.runtime.nodes):
        running.objects.create("pods" if manifest["kind"] == "Pod" else "services", manifest)
    dns = await running.objects.until(
        "kube-system", "coredns", lambda p: (p["status"]).get("podIP") if "status" in p else None
    )
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    running.endpoints("kube-dns", ports, [dns["status"]["podIP"]], "kube-system")
