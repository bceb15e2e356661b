"""Relay host ports into the lab: a process of its own, so that load does not pass through the supervisor.

It accepts on sockets that were bound on the machine's 127.0.0.1 before the world was entered, and dials
ClusterIPs inside the world. It reads nothing of what it carries, and passes each side's end on, so that
what a client sees is what the Service does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING, Final

from meshverdict.runtime import linux

if TYPE_CHECKING:
    from collections.abc import Mapping

Targets = dict[str, tuple[str, int] | None]  # name of the host socket -> where it leads, None: nowhere yet

_HIGH_WATER: Final = 256 << 10
_DIAL_TIMEOUT_S: Final = 30.0
_BACKLOG: Final = 512


class _Side(asyncio.Protocol):
    """One of the two connections of a relayed one."""

    def __init__(self) -> None:
        self.peer: _Side | None = None
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)  # type: ignore[union-attr]

    def join(self, peer: _Side) -> None:
        """Both sides are there: what came before is passed on."""
        self.peer = peer
        for data in self._early:
            peer.write(data)
        self._early.clear()
        if self._ended:
            peer.end()

    def data_received(self, data: bytes) -> None:
        if self.peer is None:
            self._early.append(data)
        else:
            self.peer.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        if self.peer is not None:
            self.peer.end()
        return True  # half closed: the other direction goes on

    def connection_lost(self, error: Exception | None) -> None:
        if self.peer is not None:
            self.peer.lost(reset=error is not None)

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def end(self) -> None:
        """The peer will send no more."""
        if self.transport is not None and not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()
        if self._ended:
            self.close()

    def lost(self, *, reset: bool) -> None:
        """The peer's connection has gone; a reset is passed on as one."""
        if self.transport is None:
            return
        if reset:
            self.abort()
        else:
            self.transport.close()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close with a reset, as the other side did."""
        if self.transport is None:
            return
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.transport.abort()


class Relay:
    """Serves the given host sockets, each to its target of the moment."""

    def __init__(self, sockets: Mapping[str, socket.socket], commands: socket.socket) -> None:
        self._sockets = sockets
        self._commands = commands
        self._targets: Targets = dict.fromkeys(sockets)
        self._rest = b""
        self._done = asyncio.Event()
        self._dials: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until the supervisor closes its end of the command socket."""
        loop = asyncio.get_running_loop()
        self._commands.setblocking(False)
        loop.add_reader(self._commands, self._command)
        for name, sock in self._sockets.items():
            await loop.create_server(lambda name=name: self._accepted(name), sock=sock, backlog=_BACKLOG)  # type: ignore[misc]
        await self._done.wait()

    def _command(self) -> None:
        data = self._commands.recv(1 << 16)
        if not data:
            self._done.set()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            for name, target in json.loads(line).items():
                self._targets[name] = (target[0], target[1]) if target else None

    def _accepted(self, name: str) -> _Side:
        return _Outer(self, name)

    def dial(self, outer: _Side, name: str) -> None:
        """Begin to connect an accepted connection to its target."""
        task = asyncio.get_running_loop().create_task(self._dial(outer, name))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, outer: _Side, name: str) -> None:
        target = self._targets[name]
        if target is None:
            outer.abort()
            return
        inner = _Side()
        try:
            async with asyncio.timeout(_DIAL_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(lambda: inner, *target)
        except (OSError, TimeoutError):
            outer.abort()
            return
        if outer.transport is None or outer.transport.is_closing():
            inner.close()
            return
        inner.join(outer)
        outer.join(inner)
        outer.transport.resume_reading()


class _Outer(_Side):
    """A connection that was accepted on the machine's side."""

    def __init__(self, relay: Relay, name: str) -> None:
        super().__init__()
        self._relay = relay
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.transport is not None:
            self.transport.pause_reading()  # nothing is kept for a target that may never answer
        self._relay.dial(self, self._name)


class RelayClient:
    """The supervisor's side: says where the host ports lead."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._socket = sock
        self.pid = pid
        self._targets: Targets = {}

    def point(self, name: str, target: tuple[str, int] | None) -> None:
        """From now on new connections to the host socket *name* go to *target*; None refuses them."""
        if self._targets.get(name, ()) != target:
            self._targets[name] = target
            self._socket.sendall(json.dumps({name: target}).encode() + b"\n")

    def socket_for_watching(self) -> socket.socket:
        """A socket that is at its end of file when the relay has ended; the caller closes it."""
        return self._socket.dup()

    def close(self) -> None:
        """End the relay."""
        self._socket.close()


def start(sockets: Mapping[str, socket.socket], unwanted: list[socket.socket]) -> RelayClient:
    """Fork the relay; the caller must have no other threads and no running event loop.

    Args:
        sockets: Listening host sockets by name; closed in the caller.
        unwanted: Sockets that the relay must not keep open.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid:
        theirs.close()
        for sock in sockets.values():
            sock.close()
        return RelayClient(ours, pid)
    try:
        linux.set_parent_death_signal(signal.SIGKILL)
        linux.set_process_name("mv-relay")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ours.close()
        for sock in unwanted:
            sock.close()
        gc.freeze()
        asyncio.run(Relay(sockets, theirs).run())
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a forked copy of the supervisor may not go on as one
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
