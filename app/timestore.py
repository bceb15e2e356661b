"""Why: Redis is the app's only dependency, and none of its failures may hold a thread.

redis-py has a timeout for each step (connect, each answer of the handshake, each command) and retries
on top of that. Here one deadline covers the name, the connection and every command of a request.
"""

from __future__ import annotations

import threading
import time
import zlib
from contextlib import contextmanager
from datetime import datetime
from queue import Queue
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from resolver import Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from settings import Settings

KEY = "time"


class Deadline(threading.local):
    """When the current thread's request must be done with Redis."""

    def __init__(self) -> None:
        self.at = float("inf")

    def remaining(self) -> float:
        """Seconds left.

        Raises:
            redis.TimeoutError: None are.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise redis.TimeoutError("time is up")
        return left


DEADLINE = Deadline()


class BoundedConnection(redis.Connection):
    """A connection whose every step ends by :data:`DEADLINE`.

    Args:
        resolver: Where the host's address comes from.
    """

    def __init__(self, *, resolver: Resolver, **options: object) -> None:
        super().__init__(**options)
        self._resolver = resolver

    def _connect(self):  # noqa: ANN202 - a socket; the library has no types
        self.host = self._resolver.address(DEADLINE.remaining())
        self.socket_connect_timeout = self.socket_timeout = DEADLINE.remaining()
        return super()._connect()

    def send_packed_command(self, *args: object, **options: object) -> None:
        """As the base class does, in the time left."""
        self._limit()
        super().send_packed_command(*args, **options)

    def read_response(self, *args: object, **options: object) -> object:
        """As the base class does, in the time left."""
        self._limit()
        return super().read_response(*args, **options)

    def _limit(self) -> None:
        try:
            left = DEADLINE.remaining()
        except redis.TimeoutError:
            # An answer may still be on its way: nobody else may get it.
            self.disconnect()
            raise
        if self._sock is not None:
            self._sock.settimeout(left)


class TimeStore:
    """The seed's one key in Redis, and one for each name that a caller asks by.

    Of several shards each key has one, by its checksum: every process finds the same. Where writes have an endpoint
    of their own, they are read back there: a replica may not have them yet.
    Every method raises ``redis.RedisError`` when Redis has not answered within the timeout.
    """

    def __init__(self, settings: Settings) -> None:
        read = settings.redis_endpoint.split(",")
        write = settings.redis_write_endpoint.split(",") if settings.redis_write_endpoint else read
        hosts = dict.fromkeys([*read, *write])
        self.name = " or ".join(f"{host.strip()}:{settings.redis_port}" for host in hosts)
        self._readers = [Server(settings, host.strip()) for host in read]
        self._writers = self._readers if write is read else [Server(settings, host.strip()) for host in write]

    def set_now(self, name: str = "") -> str:
        """Store the time of now; returns what Redis then holds."""
        key = _key(name)
        with _shard(self._writers, key).client() as client:
            client.set(key, str(datetime.now()))  # noqa: DTZ005 - the seed stores local time without a zone
            return str(client.get(key))

    def get(self, name: str = "") -> str:
        """What Redis holds, as the seed prints it: ``b'2019-12-28 20:06:33.919059'``, or ``None``."""
        key = _key(name)
        with _shard(self._readers, key).client() as client:
            return str(client.get(key))

    def reset(self, name: str = "") -> str:
        """Forget the time; returns what Redis then holds."""
        key = _key(name)
        with _shard(self._writers, key).client() as client:
            client.delete(key)
            return str(client.get(key))

    def ping(self) -> bool:
        """Whether Redis answers a PING: one of those that are read from.

        One shard's silence takes no app out of its Service: the others' keys are still to be had.
        """
        for server in self._readers[:-1]:
            try:
                with server.client(share=len(self._readers)) as client:
                    return bool(client.ping())
            except redis.RedisError:
                continue
        with self._readers[-1].client(share=len(self._readers)) as client:
            return bool(client.ping())


def _key(name: str) -> str:
    return f"{KEY}:{name}" if name else KEY


def _shard(servers: list[Server], key: str) -> Server:
    return servers[zlib.crc32(key.encode()) % len(servers)]


class Server:
    """One name under which Redis is reached, and the connections to it."""

    def __init__(self, settings: Settings, host: str) -> None:
        self._settings = settings
        self._resolver = Resolver(host)
        self._shared = self._pool() if settings.redis_connection == "pooled" else None

    @contextmanager
    def client(self, share: int = 1) -> Iterator[redis.Redis]:
        """A client for one request, whose commands share its deadline, or one of so many equal parts of it."""
        DEADLINE.at = time.monotonic() + self._settings.redis_timeout_s / share
        pool = self._shared or self._pool()
        try:
            yield redis.Redis(connection_pool=pool)
        except OSError as error:  # the resolver's, where the library did not wrap it
            raise redis.ConnectionError(str(error)) from error
        finally:
            DEADLINE.at = float("inf")
            if pool is not self._shared:
                pool.disconnect()

    def _pool(self) -> redis.ConnectionPool:
        options = {
            "connection_class": BoundedConnection,
            "resolver": self._resolver,
            "host": self._resolver.host,
            "port": self._settings.redis_port,
            "retry": Retry(NoBackoff(), 0),
        }
        size = self._settings.redis_pool
        if size and self._settings.redis_connection == "pooled":
            wait_s = self._settings.redis_timeout_s
            return redis.BlockingConnectionPool(
                max_connections=size, timeout=wait_s, queue_class=Queue, **options
            )
        return redis.ConnectionPool(**options)
