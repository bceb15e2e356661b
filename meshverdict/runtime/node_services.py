"""What a kubelet is given to work with: one value, so that pods and containers need no long lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from meshverdict.cluster.store import Manifest, Store
from meshverdict.runtime.logs import LogFile

if TYPE_CHECKING:
    from pathlib import Path

    from meshverdict.network.addresses import PodAddresses
    from meshverdict.runtime.images import ImageTable, Machine
    from meshverdict.runtime.spawn_client import SpawnClient
    from meshverdict.runtime.topology import Node
    from meshverdict.runtime.volumes import Token
    from meshverdict.runtime.world import Identity


class KubeletObjects(Protocol):
    """What the kubelet needs of ``cluster.objects.Objects``."""

    store: Store

    def get(self, resource: str, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None."""

    def list(self, resource: str, namespace: str | None = None) -> list[Manifest]:
        """All objects, of one namespace if given."""

    def update_status(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Replace the status of an object."""

    def finish_pod(self, namespace: str, name: str, uid: str) -> None:
        """The pod is gone from its node."""

    def event(
        self,
        obj: Manifest,
        *,
        type: str,  # noqa: A002 - the API's own name
        reason: str,
        message: str,
        source: str,
        field_path: str = "",
    ) -> None:
        """Record an event about an object, or about the part of it at *field_path*."""


class Builtin(Protocol):
    """A container that is part of the supervisor: its program is a few sockets of our own."""

    async def close(self) -> None:
        """End it, and give back its sockets."""


# (pod, network namespace, log) -> the running part
StartBuiltin = Callable[[Manifest, int, LogFile], Awaitable[Builtin]]


class Sidecars(Protocol):
    """What a pod's worker needs of the mesh (``runtime.mesh_controller``)."""

    def prepare(self, pod: Manifest, address: str, network: int, volumes: Path) -> None:
        """Before the first container; nothing to do for a pod without a sidecar."""

    def forget(self, uid: str) -> None:
        """The pod has ended."""


@dataclass(frozen=True, slots=True)
class NodeServices:
    """Everything outside the kubelet.

    Attributes:
        nodes: The lab's nodes by name.
        networks: Network namespace of each node by name.
        enforced: Waits until the node's ruleset knows this pod address; no process starts before.
        scratch: Folder in the world's tmpfs for volumes and the like.
        logs: Folder for the containers' logs.
        token: Makes service account tokens.
        builtins: Parts of the supervisor by image name.
        want_fifo: Asks for real-time priority for a process (by pidfd).
        capacity: What a node has: ``cpu`` cores and ``memory`` bytes.
        sidecars: The mesh; None in a lab without one.
    """

    objects: KubeletObjects
    spawner: SpawnClient
    nodes: Mapping[str, Node]
    networks: Mapping[str, int]
    addresses: PodAddresses
    images: ImageTable
    machine: Machine
    identity: Identity
    scratch: Path
    logs: Path
    enforced: Callable[[str, str], Awaitable[None]]
    token: Token
    builtins: Mapping[str, StartBuiltin]
    want_fifo: Callable[[int], None]
    capacity: Mapping[str, float]
    sidecars: Sidecars | None = None
