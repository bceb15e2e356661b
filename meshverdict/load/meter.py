"""Measure the generator itself, second by second: was it on time, and what did it have of the machine?"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from meshverdict.model.histogram import FINE, Histogram
from meshverdict.model.record import GeneratorSecond

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshverdict.model.record import Priority

_FIFO = 1
# Above this, real-time priority would starve everything else on the core, the system under load included.
_BUSY = 0.9
_HALF = 0.4
_NAP_S = 100e-6


class Meter:
    """Counts for one engine; used by its thread alone.

    Args:
        w: Worker number.
        tell: Takes the line of each second, in the engine's thread, and must not block.
        fifo: Whether to ask for real-time priority.
        busy: Whether the thread is expected to be busy from the beginning.
        clock: Steady clock in seconds.
        wall: Wall clock in seconds.

    Attributes:
        second_ends: When the current second ends, on the steady clock.
        sent: Requests handed to the kernel in this second.
        opened: Connections opened in this second.
        resent: Requests sent again because an idle connection was dead.
        held: Times that no connection could be opened because of a limit of this process.
        nap: Shortest sleep, seconds: above 0 while the thread is busy.
    """

    def __init__(
        self,
        w: int,
        tell: Callable[[GeneratorSecond], None],
        *,
        fifo: bool = True,
        busy: bool = False,
        clock: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._w = w
        self._tell = tell
        self._fifo = fifo
        self._wall = wall
        self.offset = wall() - clock()
        self._step_seen = 0.0
        self.sent = self.opened = self.resent = self.held = 0
        self.nap = _NAP_S if busy else 0.0
        self._scheduled = self._dropped = 0
        self._lag = Histogram(FINE)
        self._schedstat = self._psi = -1
        self._stalled: float | None = None
        self.second_ends = 0.0
        self._began = 0.0
        self._cpu = self._waited = 0.0
        self._t = 0

    def start(self, now: float) -> None:
        """Begin the first second; called in the engine's thread."""
        if self._fifo:
            ask_for_fifo()
        self._schedstat = _open("/proc/thread-self/schedstat")
        self._psi = _open("/proc/pressure/cpu")
        self._stalled = self._some()
        self._cpu, self._waited = time.thread_time(), self._waiting()
        self._t = int(now + self.offset)
        self._began = now
        self.second_ends = self._t + 1 - self.offset

    def stop(self) -> None:
        """Give back what `start` took."""
        for descriptor in (self._schedstat, self._psi):
            if descriptor >= 0:
                os.close(descriptor)
        self._schedstat = self._psi = -1

    @property
    def second(self) -> int:
        """The current second, Unix time. It never goes back, whatever the wall clock does."""
        return self._t

    def arrival(self) -> None:
        """An arrival is served."""
        self._scheduled += 1

    def lag(self, seconds: float) -> None:
        """A request that was due is sent *seconds* later."""
        self._lag.add(seconds * 1e6)

    def drop(self) -> None:
        """An arrival cannot be served: too many requests are under way."""
        self._scheduled += 1
        self._dropped += 1

    def further(self) -> None:
        """A task makes a request beyond its first: due when it is made."""
        self._scheduled += 1

    def end_second(self, now: float, in_flight: int, connections: int) -> None:
        """Tell of the second that is over, and of seconds without any sign of life."""
        cpu, waited = time.thread_time(), self._waiting()
        share = (cpu - self._cpu) / max(now - self._began, 1e-6)
        self.nap = _NAP_S if share > _HALF else 0.0
        step = self._wall() - now - self.offset
        self._tell(
            GeneratorSecond(
                t=self._t,
                w=self._w,
                scheduled=self._scheduled,
                sent=self.sent,
                dropped=self._dropped,
                in_flight=in_flight,
                connections=connections,
                lag=self._lag,
                cpu=share,
                priority=self._priority(share),
                opened=self.opened,
                steal_ms=(waited - self._waited) * 1e3,
                clock_step_ms=(step - self._step_seen) * 1e3,
                resent=self.resent,
                held=self.held,
                pressure=self._pressed(now),
            )
        )
        self.sent = self.opened = self.resent = self.held = 0
        self._scheduled = self._dropped = 0
        self._lag = Histogram(FINE)
        self._cpu, self._waited, self._began, self._step_seen = cpu, waited, now, step
        self._t = int(now + self.offset)
        self.second_ends = self._t + 1 - self.offset

    def _waiting(self) -> float:
        """Seconds for which this thread was ready but had no CPU."""
        if self._schedstat < 0:
            return 0.0
        return int(os.pread(self._schedstat, 100, 0).split()[1]) * 1e-9

    def _some(self) -> float | None:
        """Seconds for which something on the machine waited for a CPU."""
        if self._psi < 0:
            return None
        try:
            some = os.pread(self._psi, 200, 0).split(b"\n")[0]
        except OSError:
            return None  # built in, but switched off at boot
        return int(some.rpartition(b"total=")[2]) * 1e-6

    def _pressed(self, now: float) -> float | None:
        before, self._stalled = self._stalled, self._some()
        if before is None or self._stalled is None:
            return None
        return (self._stalled - before) / max(now - self._began, 1e-6)

    def _priority(self, cpu: float) -> Priority:
        fifo = os.sched_getscheduler(0) == os.SCHED_FIFO
        if fifo and cpu > _BUSY:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            return "normal"
        return "fifo" if fifo else "normal"


def ask_for_fifo() -> bool:
    """Real-time priority for this thread; False where it is not allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_FIFO))
    except OSError:
        return False
    return True


def _open(path: str) -> int:
    """A descriptor to read *path* again and again; -1 where the kernel has no such file."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
