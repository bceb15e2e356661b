"""All connections of the engine: when to open one, what an event on one means, and when to close it."""

from __future__ import annotations

import errno
import ssl
from typing import TYPE_CHECKING

from meshverdict.load.connection import Connection
from meshverdict.load.http1 import AnswerReader, CutShortError, InvalidAnswerError
from meshverdict.load.outcomes import of_error

if TYPE_CHECKING:
    import select
    from collections.abc import Callable

    from meshverdict.load.exchange import Exchange
    from meshverdict.load.flight import Flight
    from meshverdict.load.meter import Meter
    from meshverdict.load.pool import Pool

# Event bits of epoll(7): gevent's patches hide the names.
IN, OUT = 1, 4
# A connection costs more than a request. Opened for every request that finds none free, they would make the delay
# that they should end: so, beyond a few, only for requests that have waited, and not too many at once.
_FEW = 64
_PATIENCE_S = 0.0005
_OPENING = 16
_IDLE_SUSPECT_S = 1.0
_IDLE_S = 60.0
_MOST_BUFFERED = 256_000_000
# What this machine has no more of says nothing about the service: files, ports, memory.
_OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}


class Connections:
    """The connections of one engine, to all origins.

    Args:
        epoll: Where they are registered.
        meter: Counts what is opened, held back, sent again.
        flight: Told of requests that end.
        most: Connections open at the same time at most.
        largest_body: Bytes of an answer's body that are read at most.
        clock: Steady clock in seconds.

    Attributes:
        late: Whether the engine itself is behind: requests that wait are then no sign of a slow service.
    """

    def __init__(
        self,
        epoll: select.epoll,
        meter: Meter,
        flight: Flight,
        *,
        most: int,
        largest_body: int,
        clock: Callable[[], float],
    ) -> None:
        self.late = False
        self._epoll = epoll
        self._meter = meter
        self._flight = flight
        self._most = most
        self._largest_body = largest_body
        self._clock = clock
        self._open_ones: dict[int, Connection] = {}
        self._pools: set[Pool] = set()
        self._buffered = 0

    def __len__(self) -> int:
        return len(self._open_ones)

    def close(self) -> None:
        """Close them all."""
        for connection in self._open_ones.values():
            connection.close()
        self._open_ones.clear()

    # --- requests ---

    def send(self, exchange: Exchange) -> None:
        """Send a request on an idle connection, or as soon as there is one."""
        idle = exchange.pool.idle
        while idle:
            if self._start(idle.pop(), exchange):
                return
        self._wait_for_connection(exchange)

    def _wait_for_connection(self, exchange: Exchange, *, first: bool = False) -> None:
        pool = exchange.pool
        pool.waiting[id(exchange)] = exchange
        if first:
            pool.waiting.move_to_end(id(exchange), last=False)
        # One more connection, now or after some patience: see _FEW.
        if (
            pool.total < _FEW
            or not pool.keep_alive
            or (not self.late and exchange.due - next(iter(pool.waiting.values())).due > _PATIENCE_S)
        ):
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
            self._flight.fail(exchange, of_error(error.errno or 0), str(error))
            return True
        if not exchange.sent:
            exchange.sent = True
            self._meter.sent += 1
        if not whole:
            self._epoll.modify(connection.fd, IN | OUT)
        return True

    def give_up(self, exchange: Exchange) -> None:
        """A request's time is over."""
        connection, pool = exchange.connection, exchange.pool
        if connection is not None:
            self._close_busy(connection)
            self._flight.fail(exchange, "timeout", f"no answer within {exchange.timeout:g} s")
            return
        pool.waiting.pop(id(exchange), None)
        # As many attempts as requests that wait: the oldest attempt is the one that hangs.
        if len(pool.opening) > len(pool.waiting):
            self._close_quiet(next(iter(pool.opening.values())))
        self._flight.fail(exchange, "timeout", f"no connection within {exchange.timeout:g} s")

    def provide(self) -> None:
        """Open a connection for each origin whose requests have been waiting."""
        for pool in () if self.late else self._pools:
            self._provide(pool)

    def retire(self, now: float) -> None:
        """Close connections that nobody has needed for long."""
        for pool in self._pools:
            while pool.idle and (pool.idle[0].used or pool.idle[0].started) < now - _IDLE_S:
                self._forget(pool.idle.popleft())

    # --- events ---

    def on_event(self, fd: int, event: int) -> None:
        """Something happened to the connection with that descriptor."""
        connection = self._open_ones.get(fd)
        if connection is None:
            return
        if not connection.ready and not connection.shaking:
            if event & ~IN:  # another event was meant for the descriptor's last owner
                self._on_connect(connection)
            return
        was_ready = connection.ready
        try:
            if event & OUT and connection.flush():
                self._epoll.modify(connection.fd, IN)
            data = connection.receive() if event & ~OUT else None
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
        self._epoll.modify(connection.fd, IN | OUT if connection.unsent else IN)
        if connection.ready:
            self._opened(connection)

    def _refused(self, connection: Connection, error: OSError) -> None:
        """An attempt to connect failed: the host may have another address."""
        pool = connection.pool
        del self._open_ones[connection.fd]
        pool.opening.pop(connection.fd, None)
        try:
            if not isinstance(error, ssl.SSLError) and connection.next_address():
                self._open_ones[connection.fd] = connection
                pool.opening[connection.fd] = connection
                self._epoll.register(connection.fd, OUT)
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
            self._flight.fail(exchange, "invalid", str(error))
            return
        except CutShortError as error:
            if reader.started:
                self._close_busy(connection)
                self._flight.fail(exchange, "invalid", str(error))
            else:
                self._lost(connection, ConnectionResetError(errno.ECONNRESET, str(error)))
            return
        exchange.status, exchange.head, exchange.body = reader.status, reader.head, reader.body
        self._flight.finish(exchange)
        # An answer may come before all of the request is sent: what is left of it is nobody's next request.
        if reader.keep_alive and connection.pool.keep_alive and data and not connection.unsent:
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
            opening = connection.fd in pool.opening
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
        self._flight.fail(exchange, "invalid" if invalid else of_error(error.errno or 0), str(error))

    # --- opening and closing ---

    def _open(self, pool: Pool) -> None:
        if len(self._open_ones) >= self._most:
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
        self._open_ones[connection.fd] = connection
        self._epoll.register(connection.fd, OUT)

    def _connect_failed(self, pool: Pool, error: Exception) -> None:
        """One attempt failed: so does the request that waits longest."""
        if isinstance(error, OSError) and not isinstance(error, ssl.SSLError):
            if error.errno in _OWN_LIMITS:
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    self._most = max(1, len(self._open_ones))
                self._meter.held += 1
                return
            outcome = of_error(error.errno or 0)
            outcome = "refused" if outcome == "invalid" else outcome
        else:
            outcome = "invalid"
        if pool.waiting:
            _, exchange = pool.waiting.popitem(last=False)
            self._flight.fail(exchange, outcome, str(error))

    def _forget(self, connection: Connection) -> None:
        self._release(connection)
        del self._open_ones[connection.fd]
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
        if connection in connection.pool.idle:  # not while it is opening, although TLS may call it ready
            connection.pool.idle.remove(connection)
        self._forget(connection)

    def _provide(self, pool: Pool) -> None:
        """Open a connection if more requests wait than connections are being opened."""
        if pool.waiting and len(pool.opening) < len(pool.waiting):
            self._open(pool)
