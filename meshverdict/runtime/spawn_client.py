"""The supervisor's side of the spawner: requests as coroutines, ends of processes as futures."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from typing import TYPE_CHECKING, Final

from meshverdict.runtime import frames

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from meshverdict.runtime.frames import Message
    from meshverdict.runtime.process import Program
    from meshverdict.runtime.rootfs import HostView, Mount


_GONE: Final = "the lab's spawner has ended"


class SpawnError(Exception):
    """The spawner could not do it; the text is fit for a pod's status.

    Attributes:
        kind: ``start`` if the program could not be executed, ``create`` for everything before.
    """

    def __init__(self, message: str, kind: str = "create") -> None:
        super().__init__(message)
        self.kind = kind


class Process:
    """A process that the spawner started.

    Attributes:
        pid: Its number in the world.
        pidfd: For the keeper; closed when the process has ended.
        exited: Its exit status; -N if signal N ended it.
    """

    def __init__(self, client: SpawnClient, pid: int, pidfd: int) -> None:
        self._client = client
        self.pid = pid
        self.pidfd = pidfd
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self.exited.done()

    async def wait(self) -> int:
        """The exit status, when there is one; -N if signal N ended it."""
        return await asyncio.shield(self.exited)

    async def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens when the process has ended."""
        if self.running:
            await self._client.call({"op": "signal", "pid": self.pid, "signal": int(number)})

    def finish(self, status: int) -> None:
        """The spawner's report of the end."""
        if not self.exited.done():
            self.exited.set_result(status)
            os.close(self.pidfd)


class SpawnClient:
    """Sends requests to the spawner; owned by one event loop.

    Args:
        sock: The supervisor's end of the spawner's socket.
        on_lost: Called once if the spawner has gone: the lab cannot go on without it.
    """

    def __init__(self, sock: socket.socket, on_lost: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._on_lost = on_lost
        self._decoder = frames.Decoder()
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self._gone = False
        self._waiting: dict[int, asyncio.Future[tuple[Message, list[int]]]] = {}
        self._terminals: dict[int, int] = {}
        self._processes: dict[int, Process] = {}
        self._queue: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._loop.add_reader(sock, self._receive)

    def close(self) -> None:
        """Close the socket: the spawner, and with it every container, ends."""
        if not self._gone:
            self._let_go()

    async def configure(self, view: HostView, address: str) -> None:
        """Tell what every container sees of this machine, and the world's own address."""
        mounts = [m.to_json() for m in view.mounts]
        links = [list(pair) for pair in view.links]
        await self.call({"op": "configure", "mounts": mounts, "links": links, "world": {"address": address}})

    async def network(self, request: Message) -> int:
        """Make a node or a pod sandbox (see ``network_builder``); returns its network namespace."""
        _, (descriptor,) = await self.call(request)
        return descriptor

    async def delay_line(self, links: Sequence[Message], delays_ns: Sequence[int], report: int) -> Process:
        """Join nodes through a delay line whose reports go to the pipe *report*, which stays the caller's.

        Args:
            links: See ``topology.link_requests``.
            delays_ns: The fields of ``delay_line.Delays``, nanoseconds.
            report: The pipe's writing end.

        Raises:
            SpawnError: The kernel refused a link.
        """
        request = {"op": "delay_line", "links": list(links), "delays_ns": list(delays_ns)}
        return await self._process(request, [report])

    async def start(
        self,
        pod: str,
        program: Program,
        streams: Sequence[int],
        *,
        etc: str,
        volumes: Sequence[Mount] = (),
        folders: Sequence[str] = (),
        readonly: bool = False,
    ) -> Process:
        """Start a container's main process in the sandbox *pod*; *streams* stay the caller's.

        Raises:
            SpawnError: It does not run; the text says why.
        """
        return await self._process(
            {
                "op": "start",
                "pod": pod,
                "program": program.to_json(),
                "etc": etc,
                "volumes": [v.to_json() for v in volumes],
                "folders": list(folders),
                "readonly": readonly,
            },
            streams,
        )

    async def exec(self, container: Process, program: Program, streams: Sequence[int]) -> Process:
        """Run a program beside a container's main process.

        Raises:
            SpawnError: It does not run; the text says why.
        """
        request = {"op": "exec", "container": container.pid, "program": program.to_json()}
        return await self._process(request, streams)

    async def exec_terminal(self, container: Process, program: Program) -> tuple[Process, int]:
        """The same with a terminal; returns the process and the terminal's other end."""
        request = {"op": "exec", "container": container.pid, "program": program.to_json()}
        number = self._next
        try:
            process = await self._process(request, ())
        except BaseException:  # nobody waits any more, too
            if number in self._terminals:
                os.close(self._terminals.pop(number))
            raise
        return process, self._terminals.pop(number)

    async def _process(self, request: Message, streams: Sequence[int]) -> Process:
        answer, _ = await self.call(request, streams)
        if "failed" in answer:
            raise SpawnError(answer["failed"]["message"], answer["failed"]["kind"])
        process: Process = answer["process"]
        return process

    async def call(self, request: Message, descriptors: Sequence[int] = ()) -> tuple[Message, list[int]]:
        """One request and its answer, with the descriptors that came with it.

        Raises:
            SpawnError: The kernel refused.
        """
        if self._gone:
            raise SpawnError(_GONE)
        number = self._next
        self._next += 1
        future: asyncio.Future[tuple[Message, list[int]]] = self._loop.create_future()
        self._waiting[number] = future
        # Own copies: the caller may close its descriptors while the request waits in the queue.
        copies = [os.dup(d) for d in descriptors]
        data = frames.encode({"id": number, **request}, len(copies))
        self._queue.append((memoryview(data), copies))
        self._flush()
        answer, received = await future
        if "error" in answer:
            raise SpawnError(answer["error"])
        return answer, received

    def _flush(self) -> None:
        while self._queue:
            data, descriptors = self._queue[0]
            try:
                sent = frames.send_some(self._socket, data, descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._flush)
                return
            except OSError:
                self._lost()
                return
            for descriptor in descriptors:
                os.close(descriptor)
            if sent < len(data):
                self._queue[0] = (data[sent:], ())
            else:
                self._queue.popleft()
        self._loop.remove_writer(self._socket)

    def _receive(self) -> None:
        try:
            self._decoder.receive(self._socket)
        except BlockingIOError:
            return
        except (frames.ClosedError, OSError):
            self._lost()
            return
        for message, descriptors in self._decoder.frames():
            self._dispatch(message, descriptors)

    def _dispatch(self, message: Message, descriptors: list[int]) -> None:
        if "exited" in message:
            process = self._processes.pop(message["exited"], None)
            if process is not None:
                process.finish(message["status"])
        elif message.get("terminal"):
            if self._waiting[message["id"]].cancelled():
                os.close(descriptors[0])
            else:
                self._terminals[message["id"]] = descriptors[0]
        else:
            if "pid" in message:  # known before its end can be reported in the same batch
                pid = message["pid"]
                self._processes[pid] = message["process"] = Process(self, pid, descriptors[0])
            future = self._waiting.pop(message["id"])
            if not future.cancelled():
                future.set_result((message, descriptors))
            elif "pid" in message:
                signal.pidfd_send_signal(descriptors[0], signal.SIGKILL)  # nobody waits for it any more
            else:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _lost(self) -> None:
        self._let_go()
        self._on_lost()

    def _let_go(self) -> None:
        """Nobody waits for ever: requests fail, and every process has ended with the spawner."""
        self._gone = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(SpawnError(_GONE))
        self._waiting.clear()
        for process in self._processes.values():
            process.finish(-signal.SIGKILL)
        self._processes.clear()
