"""Run a world and outlive it by a moment: the part of the lab that stays in the machine's own namespaces.

The keeper holds what must not be inside: sockets bound on the machine's 127.0.0.1, the right to give
real-time priority, and the duty to clean up after the world. It is small and does nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meshverdict.model.errors import MeshverdictError
from meshverdict.runtime import frames, linux, spawner
from meshverdict.runtime.world import Entered, Identity, fork_world

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STOP_TIMEOUT_S: Final = 10.0
_FIFO_PRIORITY: Final = 10


@dataclass(slots=True)
class WorldHandle:
    """What the supervisor, as the first process of its world, gets to work with.

    Attributes:
        spawner: Stream socket to the spawner (see :mod:`.spawn_client`).
        keeper: Stream socket to the keeper (see :class:`KeeperClient`).
        sockets: The host sockets by name, bound before the world was entered.
        scratch: A tmpfs of the world; its content vanishes with the world.
        identity: Whether ids are a range (started as root) or one id (plain user).
    """

    spawner: socket.socket
    keeper: socket.socket
    sockets: Mapping[str, socket.socket]
    scratch: Path
    identity: Identity
    spawner_pid: int = 0


@dataclass(slots=True)
class KeeperOptions:
    """How :func:`run_world` runs.

    Attributes:
        scratch: An existing folder that gets a tmpfs inside the world (outside nothing changes).
        sockets: Bound host sockets by name.
        tie: File descriptor at whose end of file the world is ended, or None.
        stop_timeout_s: How long the supervisor may take to end in good order.
        on_end: Called in the keeper when the world is gone.
    """

    scratch: Path
    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    tie: int | None = None
    stop_timeout_s: float = STOP_TIMEOUT_S
    on_end: Callable[[], None] | None = None


class KeeperClient:
    """The supervisor's side of the control socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def want_fifo(self, pidfd: int) -> None:
        """Ask for real-time priority for a process; where it is not allowed nothing happens."""
        frames.send(self._socket, {"op": "fifo"}, [pidfd])


def run_world(main: Callable[[WorldHandle], int], options: KeeperOptions) -> int:
    """Run *main* as the first process of a new world; returns its exit status when all is gone.

    The caller becomes the keeper: it must have no other threads. SIGTERM and SIGINT to the keeper, or the
    end of ``options.tie``, send SIGTERM to *main*'s process, and SIGKILL after ``stop_timeout_s``.

    Raises:
        LabError: No world can be made here.
    """
    outside, inside = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    entered = fork_world()
    if entered.pid == 0:
        outside.close()
        _first_process(main, inside, entered.identity, options)
    inside.close()
    for sock in options.sockets.values():
        sock.close()
    try:
        with outside:
            return _Keeper(entered, outside, options).run()
    finally:
        if options.on_end:
            options.on_end()


def _first_process(
    main: Callable[[WorldHandle], int], control: socket.socket, identity: Identity, options: KeeperOptions
) -> None:
    """In the world: fork the spawner, run *main*, and end; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        flags = linux.MS_NOSUID | linux.MS_NODEV
        linux.mount("tmpfs", str(options.scratch), "tmpfs", flags, "mode=0755")
        client, pid = spawner.start(options.scratch, identity, list(options.sockets.values()), control)
        status = main(
            WorldHandle(
                spawner=client,
                keeper=control,
                sockets=options.sockets,
                scratch=options.scratch,
                identity=identity,
                spawner_pid=pid,
            )
        )
    except MeshverdictError as error:
        print(f"meshverdict: {error}", file=sys.stderr)  # noqa: T201 - the supervisor's last word, to its log
        status = error.exit_code
    except BaseException:  # noqa: BLE001 - nothing may return into the keeper's code from here
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


class _Keeper:
    """Waits for the world, in the machine's namespaces."""

    def __init__(self, entered: Entered, control: socket.socket, options: KeeperOptions) -> None:
        self._pid = entered.pid
        self._pidfd = os.pidfd_open(entered.pid)
        self._lifeline = entered.lifeline
        self._control = control
        self._options = options
        self._decoder = frames.Decoder()
        self._stop_at: float | None = None

    def run(self) -> int:
        wake_reader, wake_writer = os.pipe()
        os.set_blocking(wake_writer, False)
        old = [(s, signal.signal(s, self._on_signal)) for s in (signal.SIGTERM, signal.SIGINT)]
        old_wake = signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        try:
            return self._wait(wake_reader)
        finally:
            signal.set_wakeup_fd(old_wake)
            for number, handler in old:
                signal.signal(number, handler)
            for descriptor in (wake_reader, wake_writer, self._pidfd, self._lifeline):
                os.close(descriptor)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stop()

    def _wait(self, wake: int) -> int:
        poll = select.poll()
        watched = [self._pidfd, wake, self._control.fileno()]
        if self._options.tie is not None:
            watched.append(self._options.tie)
        for descriptor in watched:
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll(self._timeout_ms())}
            if self._pidfd in ready:
                return self._reap()
            if wake in ready:
                os.read(wake, 64)
            if self._control.fileno() in ready and not self._serve():
                poll.unregister(self._control)
            tie = self._options.tie
            if tie is not None and tie in ready and not os.read(tie, 64):
                poll.unregister(tie)
                self._stop()
            if self._stop_at is not None and time.monotonic() >= self._stop_at:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _timeout_ms(self) -> float | None:
        if self._stop_at is None:
            return None
        return max(50.0, (self._stop_at - time.monotonic()) * 1000)

    def _stop(self) -> None:
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self._options.stop_timeout_s
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def _reap(self) -> int:
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGTERM and self._stop_at is not None:
            return 0
        return code if code >= 0 else 128 - code

    def _serve(self) -> bool:
        """Answer the supervisor's requests; False when it has closed its side."""
        try:
            self._decoder.receive(self._control)
        except (frames.ClosedError, ConnectionError):
            return False
        for message, descriptors in self._decoder.frames():
            if message.get("op") == "fifo" and descriptors:
                _set_fifo(descriptors[0])
            for descriptor in descriptors:
                os.close(descriptor)
        return True


def _set_fifo(pidfd: int) -> None:
    """Real-time priority for the process, as this machine knows it; refused to plain users, which is fine."""
    for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            pid = int(line.split()[1])
            if pid > 0:
                with contextlib.suppress(PermissionError, ProcessLookupError):
                    os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(_FIFO_PRIORITY))
