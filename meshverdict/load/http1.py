"""HTTP/1.1 as a client needs it: build a request, read an answer from whatever pieces it comes in. Pure."""

from __future__ import annotations

import re
import zlib
from urllib.parse import quote

MOST_HEADER_BYTES = 65_536
MOST_BODY_BYTES = 10_000_000
_SAFE = "/?:@!$&'()*+,;=~-._%[]#"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_AFTER_STATUS = (b" ", b"\r", b"")
_NO_BODY = frozenset({204, 304})


class InvalidAnswerError(Exception):
    """What came back is not HTTP, or more than the reader takes."""


class CutShortError(Exception):
    """The connection ended in the middle of an answer."""


def build_request(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """The bytes of a request.

    Raises:
        ValueError: A method, header name or value that would break out of its place.
    """
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"method {method!r}: letters only")
    lines = [f"{method} {quote(target, safe=_SAFE)} HTTP/1.1"]
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or "\r" in value or "\n" in value or "\0" in value:
            raise ValueError(f"header {name!r}: {value!r} cannot be sent")
        lines.append(f"{name}: {value}")
    if (body or method in {"POST", "PUT", "PATCH"}) and not any(
        n.lower() == "content-length" for n in headers
    ):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class AnswerReader:
    """Reads one answer; made anew for each.

    Args:
        head_only: The answer to a HEAD request, which has no body whatever its headers say.
        most: Largest body, in bytes.

    Attributes:
        status: The status, once the head is there; 0 before.
        head: The raw head, without the empty line.
        body: The body so far.
        keep_alive: Whether the connection can take another request afterwards.
        started: Whether any byte came.
    """

    __slots__ = (
        "_buffer",
        "_left",
        "_mode",
        "_most",
        "_no_body",
        "body",
        "head",
        "keep_alive",
        "started",
        "status",
    )

    def __init__(self, *, head_only: bool = False, most: int = 10_000_000) -> None:
        self.status = 0
        self.head = b""
        self.body: bytes | bytearray = b""
        self.keep_alive = True
        self.started = False
        self._buffer: bytes | bytearray = b""
        self._left = 0
        self._mode = "head"
        self._most = most
        self._no_body = head_only

    def feed(self, data: bytes) -> bool:
        """Take what came; True when the answer is complete.

        Raises:
            InvalidAnswerError: Not HTTP, or too large.
        """
        if self._mode == "head":
            if self._buffer:
                data = bytes(self._buffer) + data
            self.started = True
            while (end := data.find(b"\r\n\r\n")) >= 0:
                over = self._take_head(data, end)
                if over is not None:
                    return over
                data = data[end + 4 :]  # an interim answer: the final one follows
            if len(data) > MOST_HEADER_BYTES:
                raise InvalidAnswerError(f"headers of more than {MOST_HEADER_BYTES} bytes")
            if not data.startswith(b"HTTP/1."[: len(data)]):
                raise InvalidAnswerError(f"not HTTP/1: {data[:40]!r}")
            self._buffer = data
            return False
        return self._take_body(data)

    def _take_head(self, data: bytes, end: int) -> bool | None:
        """Take the head; whether that is all of the answer, None for an interim one."""
        head = data[:end]
        digits = head[9:12]
        if (
            head[:7] != b"HTTP/1."
            or not digits.isdigit()
            or head[8:9] != b" "
            or head[12:13] not in _AFTER_STATUS
        ):
            raise InvalidAnswerError(f"not HTTP/1: {head[:40]!r}")
        status = int(digits)
        if status < 200:
            if status == 101 or status < 100:
                raise InvalidAnswerError(f"status {status} was not asked for")
            return None
        self._buffer = b""
        self.status, self.head = status, head
        fields = head.lower()
        self.keep_alive = head[7:8] == b"1"
        at = fields.find(b"\r\nconnection:")
        if at >= 0:
            value = fields[at + 13 : _line_end(fields, at + 13)]
            self.keep_alive = b"close" not in value and (self.keep_alive or b"keep-alive" in value)
        rest = data[end + 4 :]
        if self._no_body or status in _NO_BODY:
            return self._over(rest)
        at = fields.find(b"\r\ntransfer-encoding:")
        if at >= 0:
            if not fields[at + 20 : _line_end(fields, at + 20)].strip().endswith(b"chunked"):
                raise InvalidAnswerError("a transfer coding other than chunked")
            self._mode, self.body = "size", bytearray()
            return self._take_body(rest)
        at = fields.find(b"\r\ncontent-length:")
        if at >= 0:
            return self._take_sized(rest, fields, at)
        self._mode, self.body, self.keep_alive = "close", bytearray(), False
        return self._take_body(rest)

    def _take_sized(self, rest: bytes, fields: bytes, at: int) -> bool:
        text = fields[at + 17 : _line_end(fields, at + 17)].strip()
        if not text.isdigit() or len(text) > 15:
            raise InvalidAnswerError(f"content-length {text[:40]!r}")
        again = fields.find(b"\r\ncontent-length:", at + 17)
        if again >= 0 and fields[again + 17 : _line_end(fields, again + 17)].strip() != text:
            raise InvalidAnswerError("two content-lengths that differ")
        size = int(text)
        if size > self._most:
            raise InvalidAnswerError(f"a body of {size} bytes; at most {self._most} are read")
        if len(rest) == size:
            self.body = rest
            return True
        if len(rest) > size:
            self.body = rest[:size]
            return self._over(rest[size:])
        self._mode, self._left, self.body = "sized", size - len(rest), bytearray(rest)
        return False

    def _take_body(self, data: bytes) -> bool:
        body = self.body
        assert isinstance(body, bytearray)  # noqa: S101  # set when the head was read
        if self._mode == "sized":
            body += data[: self._left]
            extra = data[self._left :]
            self._left -= len(data) - len(extra)
            return self._over(extra) if not self._left else False
        if self._mode == "close":
            body += data
            if len(body) > self._most:
                raise InvalidAnswerError(f"a body without end: more than {self._most} bytes")
            return False
        return self._take_chunks(bytes(self._buffer) + data, body)

    def _take_chunks(self, data: bytes, body: bytearray) -> bool:
        at = 0
        while True:
            if self._mode == "chunk":
                piece = data[at : at + self._left]
                body += piece
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    self._buffer = b""
                    return False
                if len(data) < at + 2:
                    break
                if data[at : at + 2] != b"\r\n":
                    raise InvalidAnswerError("a chunk is longer than it says")
                self._mode, at = "size", at + 2
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > MOST_HEADER_BYTES:
                    raise InvalidAnswerError("a chunk's size without end")
                break
            line, at = data[at:end], end + 2
            if self._mode == "trailer":
                if not line:
                    return self._over(data[at:])
                continue
            size = line.partition(b";")[0].strip()
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,12}", size):
                raise InvalidAnswerError(f"chunk size {line[:40]!r}")
            self._left = int(size, 16)
            if len(body) + self._left > self._most:
                raise InvalidAnswerError(f"a body without end: more than {self._most} bytes")
            self._mode = "chunk" if self._left else "trailer"
        self._buffer = data[at:]
        return False

    def _over(self, extra: bytes) -> bool:
        # Bytes that nobody asked for make the next answer a guess.
        if extra:
            self.keep_alive = False
        return True

    def eof(self) -> None:
        """The connection ended; returns when that was the answer's end.

        Raises:
            CutShortError: It was not.
        """
        if self._mode != "close":
            raise CutShortError("cut in the middle" if self.started else "closed without an answer")


def _line_end(fields: bytes, start: int) -> int:
    end = fields.find(b"\r\n", start)
    return len(fields) if end < 0 else end


def parse_headers(head: bytes) -> dict[str, str]:
    """The header fields of a raw head, names in lower case; repeated fields are joined by a comma."""
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        key, text = name.strip().lower(), value.strip()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def decode_body(body: bytes, encoding: str, most: int = MOST_BODY_BYTES) -> bytes:
    """A body without its content encoding; one that is not known is left as it is.

    Raises:
        ValueError: It is not what it says, or more than *most* bytes come out of it.
    """
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        return body
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = decoder.decompress(body, most)
    except zlib.error as error:
        raise ValueError(f"the body is not {encoding}: {error}") from error
    if decoder.unconsumed_tail:
        raise ValueError(f"a {encoding} body of {len(body)} bytes that unpacks to more than {most}")
    if not decoder.eof:
        raise ValueError(f"the {encoding} body is cut in the middle")
    return plain
