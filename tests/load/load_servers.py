"""Small servers on 127.0.0.1 that behave well or badly, for the engine to talk to."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"time":"x"}'


@contextlib.contextmanager
def serve(handle: Callable[[socket.socket], None], *, backlog: int = 1024) -> Iterator[int]:
    """Run *handle* in a thread for each connection; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    over = threading.Event()
    open_now: set[socket.socket] = set()

    def one(connection: socket.socket) -> None:
        open_now.add(connection)
        with contextlib.suppress(OSError), connection:
            handle(connection)
        open_now.discard(connection)

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in list(open_now):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def requests(connection: socket.socket) -> Iterator[bytes]:
    """The heads of the requests on a connection, one after the other (bodies are read, and left out)."""
    buffer = b""
    while True:
        while b"\r\n\r\n" not in buffer:
            data = connection.recv(65536)
            if not data:
                return
            buffer += data
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: (\d+)", head)
        while size and len(buffer) < int(size[1]):
            buffer += connection.recv(65536)
        buffer = buffer[int(size[1]) :] if size else buffer
        yield head


def answering(answer: bytes = OK, delay: float = 0.0) -> Callable[[socket.socket], None]:
    """A server that gives every request the same answer."""

    def handle(connection: socket.socket) -> None:
        for _ in requests(connection):
            if delay:
                time.sleep(delay)
            connection.sendall(answer)

    return handle


def once(answer: bytes) -> Callable[[socket.socket], None]:
    """A server that gives one answer and closes."""

    def handle(connection: socket.socket) -> None:
        next(requests(connection), None)
        connection.sendall(answer)

    return handle


def endless(connection: socket.socket) -> None:
    """A body without end."""
    next(requests(connection), None)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def silent(connection: socket.socket) -> None:
    """Accepts, and never says a word."""
    connection.recv(1)
    time.sleep(60)
