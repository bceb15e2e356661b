"""What the API server needs from whoever runs the pods: a protocol, implemented by the runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from meshverdict.cluster.store import Manifest


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query of ``GET .../pods/NAME/log``; times are Unix seconds."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since_time: float | None = None


class BackendError(Exception):
    """The pod cannot do that now (not running, no such log); the API answers 400 with this text."""


class ExecSession(Protocol):
    """A command that runs inside a container."""

    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader | None  # None with a terminal

    async def wait(self) -> int:
        """The exit status; 128 + N for signal N."""

    def resize(self, height: int, width: int) -> None:
        """Tell the terminal its size."""

    async def close(self) -> None:
        """End the command if it still runs, and give back what it held."""


class PodBackend(Protocol):
    """Streams into running pods. *pod* is the stored manifest."""

    def logs(self, pod: Manifest, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Chunks of the container's log."""

    async def exec(
        self, pod: Manifest, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> ExecSession:
        """Start *command* (an argument list, never a shell string) in the container."""

    def stats(self, node: Manifest) -> Manifest:
        """What the node's kubelet answers to ``/stats/summary``: processor time and memory of each container."""

    async def dial(
        self, pod: Manifest, port: int, *, loopback: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a TCP connection from the pod's node to *port* of the pod.

        With *loopback* what listens on the pod's own loopback only is reached as well.
        """
