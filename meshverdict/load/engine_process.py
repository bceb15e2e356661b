"""Run the open loop in a process of its own, forked from Locust's.

Beside Locust's event loop in one interpreter, each system call of the engine would be a chance to lose the
interpreter's lock for as long as a web page takes to make. A fork has the locustfile's users without importing
anything again, its own lock, and its own priority; it ends with its parent, however that ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pickle  # what is read was written by our own fork
import signal
import struct
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from meshverdict.load.openloop import OpenLoop, Told

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PIPE_BYTES = 1 << 20
_HEAD = struct.Struct("!I")
_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class EngineProcess:
    """The parent's end of an engine.

    Args:
        loop: The open loop; it runs in the fork, and only there.
        fork: The interpreter's own ``os.fork``.

    Attributes:
        fd: Becomes readable when there is something to `feed`.
        error: Why the engine broke down; None so far.
        over: Whether it has said its last word.
    """

    def __init__(self, loop: OpenLoop, *, fork: Callable[[], int] = os.fork) -> None:
        self.error: str | None = None
        self.over = False
        self._duration = loop.duration
        self._began = time.perf_counter()
        self._rest = b""
        self.fd, end = os.pipe()
        parent = os.getpid()
        self.pid = fork()
        if self.pid == 0:
            _live(loop, end, parent)
        os.close(end)
        os.set_blocking(self.fd, False)

    @property
    def left(self) -> float:
        """Seconds until arrivals are over; infinite without a duration."""
        if self._duration is None:
            return float("inf")
        return max(0.0, self._duration - (time.perf_counter() - self._began))

    def read(self) -> list[Told]:
        """The seconds that have been told since the last call; does not block."""
        told: list[Told] = []
        while not self.over:
            try:
                data = os.read(self.fd, _PIPE_BYTES)
            except BlockingIOError:
                break
            if not data:
                self._end()
                break
            self._rest += data
            told.extend(self._messages())
        return told

    def _messages(self) -> list[Told]:
        told: list[Told] = []
        while len(self._rest) >= _HEAD.size:
            (size,) = _HEAD.unpack_from(self._rest)
            if len(self._rest) < _HEAD.size + size:
                break
            message = pickle.loads(self._rest[_HEAD.size : _HEAD.size + size])  # noqa: S301  # see the import
            self._rest = self._rest[_HEAD.size + size :]
            if isinstance(message, Told):
                told.append(message)
            else:
                self.error = str(message)
        return told

    def _end(self) -> None:
        self.over = True
        os.close(self.fd)
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code and self.error is None:
            self.error = f"the engine's process ended with {code}"

    def halt(self) -> None:
        """No more arrivals."""
        self._signal(signal.SIGUSR1)

    def abort(self) -> None:
        """Give up what is under way, too."""
        self._signal(signal.SIGUSR2)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if not self.over:
            os.kill(self.pid, number)


def _live(loop: OpenLoop, end: int, parent: int) -> NoReturn:
    """The fork's life, from the first line to the exit."""
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we could ask to be told
            os._exit(code)
        signal.set_wakeup_fd(-1)
        for number in _STOP:
            signal.signal(number, signal.SIG_IGN)
        _keep_only({0, 1, 2, end})
        pipe = _Pipe(end)
        try:
            loop.open()
            signal.signal(signal.SIGUSR1, lambda _number, _frame: loop.halt())
            signal.signal(signal.SIGUSR2, lambda _number, _frame: loop.abort())
            loop.run(pipe.send)
        except BaseException:  # noqa: BLE001  # a task may call sys.exit; these are the process' last words
            loop.error = traceback.format_exc()
        if loop.error is not None:
            pipe.send(loop.error)
        pipe.flush()
        code = 0
    finally:
        os._exit(code)


class _Pipe:
    """Sends messages without ever making the engine wait: what does not fit goes later."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._waiting = b""
        with contextlib.suppress(OSError):  # a plain user's limit; the usual size does, too
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(end, False)

    def send(self, message: Told | str) -> None:
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._waiting += _HEAD.pack(len(data)) + data
        with contextlib.suppress(BlockingIOError):
            self._waiting = self._waiting[os.write(self._end, self._waiting) :]

    def flush(self) -> None:
        os.set_blocking(self._end, True)
        while self._waiting:
            self._waiting = self._waiting[os.write(self._end, self._waiting) :]


def _keep_only(wanted: set[int]) -> None:
    """Close the parent's files: a connection of its web page must end when the parent ends it."""
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number not in wanted:
            with contextlib.suppress(OSError):  # the listing's own descriptor
                os.close(number)
