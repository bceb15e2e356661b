"""One connection of the engine: a socket that never blocks, with or without TLS, and the answer it waits for."""

from __future__ import annotations

import _socket
import errno
import os
import ssl
from typing import TYPE_CHECKING

from meshverdict.load.http1 import AnswerReader

if TYPE_CHECKING:
    from meshverdict.load.exchange import Exchange
    from meshverdict.load.pool import Pool

_READ = 65_536
_WAIT = (errno.EAGAIN, errno.EINPROGRESS, errno.EWOULDBLOCK)


class Connection:
    """A connection of one pool.

    The socket is the interpreter's own (``_socket``): Locust replaces the ``socket`` module's with one that belongs
    to its event loop.

    Attributes:
        fd: File descriptor.
        exchange: What it is busy with; None when idle.
        ready: Whether it is connected (and, with TLS, shaken hands).
        used: When the last answer was complete, seconds of the steady clock; 0 when it never carried one.
        buffered: Bytes of an unfinished answer.
        unsent: Bytes that the kernel did not take yet.
    """

    __slots__ = ("_in", "_out", "_recv", "_send", "_socket", "_tls", "buffered", "exchange", "fd", "pool", "reader", "ready",
                 "started", "tried", "unsent", "used")  # fmt: skip

    def __init__(self, pool: Pool, now: float) -> None:
        self.pool = pool
        self.exchange: Exchange | None = None
        self.reader: AnswerReader = AnswerReader()
        self.ready = False
        self.used = 0.0
        self.started = now
        self.tried = 0
        self.buffered = 0
        self.unsent = b""
        self._tls: ssl.SSLObject | None = None
        self._in = self._out = None  # type: ssl.MemoryBIO | None
        self._open()

    def _open(self) -> None:
        family, address = self.pool.addresses[(self.pool.preferred + self.tried) % len(self.pool.addresses)]
        self._socket = _socket.socket(
            family, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC, 0
        )
        self.fd = self._socket.fileno()
        self._send = self._socket.send
        self._recv = self._socket.recv
        try:
            self._socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            code = self._socket.connect_ex(address)
            if code not in {0, *_WAIT}:
                raise OSError(code, os.strerror(code))  # noqa: TRY301  # closed like any other failure
        except OSError:
            self._socket.close()
            raise

    def connected(self) -> bool:
        """Whether the socket is connected, now that it seems writable; starts TLS.

        Raises:
            OSError: It was refused.
            ssl.SSLError: The TLS handshake failed.
        """
        code = self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        try:
            self._socket.getpeername()
        except OSError:
            return False  # the event was for a socket that had this number before
        if self.pool.tls is None:
            self.ready = True
            return True
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self.pool.tls.wrap_bio(self._in, self._out, server_hostname=self.pool.host)
        self.shake()
        return True

    def shake(self) -> bool:
        """Go on with the TLS handshake; whether it is done."""
        assert self._tls is not None  # noqa: S101  # only called with TLS
        try:
            self._tls.do_handshake()
            self.ready = True
        except ssl.SSLWantReadError:
            pass
        self._push()
        return self.ready

    @property
    def shaking(self) -> bool:
        """Whether a TLS handshake is under way."""
        return self._tls is not None and not self.ready

    def next_address(self) -> bool:
        """After a refusal: try the host's next address; False when there is none left."""
        self._socket.close()
        self.tried += 1
        if self.tried >= len(self.pool.addresses):
            return False
        self._open()
        return True

    def send(self, data: bytes) -> bool:
        """Send *data*; False when the kernel did not take all of it, so that `flush` has to go on.

        Raises:
            OSError: The connection is gone.
        """
        if self._tls is not None:
            self._tls.write(data)
            return self._push()
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        if sent == len(data):
            return True
        self.unsent += data[sent:]
        return False

    def flush(self) -> bool:
        """Go on with what was left; whether all is sent."""
        data, self.unsent = self.unsent, b""
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        self.unsent = data[sent:]
        return not self.unsent

    def _push(self) -> bool:
        assert self._out is not None  # noqa: S101  # only called with TLS
        self.unsent += self._out.read()
        return self.flush() if self.unsent else True

    def receive(self) -> bytes | None:
        """What has come: bytes, ``b""`` at the end, None when nothing is there yet.

        Raises:
            OSError: The connection is gone.
            ssl.SSLError: It is no TLS.
        """
        try:
            data = self._recv(_READ)
        except BlockingIOError:
            return None
        if self._tls is None:
            return data
        assert self._in is not None  # noqa: S101  # only with TLS
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()
        if not self.ready:
            if not data:
                return b""
            return None if not self.shake() else self._decrypt()
        return self._decrypt()

    def _decrypt(self) -> bytes | None:
        assert self._tls is not None  # noqa: S101  # only called with TLS
        pieces: list[bytes] = []
        while True:
            try:
                piece = self._tls.read(_READ)
            except ssl.SSLWantReadError:
                return b"".join(pieces) if pieces else None
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                piece = b""
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
