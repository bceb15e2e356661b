"""Send requests when they are due, however long the answers take: an open loop, in a thread of its own.

Stock Locust's users wait for answers, so that a stall of the system also stalls the load, and the requests that
would have suffered are never made. Here arrivals come from a schedule, and latency counts from the scheduled time.
One thread runs one epoll loop and nothing else; it shares no locks with Locust's event loop and calls none of its
patched functions. The engine knows HTTP and time; what a request is for, its callers know.
"""

from __future__ import annotations

import errno
import math
import select
import ssl
import time
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from meshverdict.load.connection import Connection
from meshverdict.load.http1 import AnswerReader, CutShortError, InvalidAnswerError
from meshverdict.load.outcomes import of_error
from meshverdict.load.timer import Timer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshverdict.load.exchange import Exchange
    from meshverdict.load.meter import Meter
    from meshverdict.load.pool import Pool
    from meshverdict.model.record import Outcome

# Event bits of epoll(7): gevent's patches hide the names.
_EDGE = 1 << 31
_IN, _OUT = 1, 4
# An event brings one answer; arrivals must not wait until a crowd of answers is read.
_BATCH, _MOST_EVENTS = 16, 1024
_LONGEST_SLEEP = 0.05
# A connection costs more than a request. Opened for every request that finds none free, they would make the delay
# that they should end: so, beyond a few, only for requests that have waited, and not too many at once.
_FEW = 64
_PATIENCE_S = 0.0005
_OPENING = 16
_TICK_S = 0.02
_NEAR_S = 35e-6
_LATE_S = 0.002
# Arrivals served before answers are looked for.
_BURST = 16
_IDLE_SUSPECT_S = 1.0
_IDLE_S = 60.0
_MOST_BUFFERED = 256_000_000
_ENDLESS = math.inf


def _nothing(_due: float) -> None:
    """No arrival."""


_NEVER = (_ENDLESS, _nothing)


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
        largest_body: int = 10_000_000,
        clock: Callable[[], float] = time.perf_counter,
        epoll: Callable[[], select.epoll] | None = None,
    ) -> None:
        self._arrivals = arrivals
        self._meter = meter
        self._clock = clock
        self._epoll = (epoll or select.epoll)()
        self._timer = Timer()
        self._epoll.register(self._timer.fd, _IN | _EDGE)
        self._connections: dict[int, Connection] = {}
        self._under_way: dict[float, OrderedDict[int, Exchange]] = {}
        self._in_flight = 0
        self._most_connections = most_connections
        self._most_in_flight = most_in_flight
        self._largest_body = largest_body
        self._pools: set[Pool] = set()
        self._over: deque[Exchange] = deque()
        self._now = 0.0
        self._late = False
        self._buffered = 0
        self._halt = False
        self._abort = False

    # --- what other threads may call ---

    def halt(self) -> None:
        """No more arrivals; requests under way are waited for until they time out."""
        self._halt = True

    def abort(self) -> None:
        """No more arrivals, and give up what is under way: it is counted as timed out."""
        self._abort = self._halt = True

    # --- the loop ---

    def run(self) -> None:
        """Work until the arrivals are over and all requests have come to an end."""
        clock, meter, poll, connections, over = (
            self._clock,
            self._meter,
            self._epoll.poll,
            self._connections,
            self._over,
        )
        due, act = next(self._arrivals, _NEVER)
        tick = 0.0
        ready: list[tuple[int, int]] = []
        try:
            while True:
                self._now = now = clock()
                burst = _BURST
                while due <= now and burst and not self._halt:
                    burst -= 1
                    self._late = now - due > _LATE_S
                    if self._in_flight >= self._most_in_flight:
                        meter.drop()
                    else:
                        meter.arrival(now - due)
                        act(due)
                    due, act = next(self._arrivals, _NEVER)
                    self._now = now = clock()
                self._expire(now)
                for _ in range(len(over)):  # no more: a task may fail and ask again for ever
                    exchange = over.popleft()
                    exchange.done(exchange)
                if now >= tick:
                    tick = now + _TICK_S
                    for pool in self._pools if not self._late else ():
                        self._provide(pool)
                if now >= meter.second_ends:
                    meter.end_second(now, self._in_flight, len(connections))
                    self._retire(now)
                if (due == _ENDLESS or self._halt) and not self._in_flight and not over:
                    break
                if not ready:
                    ready = self._wait(due, now, poll)
                    # What is ready now came by now, though its turn may come later.
                    stamp = clock()
                self._now = stamp
                for fd, event in ready[:_BATCH]:
                    connection = connections.get(fd)
                    if connection is not None:
                        self._on_event(connection, event)
                ready = ready[_BATCH:]
            meter.end_second(clock(), 0, len(connections))
        finally:
            self._close()

    def _wait(
        self, due: float, now: float, poll: Callable[[float, int], list[tuple[int, int]]]
    ) -> list[tuple[int, int]]:
        """Sleep until something is due or ready; what is ready."""
        wake = min(due, self._meter.second_ends) if not self._halt else self._meter.second_ends
        # Busy, setting a timer costs as much as a request: wake up for several arrivals at once. Otherwise
        # wake up a little early, for waking up takes its time, and look around until it is due.
        nap = self._meter.nap
        early = 0.0 if nap else _NEAR_S
        if self._over or wake - now <= early:
            return poll(0, _MOST_EVENTS)
        self._timer.wake_at(max(wake - early, now + nap))
        return poll(_LONGEST_SLEEP, _MOST_EVENTS)

    def _close(self) -> None:
        for connection in list(self._connections.values()):
            connection.close()
        self._connections.clear()
        self._epoll.close()
        self._timer.close()

    # --- requests ---

    def submit(self, exchange: Exchange) -> None:
        """Send a request, now or as soon as there is a connection for it."""
        self._in_flight += 1
        limits = self._under_way.get(exchange.timeout)
        if limits is None:
            limits = self._under_way[exchange.timeout] = OrderedDict()
        limits[id(exchange)] = exchange
        pool = exchange.pool
        while pool.idle:
            connection = pool.idle.pop()
            if self._start(connection, exchange):
                return
        self._wait_for_connection(exchange)

    def _wait_for_connection(self, exchange: Exchange, *, first: bool = False) -> None:
        pool = exchange.pool
        pool.waiting[id(exchange)] = exchange
        if first:
            pool.waiting.move_to_end(id(exchange), last=False)
        # One more connection, now or after some patience: see _FEW.
        if pool.total < _FEW or not pool.keep_alive or not self._late and exchange.due - next(iter(pool.waiting.values())).due > _PATIENCE_S:
            self._provide(pool)

    def _start(self, connection: Connection, exchange: Exchange) -> bool:
        """Send on a connection that is ready; False if it turns out to be gone, and closed now."""
        connection.exchange = exchange
        exchange.connection = connection
        connection.reader = AnswerReader(head_only=exchange.head_only, most=self._largest_body)
        try:
            whole = connection.send(exchange.data)
        except OSError as error:
            exchange.connection = None
            self._forget(connection)
            if connection.used:
                return False
            self._fail(exchange, of_error(error.errno or 0), str(error))
            return True
        if not exchange.sent:
            exchange.sent = True
            self._meter.sent += 1
        if not whole:
            self._epoll.modify(connection.fd, _IN | _OUT)
        return True

    def _expire(self, now: float) -> None:
        for timeout, limits in self._under_way.items():
            while limits:
                exchange = next(iter(limits.values()))
                if exchange.due + timeout > now and not self._abort:
                    break
                self._give_up(exchange)

    def _give_up(self, exchange: Exchange) -> None:
        connection, pool = exchange.connection, exchange.pool
        if connection is not None:
            self._close_busy(connection)
            self._fail(exchange, "timeout", f"no answer within {exchange.timeout:g} s")
            return
        pool.waiting.pop(id(exchange), None)
        # As many attempts as requests that wait: the oldest attempt is the one that hangs.
        if len(pool.opening) > len(pool.waiting):
            self._close_quiet(next(iter(pool.opening.values())))
        self._fail(exchange, "timeout", f"no connection within {exchange.timeout:g} s")

    def _fail(self, exchange: Exchange, outcome: Outcome, problem: str) -> None:
        exchange.failure = outcome
        exchange.problem = problem
        self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        """The exchange is over. Its task goes on later, from the loop: it may be what is running now."""
        exchange.ended = self._now
        exchange.connection = None
        self._under_way[exchange.timeout].pop(id(exchange), None)
        self._in_flight -= 1
        self._over.append(exchange)

    # --- connections ---

    def _open(self, pool: Pool) -> None:
        if len(self._connections) >= self._most_connections:
            self._meter.held += 1
            return
        try:
            connection = Connection(pool, self._clock())
        except OSError as error:
            self._connect_failed(pool, error)
            return
        self._meter.opened += 1
        self._pools.add(pool)
        pool.total += 1
        pool.opening[connection.fd] = connection
        self._connections[connection.fd] = connection
        self._epoll.register(connection.fd, _OUT)

    def _connect_failed(self, pool: Pool, error: Exception) -> None:
        """One attempt failed: so does the request that waits longest."""
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self._most_connections = max(1, len(self._connections))
                self._meter.held += 1
                return
            outcome = of_error(error.errno or 0)
            outcome = "refused" if outcome == "invalid" else outcome
        else:
            outcome = "invalid"
        if pool.waiting:
            _, exchange = pool.waiting.popitem(last=False)
            self._fail(exchange, outcome, str(error))

    def _forget(self, connection: Connection) -> None:
        self._release(connection)
        del self._connections[connection.fd]
        connection.pool.opening.pop(connection.fd, None)
        connection.pool.total -= 1
        connection.exchange = None
        connection.close()  # which also takes it out of the epoll
        self._provide(connection.pool)

    def _close_busy(self, connection: Connection) -> None:
        """Close a connection that has a request."""
        self._forget(connection)

    def _close_quiet(self, connection: Connection) -> None:
        """Close a connection that is idle or still opening."""
        if connection.ready:
            connection.pool.idle.remove(connection)
        self._forget(connection)

    def _retire(self, now: float) -> None:
        """Close connections that nobody has needed for long."""
        for pool in self._pools:
            while pool.idle and (pool.idle[0].used or pool.idle[0].started) < now - _IDLE_S:
                self._forget(pool.idle.popleft())

    def _provide(self, pool: Pool) -> None:
        """Open a connection if more requests wait than connections are being opened."""
        if (
            pool.waiting
            and len(pool.opening) < len(pool.waiting)
            and len(self._connections) < self._most_connections
        ):
            self._open(pool)

    def _on_event(self, connection: Connection, event: int) -> None:
        if not connection.ready and not connection.shaking:
            if event & ~_IN:  # another event was meant for the descriptor's last owner
                self._on_connect(connection)
            return
        was_ready = connection.ready
        try:
            if event & _OUT and connection.flush():
                self._epoll.modify(connection.fd, _IN)
            data = connection.receive() if event & ~_OUT else None
        except OSError as error:
            self._lost(connection, error)
            return
        if was_ready:
            if data is not None:
                self._on_data(connection, data)
        elif data == b"":
            self._lost(connection, ConnectionResetError(errno.ECONNRESET, "closed during the TLS handshake"))
        elif connection.ready:
            self._opened(connection)

    def _on_connect(self, connection: Connection) -> None:
        pool = connection.pool
        try:
            if not connection.connected():
                return
        except OSError as error:
            self._refused(connection, error)
            return
        pool.preferred = (pool.preferred + connection.tried) % len(pool.addresses)
        connection.tried = 0
        self._epoll.modify(connection.fd, _IN | _OUT if connection.unsent else _IN)
        if connection.ready:
            self._opened(connection)

    def _refused(self, connection: Connection, error: OSError) -> None:
        """An attempt to connect failed: the host may have another address."""
        pool = connection.pool
        del self._connections[connection.fd]
        pool.opening.pop(connection.fd, None)
        try:
            if not isinstance(error, ssl.SSLError) and connection.next_address():
                self._connections[connection.fd] = connection
                pool.opening[connection.fd] = connection
                self._epoll.register(connection.fd, _OUT)
                return
        except OSError as another:
            error = another
        connection.close()
        pool.total -= 1
        self._connect_failed(pool, error)
        self._provide(pool)

    def _opened(self, connection: Connection) -> None:
        connection.pool.opening.pop(connection.fd, None)
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        """Give a ready connection the request that waits longest, or keep it for later."""
        pool = connection.pool
        if not pool.waiting:
            pool.idle.append(connection)
            return
        _, exchange = pool.waiting.popitem(last=False)
        if not self._start(connection, exchange):
            self._wait_for_connection(exchange, first=True)

    def _on_data(self, connection: Connection, data: bytes) -> None:
        exchange, reader = connection.exchange, connection.reader
        if exchange is None:
            self._close_quiet(connection)  # the server ended an idle connection, or talks unasked
            return
        try:
            if data:
                if not reader.feed(data):
                    self._buffer(connection, len(data))
                    return
            else:
                reader.eof()
        except InvalidAnswerError as error:
            self._close_busy(connection)
            self._fail(exchange, "invalid", str(error))
            return
        except CutShortError as error:
            if reader.started:
                self._close_busy(connection)
                self._fail(exchange, "invalid", str(error))
            else:
                self._lost(connection, ConnectionResetError(errno.ECONNRESET, str(error)))
            return
        exchange.status, exchange.head, exchange.body = reader.status, reader.head, reader.body
        self._finish(exchange)
        if reader.keep_alive and connection.pool.keep_alive and data:
            connection.exchange = None
            connection.used = exchange.ended
            if connection.buffered:
                self._release(connection)
            self._next(connection)
        else:
            self._close_busy(connection)

    def _buffer(self, connection: Connection, size: int) -> None:
        """Account for a part of an answer; raises when all unfinished answers together are too much to keep."""
        connection.buffered += size
        self._buffered += size
        if self._buffered > _MOST_BUFFERED:
            raise InvalidAnswerError(f"answers under way hold more than {_MOST_BUFFERED} bytes")

    def _release(self, connection: Connection) -> None:
        self._buffered -= connection.buffered
        connection.buffered = 0

    def _lost(self, connection: Connection, error: OSError) -> None:
        """The connection is gone, with or without a request on it."""
        exchange, pool = connection.exchange, connection.pool
        if exchange is None:
            opening = not connection.ready
            self._close_quiet(connection)
            if opening:
                self._connect_failed(pool, error)
            return
        answering = connection.reader.started
        self._close_busy(connection)
        # A server may end an idle connection in the moment it is used again; that is no failure of the service.
        idle_for = exchange.due - connection.used if connection.used else 0.0
        if idle_for > _IDLE_SUSPECT_S and exchange.repeatable and not answering:
            self._meter.resent += 1
            exchange.connection = None
            exchange.repeatable = False
            self._wait_for_connection(exchange, first=True)
            return
        invalid = answering or isinstance(error, ssl.SSLError)
        self._fail(exchange, "invalid" if invalid else of_error(error.errno or 0), str(error))
