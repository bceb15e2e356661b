"""The spawner: the only process of the world that makes namespaces and starts programs.

Namespaces can be joined and made only by a process without threads, and fork is cheap only in a small
one. So it is forked before anything large is imported, answers one socket, and knows nothing of
Kubernetes: its requests speak of networks, containers and processes by number.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshverdict.runtime import delay_line, frames, linux, process
from meshverdict.runtime.network_builder import NetworkBuilder
from meshverdict.runtime.rootfs import HostView, Mount, RootSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from meshverdict.runtime.frames import Message
    from meshverdict.runtime.world import Identity

_NAMESPACES: Final = (
    ("net", linux.CLONE_NEWNET),
    ("uts", linux.CLONE_NEWUTS),
    ("ipc", linux.CLONE_NEWIPC),
)


def start(
    scratch: Path, identity: Identity, unwanted: Sequence[socket.socket], control: socket.socket
) -> tuple[socket.socket, int]:
    """Fork the spawner; returns the supervisor's end of its socket and its process id.

    It closes the *unwanted* sockets and *control*, which are the supervisor's alone.
    """
    ours, theirs = socket.socketpair()
    (scratch / "root").mkdir(exist_ok=True)
    pid = os.fork()
    if pid:
        theirs.close()
        return ours, pid
    try:
        linux.set_parent_death_signal(signal.SIGKILL)
        linux.set_process_name("mv-spawner")
        ours.close()
        control.close()
        for sock in unwanted:
            sock.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()
        Spawner(theirs, scratch, identity).run()
    except frames.ClosedError:
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a forked copy of the supervisor may not go on as one
        traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(1)


@dataclass(slots=True)
class _Child:
    """A process that was started: the request to answer when it runs, and its pidfd."""

    pid: int
    pidfd: int
    request: int
    failure: int  # read end of the pipe that exec closes; -1 once it runs
    root: str = ""


class Spawner:
    """Serves one socket until it is closed."""

    def __init__(self, sock: socket.socket, scratch: Path, identity: Identity) -> None:
        self._socket = sock
        self._scratch = scratch
        self._identity: Identity = identity
        self._decoder = frames.Decoder()
        self._selector = selectors.DefaultSelector()
        self._networks = NetworkBuilder()
        self._sandboxes: dict[str, dict[int, int]] = {}
        self._children: dict[int, _Child] = {}
        self._view = HostView((), ())
        self._own_pid_namespace = linux.open_namespace("pid")

    def run(self) -> None:
        """Answer requests and report ends, for ever.

        Raises:
            ClosedError: The supervisor has closed the socket.
        """
        self._selector.register(self._socket, selectors.EVENT_READ, self._receive)
        while True:
            for key, _ in self._selector.select():
                callback: Callable[[], None] = key.data
                callback()

    def _receive(self) -> None:
        self._decoder.receive(self._socket)
        for message, descriptors in self._decoder.frames():
            try:
                self._handle(message, descriptors)
            except OSError as error:
                self._answer(message["id"], {"error": str(error), "errno": error.errno or 0})
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)

    def _answer(self, request: int, values: Message, descriptors: Sequence[int] = ()) -> None:
        frames.send(self._socket, {"id": request, **values}, descriptors)

    def _handle(self, message: Message, descriptors: list[int]) -> None:
        operation: Callable[[Message, list[int]], None] = {
            "configure": self._configure,
            "node": self._node,
            "link": self._link,
            "delay_line": self._delay_line,
            "sandbox": self._sandbox,
            "remove": self._remove,
            "start": self._start,
            "exec": self._exec,
            "signal": self._signal,
        }[message["op"]]
        operation(message, descriptors)

    def _configure(self, message: Message, _descriptors: list[int]) -> None:
        mounts = tuple(Mount.from_json(m) for m in message["mounts"])
        self._view = HostView(mounts, tuple((a, b) for a, b in message["links"]))
        self._networks.world(message["world"])
        self._answer(message["id"], {})

    def _node(self, message: Message, _descriptors: list[int]) -> None:
        network = self._networks.node(message)
        self._answer(message["id"], {}, [network])

    def _link(self, message: Message, _descriptors: list[int]) -> None:
        self._networks.link(message)
        self._answer(message["id"], {})

    def _delay_line(self, message: Message, descriptors: list[int]) -> None:
        """Join nodes by links with a delay, and start the process that carries them."""
        (report,) = descriptors
        links = self._networks.delayed_links(message["links"])
        try:
            self._fork(
                message["id"],
                lambda _: delay_line.run_child(links, delay_line.Delays(*message["delays_ns"]), report),
            )
        finally:
            for a, b in links:
                a.close()
                b.close()

    def _sandbox(self, message: Message, _descriptors: list[int]) -> None:
        """Make the namespaces that a pod's containers share, with the pod's network in them."""
        if message["pod"] in self._sandboxes:
            raise OSError(f"pod {message['pod']} has its sandbox already")
        homes = [(linux.open_namespace(name), kind) for name, kind in _NAMESPACES]
        try:
            linux.unshare(sum(kind for _, kind in _NAMESPACES))
            try:
                socket.sethostname(message["hostname"])
                fds = {kind: linux.open_namespace(name) for name, kind in _NAMESPACES}
            finally:
                for descriptor, kind in homes:
                    linux.setns(descriptor, kind)
        finally:
            for descriptor, _ in homes:
                os.close(descriptor)
        try:
            self._networks.pod(fds[linux.CLONE_NEWNET], message)
        except OSError:
            for descriptor in fds.values():
                os.close(descriptor)
            raise
        self._sandboxes[message["pod"]] = fds
        self._answer(message["id"], {}, [fds[linux.CLONE_NEWNET]])

    def _remove(self, message: Message, _descriptors: list[int]) -> None:
        for descriptor in self._sandboxes.pop(message["pod"], {}).values():
            os.close(descriptor)
        self._networks.remove_pod(message["pod"])
        self._answer(message["id"], {})

    def _start(self, message: Message, descriptors: list[int]) -> None:
        """Start a container's main process, first of a PID namespace of its own."""
        program = process.Program.from_json(message["program"])
        uid, gid = (program.uid, program.gid) if self._identity == "range" else (0, 0)
        root = RootSpec(
            view=self._view,
            etc=message["etc"],
            volumes=[Mount.from_json(m) for m in message["volumes"]],
            folders=message["folders"],
            uid=uid,
            gid=gid,
            readonly=message["readonly"],
        )
        streams = process.Streams(*descriptors)
        namespaces = [(fd, kind) for kind, fd in self._sandboxes[message["pod"]].items()]
        at = str(self._scratch / "root")

        def child(failure: int) -> None:
            process.run_first(
                program,
                streams,
                namespaces=namespaces,
                root=root,
                at=at,
                identity=self._identity,
                failure=failure,
            )

        linux.unshare(linux.CLONE_NEWPID)
        try:
            self._fork(message["id"], child)
        finally:
            linux.setns(self._own_pid_namespace, linux.CLONE_NEWPID)

    def _exec(self, message: Message, descriptors: list[int]) -> None:
        """Run a program beside a container's main process; without descriptors it gets a terminal."""
        container = self._children.get(message["container"])
        if container is None:
            raise ProcessLookupError(3, "the container is not running")
        program = process.Program.from_json(message["program"])
        streams = process.Streams(*descriptors) if descriptors else None

        def send_terminal(master: int) -> None:
            self._answer(message["id"], {"terminal": True}, [master])

        def child(failure: int) -> None:
            process.run_in(
                program,
                streams,
                container=container.pidfd,
                identity=self._identity,
                failure=failure,
                send_terminal=send_terminal,
            )

        linux.setns(container.pidfd, linux.CLONE_NEWPID)
        try:
            self._fork(message["id"], child)
        finally:
            linux.setns(self._own_pid_namespace, linux.CLONE_NEWPID)

    def _fork(self, request: int, child: Callable[[int], None]) -> None:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            child(writer)
            os._exit(128)
        os.close(writer)
        started = _Child(pid, os.pidfd_open(pid), request, reader)
        self._children[pid] = started
        self._selector.register(reader, selectors.EVENT_READ, lambda: self._started(started))

    def _started(self, child: _Child) -> None:
        """The pipe ended: the program runs, or the reason why it does not is in the pipe."""
        failure = os.read(child.failure, 1 << 16)
        self._selector.unregister(child.failure)
        os.close(child.failure)
        if failure:
            os.waitpid(child.pid, 0)
            del self._children[child.pid]
            os.close(child.pidfd)
            self._answer(child.request, {"failed": json.loads(failure)})
            return
        self._answer(child.request, {"pid": child.pid}, [child.pidfd])
        self._selector.register(child.pidfd, selectors.EVENT_READ, lambda: self._ended(child))

    def _ended(self, child: _Child) -> None:
        self._selector.unregister(child.pidfd)
        _, status = os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        del self._children[child.pid]
        frames.send(self._socket, {"exited": child.pid, "status": os.waitstatus_to_exitcode(status)})

    def _signal(self, message: Message, _descriptors: list[int]) -> None:
        child = self._children.get(message["pid"])
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.pidfd, message["signal"])
        self._answer(message["id"], {})
