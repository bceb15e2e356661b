"""Logs of, programs in and connections to running pods, as the API server asks for them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import struct
import termios
import time
from typing import TYPE_CHECKING, Any

from meshverdict.cluster.backend import BackendError, ExecSession, LogOptions
from meshverdict.runtime import logs
from meshverdict.runtime.builtin import BuiltinWorker
from meshverdict.runtime.container_state import Waiting
from meshverdict.runtime.environment import MissingReferenceError
from meshverdict.runtime.linux import socket_in
from meshverdict.runtime.pod_usage import read_processes, summary
from meshverdict.runtime.spawn_client import Process, SpawnClient, SpawnError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from meshverdict.cluster.store import Manifest
    from meshverdict.runtime.kubelet import Kubelet
    from meshverdict.runtime.pod import PodWorker, Worker


class KubeletBackend:
    """The runtime's side of ``cluster.backend.PodBackend``."""

    def __init__(self, kubelet: Kubelet, spawner: SpawnClient) -> None:
        self._kubelet = kubelet
        self._spawner = spawner

    async def logs(self, pod: Manifest, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Chunks of the container's log.

        Raises:
            BackendError: There is none (yet).
        """
        worker = self._worker(pod, container)
        log = worker.previous_log if options.previous else worker.log
        name = pod["metadata"]["name"]
        if log is None:
            if options.previous:
                raise BackendError(f'previous terminated container "{container}" in pod "{name}" not found')
            raise BackendError(_waiting_text(worker, container, name))
        async for chunk in logs.read(log, options):
            yield chunk

    async def exec(
        self, pod: Manifest, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> ExecSession:
        """Start a command in a container.

        Raises:
            BackendError: The container does not run, or the program cannot be executed.
        """
        worker = self._worker(pod, container)
        if isinstance(worker, BuiltinWorker):
            raise BackendError(f'container "{container}" is a part of the lab itself: no program runs in it')
        process = worker.process
        if process is None or not process.running:
            raise BackendError(f"container not found ({container!r}): it is not running")
        try:
            program = worker.exec_program(command)
            if tty:
                program.env.setdefault("TERM", "xterm")
                child, terminal = await self._spawner.exec_terminal(process, program)
                return await _TerminalSession.open(child, terminal)
            return await _PipeSession.open(self._spawner, process, program, stdin=stdin)
        except (SpawnError, MissingReferenceError) as error:
            raise BackendError(f"error executing command in container: {error}") from error

    def stats(self, node: Manifest) -> Manifest:
        """The kubelet's summary of a node's pods."""
        name = node["metadata"]["name"]
        return summary(name, self._kubelet.containers(name), read_processes(), time.time())

    async def dial(
        self, pod: Manifest, port: int, *, loopback: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from the pod's node; with *loopback* also to what listens on the pod's loopback only.

        Raises:
            BackendError: The pod has no network now.
            OSError: Nobody answers.
        """
        worker = self._pod(pod)
        if worker.network < 0:
            raise BackendError(f'pod "{worker.name}" is not running')
        try:
            return await worker.dial(worker.address, port)
        except ConnectionRefusedError:
            if not loopback:
                raise
            loop = asyncio.get_running_loop()
            sock = socket_in(worker.network, socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            try:
                await loop.sock_connect(sock, ("127.0.0.1", port))
            except BaseException:
                sock.close()
                raise
            return await asyncio.open_connection(sock=sock)

    def _pod(self, pod: Manifest) -> PodWorker:
        worker = self._kubelet.worker(pod)
        if worker is None:
            raise BackendError(f'pod "{pod["metadata"]["name"]}" does not run on any node')
        return worker

    def _worker(self, pod: Manifest, container: str) -> Worker:
        worker = self._pod(pod).workers.get(container)
        if worker is None:
            raise BackendError(
                f'container "{container}" in pod "{pod["metadata"]["name"]}" is waiting to start: PodInitializing'
            )
        return worker


def _waiting_text(worker: Worker, container: str, pod: str) -> str:
    state = worker.record.state
    reason = state.reason if isinstance(state, Waiting) else "ContainerCreating"
    texts = {
        "ErrImagePull": "image can't be pulled",
        "ImagePullBackOff": "trying and failing to pull image",
    }
    return f'container "{container}" in pod "{pod}" is waiting to start: {texts.get(reason, reason)}'


class _EndOfTerminal(asyncio.StreamReaderProtocol):
    """A terminal whose last program has gone says EIO: that is its end of file."""

    def connection_lost(self, exc: Exception | None) -> None:
        hung_up = isinstance(exc, OSError) and exc.errno == errno.EIO
        super().connection_lost(None if hung_up else exc)


async def _reader(descriptor: int) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    file = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: _EndOfTerminal(reader), file)
    return reader, transport


async def _writer(descriptor: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    file = os.fdopen(descriptor, "wb", buffering=0)
    protocol: Any = asyncio.streams.FlowControlMixin(loop=loop)
    transport, _ = await loop.connect_write_pipe(lambda: protocol, file)
    return asyncio.StreamWriter(transport, protocol, None, loop)


class _Session:
    """What both kinds of session share."""

    def __init__(self, child: Process, transports: list[asyncio.BaseTransport]) -> None:
        self._child = child
        self._transports = transports
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader
        self.stderr: asyncio.StreamReader | None = None

    async def wait(self) -> int:
        """The exit status; 128 + N for signal N."""
        status = await self._child.wait()
        return status if status >= 0 else 128 - status

    def resize(self, height: int, width: int) -> None:
        """There is no terminal."""

    async def close(self) -> None:
        """End the command if it still runs, and close its streams."""
        if self._child.running:
            with contextlib.suppress(SpawnError):
                await self._child.send_signal(signal.SIGKILL)
        for transport in self._transports:
            transport.close()
        if self.stdin is not None:
            self.stdin.close()


class _PipeSession(_Session):
    """A command with pipes."""

    @classmethod
    async def open(
        cls, spawner: SpawnClient, container: Process, program: Any, *, stdin: bool
    ) -> _PipeSession:
        out_reader, out_writer = os.pipe()
        err_reader, err_writer = os.pipe()
        in_writer = -1
        if stdin:
            in_reader, in_writer = os.pipe()
        else:
            in_reader = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            child = await spawner.exec(container, program, (in_reader, out_writer, err_writer))
        except SpawnError:
            for descriptor in (out_reader, err_reader, *([in_writer] if stdin else [])):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (in_reader, out_writer, err_writer):
                os.close(descriptor)
        stdout, first = await _reader(out_reader)
        stderr, second = await _reader(err_reader)
        session = cls(child, [first, second])
        session.stdout, session.stderr = stdout, stderr
        if stdin:
            session.stdin = await _writer(in_writer)
        return session


class _TerminalSession(_Session):
    """A command with a terminal of its container."""

    _terminal = -1

    @classmethod
    async def open(cls, child: Process, terminal: int) -> _TerminalSession:
        kept, written = os.dup(terminal), os.dup(terminal)
        stdout, transport = await _reader(terminal)
        session = cls(child, [transport])
        session._terminal = kept
        session.stdout = stdout
        session.stdin = await _writer(written)
        return session

    def resize(self, height: int, width: int) -> None:
        """Tell the terminal its size, and with it the programs on it."""
        if self._terminal >= 0:
            fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def close(self) -> None:
        """End the command, and close the terminal."""
        await super().close()
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1
