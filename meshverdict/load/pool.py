"""The connections to one origin (scheme, host, port), and the requests that wait for one."""

from __future__ import annotations

import _socket
from collections import OrderedDict, deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from meshverdict.model.errors import UsageError

if TYPE_CHECKING:
    import ssl

    from meshverdict.load.connection import Connection
    from meshverdict.load.exchange import Exchange

Address = tuple[int, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]


class Pool:
    """What the engine knows of one origin.

    Attributes:
        addresses: Where it may be: family and address, tried in turn from *preferred* on.
        idle: Connections that wait for a request, the last used at the end: it is taken first, and stays warm.
        opening: Connections that are not ready yet, oldest first.
        waiting: Requests that wait for a connection.
        total: Connections of any state.
        keep_alive: Whether a connection carries more than one request.
    """

    def __init__(
        self, host: str, port: int, addresses: list[Address], tls: ssl.SSLContext | None, *, keep_alive: bool
    ) -> None:
        self.host = host
        self.port = port
        self.addresses = addresses
        self.preferred = 0
        self.tls = tls
        self.keep_alive = keep_alive
        self.total = 0
        self.idle: deque[Connection] = deque()
        self.opening: OrderedDict[int, Connection] = OrderedDict()
        self.waiting: OrderedDict[int, Exchange] = OrderedDict()


def split_origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL.

    Raises:
        UsageError: It is no http or https URL with a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--host {url}: {error}") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"--host {url!r}: expected http://HOST[:PORT] or https://HOST[:PORT]")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80)


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host; blocks until the resolver has answered.

    Raises:
        UsageError: It has none.
    """
    try:
        found = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(
            f"host {host}: {error.strerror or error}; check the name, or give an address"
        ) from error
    addresses: list[Address] = []
    for family, _kind, _protocol, _name, address in found:
        if (family, address) not in addresses:
            addresses.append((family, address))
    return addresses
