"""The relay from a port of this machine to a Service: transparent, and it outlives what it leads to."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshverdict.runtime import relay
from meshverdict.runtime.relay import RelayClient


@contextmanager
def relayed() -> Iterator[tuple[RelayClient, int]]:
    """A relay process with one host port."""
    front = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = front.getsockname()[1]
    client = relay.start({"front": front}, [])
    try:
        yield client, port
    finally:
        client.close()
        os.waitpid(client.pid, 0)


@contextmanager
def backend() -> Iterator[socket.socket]:
    """A listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


def call(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5)


def received(sock: socket.socket) -> bytes:
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


def test_bytes_pass_unchanged_and_a_half_close_is_passed_on() -> None:
    """The server sees the client's end of file and can still answer, as HTTP/1.0 and redis clients do."""
    with relayed() as (client, port), backend() as server:
        client.point("front", server.getsockname())
        payload = os.urandom(3_000_000)
        with call(port) as caller:
            accepted, _ = server.accept()
            with accepted:
                writer = threading.Thread(
                    target=lambda: (caller.sendall(payload), caller.shutdown(socket.SHUT_WR))
                )
                writer.start()
                assert received(accepted) == payload
                writer.join()
                accepted.sendall(b"still here")
                accepted.close()
                assert received(caller) == b"still here"


def test_a_reset_behind_is_a_reset_in_front() -> None:
    """A crashed backend looks to the client as it would without the relay."""
    with relayed() as (client, port), backend() as server:
        client.point("front", server.getsockname())
        with call(port) as caller:
            accepted, _ = server.accept()
            accepted.recv(0)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            with pytest.raises(ConnectionResetError):
                caller.recv(1)


def test_connections_are_refused_while_there_is_no_target_and_work_when_there_is_one() -> None:
    """A lab without an ingress, then with one, then with another."""
    with relayed() as (client, port), backend() as first, backend() as second:
        with call(port) as caller, pytest.raises(ConnectionResetError):
            caller.recv(1)
        for server in (first, second):
            client.point("front", server.getsockname())
            for _ in range(50):  # the relay is told through a pipe: it takes a moment
                with call(port) as caller:
                    server.settimeout(0.1)
                    try:
                        accepted, _ = server.accept()
                    except TimeoutError:
                        continue
                    with accepted:
                        accepted.sendall(b"hello")
                    assert received(caller) == b"hello"
                    break
            else:
                pytest.fail("the relay never used its new target")


def test_it_survives_a_backend_that_is_away_for_a_while() -> None:
    """Nobody listens, then somebody does: the same relay serves."""
    with relayed() as (client, port):
        with backend() as gone:
            address = gone.getsockname()
        client.point("front", address)
        with call(port) as caller, pytest.raises(ConnectionResetError):
            caller.recv(1)
        with socket.create_server(address) as server, call(port) as caller:
            accepted, _ = server.accept()
            accepted.sendall(b"back")
            accepted.close()
            assert received(caller) == b"back"


def _send_until_blocked(sock: socket.socket) -> int:
    sent = 0
    try:
        while sent < 1 << 30:
            sent += sock.send(b"x" * 65536)
    except TimeoutError:
        return sent
    raise AssertionError("1 GiB went to a reader that reads nothing")


def test_a_slow_reader_does_not_fill_the_relay_s_memory() -> None:
    """What a client does not read is not read from the server either."""
    with relayed() as (client, port), backend() as server:
        client.point("front", server.getsockname())
        before = _anonymous_kib(client.pid)
        with call(port):
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(0.5)
                sent = _send_until_blocked(accepted)
                assert sent < 64 << 20
                grown = _anonymous_kib(client.pid) - before
                assert grown < 20_000, f"{grown} kB more"


def _anonymous_kib(pid: int) -> int:
    """Memory of a process's own. What it shares with the tests that it was forked from counts on both sides."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")))


def test_it_ends_with_its_supervisor() -> None:
    """The command socket is its life line."""
    front = socket.create_server(("127.0.0.1", 0))
    client = relay.start({"front": front}, [])
    watched = client.socket_for_watching()
    client.close()
    watched.close()
    _, status = os.waitpid(client.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


async def test_the_supervisor_sees_that_it_has_died() -> None:
    """The socket for watching is at its end when the relay is gone."""
    front = socket.create_server(("127.0.0.1", 0))
    client = relay.start({"front": front}, [])
    reader, writer = await asyncio.open_unix_connection(sock=client.socket_for_watching())
    os.kill(client.pid, 9)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()
    client.close()
    await asyncio.to_thread(os.waitpid, client.pid, 0)
