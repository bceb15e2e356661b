"""The part of SPDY/3.1 that kubectl's port-forward speaks inside a websocket. Bytes in, frames out; no I/O.

kubectl opens two streams a connection, one for errors and one for data, and names them in SYN_STREAM's headers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_VERSION: Final = 0x8003
_FIN: Final = 1
_FRAME_LIMIT: Final = 1 << 20
_HEADERS_LIMIT: Final = 1 << 16

# The dictionary of the SPDY/3 draft: common header names with their lengths, then common values.
_NAMES: Final = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
]
_MORE: Final = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_TAIL: Final = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 "
    "Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 "
    "Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May "
    "Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,"
    "image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY: Final = (
    b"".join(struct.pack(">I", len(w)) + w.encode() for w in (*_NAMES, *_MORE)) + _TAIL.encode()
)


class SpdyError(Exception):
    """The peer does not speak what is understood here; the connection ends."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream."""

    stream: int
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; *end* closes the peer's half."""

    stream: int
    content: bytes
    end: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The peer gave a stream up."""

    stream: int


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes to send back at once (an answer to a ping)."""

    content: bytes


Happening = Opened | Data | Reset | Send


@dataclass(slots=True)
class Connection:
    """The state of one connection: buffered bytes and the header compressors."""

    _buffer: bytearray = field(default_factory=bytearray)
    _unpack: zlib._Decompress = field(default_factory=lambda: zlib.decompressobj(zdict=DICTIONARY))
    _pack: zlib._Compress = field(default_factory=lambda: zlib.compressobj(zdict=DICTIONARY))

    def feed(self, data: bytes) -> Iterator[Happening]:
        """What *data* completes.

        Raises:
            SpdyError: A frame that is too long or cannot be read.
        """
        self._buffer += data
        while len(self._buffer) >= 8:
            head, second = struct.unpack(">II", self._buffer[:8])
            length = second & 0xFFFFFF
            if length > _FRAME_LIMIT:
                raise SpdyError(f"a frame of {length} bytes")
            if len(self._buffer) < 8 + length:
                return
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            yield from self._frame(head, second >> 24, body)

    def _frame(self, head: int, flags: int, body: bytes) -> Iterator[Happening]:
        if not head >> 31:
            yield Data(head, body, bool(flags & _FIN))
            return
        kind = head & 0xFFFF
        if kind == _SYN_STREAM and len(body) >= 10:
            stream = struct.unpack(">I", body[:4])[0] & 0x7FFFFFFF
            yield Opened(stream, self._headers(body[10:]))
        elif kind == _RST_STREAM and len(body) >= 8:
            yield Reset(struct.unpack(">I", body[:4])[0] & 0x7FFFFFFF)
        elif kind == _PING:
            yield Send(_control(_PING, body))

    def _headers(self, packed: bytes) -> dict[str, str]:
        try:
            plain = self._unpack.decompress(packed, _HEADERS_LIMIT)
            count = struct.unpack_from(">I", plain)[0]
            position = 4
            found: dict[str, str] = {}
            for _ in range(count):
                name, position = _text(plain, position)
                value, position = _text(plain, position)
                found[name.lower()] = value
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise SpdyError(f"headers that cannot be read: {error}") from None
        return found

    def reply(self, stream: int) -> bytes:
        """SYN_REPLY without headers."""
        packed = self._pack.compress(struct.pack(">I", 0)) + self._pack.flush(zlib.Z_SYNC_FLUSH)
        return _control(_SYN_REPLY, struct.pack(">I", stream) + packed)


def _text(plain: bytes, position: int) -> tuple[str, int]:
    length = struct.unpack_from(">I", plain, position)[0]
    start = position + 4
    if start + length > len(plain):
        raise SpdyError("headers that end too early")
    return plain[start : start + length].decode(), start + length


def _control(kind: int, body: bytes) -> bytes:
    return struct.pack(">HHI", _VERSION, kind, len(body)) + body


def data(stream: int, content: bytes, *, end: bool = False) -> bytes:
    """A data frame."""
    return struct.pack(">II", stream, (_FIN if end else 0) << 24 | len(content)) + content
