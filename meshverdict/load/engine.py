"""Send requests when they are due, however long the answers take: an open loop.

Stock Locust's users wait for answers, so that a stall of the system also stalls the load, and the requests that
would have suffered are never made. Here arrivals come from a schedule, and latency counts from the scheduled time.
One epoll loop does nothing else; it calls none of the functions that Locust's event loop has replaced. The engine knows HTTP and time; what a request is for, its callers know.
"""

from __future__ import annotations

import itertools
import math
import select
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshverdict.load.connections import IN, Connections
from meshverdict.load.flight import Flight
from meshverdict.load.http1 import MOST_BODY_BYTES
from meshverdict.load.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshverdict.load.exchange import Exchange
    from meshverdict.load.meter import Meter

_EDGE = 1 << 31  # EPOLLET: gevent's patches hide the name
# An event brings one answer; arrivals must not wait until a crowd of answers is read, nor the other way round.
# More answers than arrivals in a turn: else a loop that is behind would start requests faster than it ends them.
_BATCH, _BURST, _ENOUGH, _MOST_EVENTS = 8, 4, 256, 256
_LONGEST_SLEEP = 0.05
# What a task's own code takes, and waking up.
_LEAD_S = 90e-6
_TICK_S = 0.01
_LATE_S = 0.002
_ENDLESS = math.inf


def _nothing(_due: float) -> None:
    """No arrival."""


_NEVER: tuple[float, Callable[[float], None]] = (_ENDLESS, _nothing)


class Engine:
    """An open-loop HTTP/1.1 client.

    Args:
        arrivals: Absolute due times, ascending, on the steady clock, and what to call at each.
        meter: Counts what the engine itself does.
        most_connections: Connections it opens at most, over all origins.
        most_in_flight: Requests under way or waiting at most; arrivals beyond are dropped, and counted.
        largest_body: Bytes of an answer's body that are read at most.
        clock: Steady clock in seconds; ``time.perf_counter`` outside of tests.
        epoll: Makes an epoll object: gevent hides the original from those who look for it later.
    """

    def __init__(
        self,
        arrivals: Iterator[tuple[float, Callable[[float], None]]],
        meter: Meter,
        *,
        most_connections: int = 10_000,
        most_in_flight: int = 50_000,
        largest_body: int = MOST_BODY_BYTES,
        clock: Callable[[], float] = time.perf_counter,
        epoll: Callable[[], select.epoll] | None = None,
    ) -> None:
        self.most_in_flight = most_in_flight
        self._arrivals = arrivals
        self._due, self._act = _NEVER
        self._meter = meter
        self._clock = clock
        self._epoll = (epoll or select.epoll)()
        self._timer = Timer()
        self._epoll.register(self._timer.fd, IN | _EDGE)
        self._flight = Flight()
        self._connections = Connections(
            self._epoll, meter, self._flight, most=most_connections, largest_body=largest_body, clock=clock
        )
        self._early: deque[Exchange] = deque()
        self._tick = 0.0
        self._halt = False
        self._abort = False

    # --- what a signal handler may call ---

    def halt(self) -> None:
        """No more arrivals; requests under way are waited for until they time out."""
        self._halt = True

    def abort(self) -> None:
        """No more arrivals, and give up what is under way: it is counted as timed out."""
        self._abort = self._halt = True

    # --- the loop ---

    def run(self) -> None:
        """Work until the arrivals are over and all requests have come to an end."""
        clock, flight, over = self._clock, self._flight, self._flight.over
        on_event = self._connections.on_event
        ready: dict[int, tuple[int, float]] = {}
        self._due, self._act = next(self._arrivals, _NEVER)
        try:
            while True:
                now = self._serve_arrivals(behind=bool(ready))
                for exchange in flight.expired(all_of_them=self._abort):
                    self._connections.give_up(exchange)
                for _ in range(len(over)):  # no more: a task may fail and ask again for ever
                    exchange = over.popleft()
                    exchange.done(exchange)
                if now >= self._tick:
                    self._housekeeping(now)
                if (self._due == _ENDLESS or self._halt) and not flight.count and not over:
                    break
                if len(ready) < _ENOUGH:
                    events = self._wait(now, busy=bool(ready))
                    # What is ready now came by now, though its turn may come later.
                    stamp = clock()
                    for fd, event in events:
                        ready.setdefault(fd, (event, stamp))
                for fd in list(itertools.islice(ready, _BATCH)):
                    event, flight.now = ready.pop(fd)
                    on_event(fd, event)
            self._meter.end_second(clock(), 0, len(self._connections))
        finally:
            self._connections.close()
            self._epoll.close()
            self._timer.close()

    def _serve_arrivals(self, *, behind: bool) -> float:
        """Start what is due, but not so much that answers would have to wait; the time afterwards."""
        clock, meter, flight, early = self._clock, self._meter, self._flight, self._early
        # With time to spare, a task is started a little before it is due, and its request sent when it is.
        lead = 0.0 if meter.nap else _LEAD_S
        flight.now = now = clock()
        self._connections.late = behind or now - self._due > _LATE_S
        burst = _BURST
        while self._due - lead <= now and burst and not self._halt:
            burst -= 1
            if flight.count >= self.most_in_flight:
                meter.drop()
            else:
                meter.arrival()
                self._act(self._due)
            self._due, self._act = next(self._arrivals, _NEVER)
            flight.now = now = clock()
        while early and early[0].due <= now:
            exchange = early.popleft()
            if exchange.failure is None:  # else it was given up
                meter.lag(now - exchange.due)
                self._connections.send(exchange)
            flight.now = now = clock()
        return now

    def _housekeeping(self, now: float) -> None:
        self._connections.provide()
        if now >= self._meter.second_ends:
            self._meter.end_second(now, self._flight.count, len(self._connections))
            self._connections.retire(now)
        self._tick = min(now + _TICK_S, self._meter.second_ends)

    def _wait(self, now: float, *, busy: bool) -> list[tuple[int, int]]:
        """Sleep until something is due or ready; what is ready."""
        if busy or self._flight.over or self._early:
            return self._epoll.poll(0, _MOST_EVENTS)
        wake = self._meter.second_ends
        # Busy, setting a timer costs as much as a request: wake up for several arrivals at once.
        nap = self._meter.nap
        if not self._halt:
            wake = min(wake, self._due if nap else self._due - _LEAD_S)
        if wake <= now:
            return self._epoll.poll(0, _MOST_EVENTS)
        self._timer.wake_at(max(wake, now + nap))
        return self._epoll.poll(_LONGEST_SLEEP, _MOST_EVENTS)

    def submit(self, exchange: Exchange) -> None:
        """Send a request, now or as soon as there is a connection for it."""
        self._flight.add(exchange)
        late = self._clock() - exchange.due
        if late < 0:
            self._early.append(exchange)
            return
        if exchange.scheduled:
            self._meter.lag(late)
        self._connections.send(exchange)
