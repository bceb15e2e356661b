"""Messages with file descriptors over a Unix stream socket: what the supervisor, the spawner and the keeper speak.

A frame is a 4-byte length, a 1-byte count of descriptors, and JSON. Descriptors travel with the frame's
first byte. JSON and not pickle: the other side is less or more privileged, and must not run our objects.
"""

from __future__ import annotations

import array
import json
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEADER: Final = struct.Struct("!IB")
_MAX_FRAME: Final = 16 << 20
_MAX_FDS: Final = 64
_CHUNK: Final = 1 << 16

Message = dict[str, Any]


class ClosedError(Exception):
    """The other side has closed the socket."""


def encode(message: Message, count: int) -> bytes:
    """The bytes of a frame that *count* descriptors travel with."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > _MAX_FRAME:
        raise ValueError(f"a frame of {len(body)} bytes is longer than {_MAX_FRAME}")
    return _HEADER.pack(len(body), count) + body


def send_some(sock: socket.socket, data: bytes | memoryview, fds: Sequence[int]) -> int:
    """Send the start of *data*, with *fds* at its first byte; returns the number of bytes sent."""
    ancillary = []
    if fds:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    return sock.sendmsg([data], ancillary)


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one frame on a blocking socket."""
    data = encode(message, len(fds))
    sent = send_some(sock, data, fds)
    sock.sendall(data[sent:])


class Decoder:
    """Puts received bytes and descriptors together into frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._fds: deque[int] = deque()

    def receive(self, sock: socket.socket) -> None:
        """Take what the socket has now.

        Raises:
            ClosedError: The other side is gone.
            BlockingIOError: A non-blocking socket has nothing.
        """
        space = socket.CMSG_SPACE(_MAX_FDS * 4)
        data, ancillary, _flags, _address = sock.recvmsg(_CHUNK, space, socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                self._fds.extend(received)
        if not data:
            raise ClosedError
        self._bytes += data

    def frames(self) -> Iterator[tuple[Message, list[int]]]:
        """The complete frames so far; the taker owns the descriptors."""
        while len(self._bytes) >= _HEADER.size:
            length, count = _HEADER.unpack_from(self._bytes)
            end = _HEADER.size + length
            if len(self._bytes) < end:
                return
            message: Message = json.loads(bytes(self._bytes[_HEADER.size : end]))
            del self._bytes[:end]
            yield message, [self._fds.popleft() for _ in range(count)]
