"""The program inside prober pods, on this machine's loopback."""

import contextlib
import json
import queue
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from meshverdict.chaos import prober_program


@contextlib.contextmanager
def program(*targets):
    """The program as a process, with a queue of its lines."""
    argv = [sys.executable, "-u", "-c", Path(prober_program.__file__).read_text(), json.dumps(targets)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    lines = queue.Queue()

    def read():
        for text in process.stdout:
            lines.put(json.loads(text))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        process.kill()
        process.wait()
        thread.join()
        process.stdout.close()


def wait_for(lines, wanted, patience=5.0):
    """The first line that has all the wanted values."""
    deadline = time.monotonic() + patience
    while True:
        line = lines.get(timeout=max(0.01, deadline - time.monotonic()))
        if wanted.items() <= line.items():
            return line


@pytest.fixture
def server():
    """A listening socket and its address; accepts nothing, the kernel's queue is enough."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        yield listening, f"127.0.0.1:{listening.getsockname()[1]}"


def accept_all(listening):
    """Accept and drop connections until the socket closes."""
    with contextlib.suppress(OSError):
        while True:
            listening.accept()[0].close()


def test_change_is_dated_to_one_interval(server):
    """A port that closes is seen within a few intervals of the moment it closed."""
    listening, address = server
    threading.Thread(target=accept_all, args=(listening,), daemon=True).start()
    with program({"to": address, "every_ms": 5}) as lines:
        assert wait_for(lines, {"state": "open"})["why"] is None
        time.sleep(0.3)
        closed_at = time.time()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        change = wait_for(lines, {"state": "closed"})
    assert change["why"] in {"refused", "ECONNRESET"}
    assert -0.01 <= change["t"] - closed_at < 0.2
    assert 0 < change["t"] - change["until"] < 0.2


def test_attempts_are_counted_by_the_second(server):
    """About as many attempts as asked for, all open."""
    listening, address = server
    threading.Thread(target=accept_all, args=(listening,), daemon=True).start()
    with program({"to": address, "every_ms": 10}) as lines:
        wait_for(lines, {"to": address, "closed": 0})
        line = wait_for(lines, {"to": address, "closed": 0})
    assert 40 <= line["open"] <= 110


def test_connection_that_stays_open_shows_silence(server):
    """A peer that stops answering is told from one that answers."""
    listening, address = server
    answering = threading.Event()
    answering.set()

    def serve():
        with contextlib.suppress(OSError):
            while True:
                peer, _ = listening.accept()
                threading.Thread(target=answer, args=(peer,), daemon=True).start()

    def answer(peer):
        with peer, contextlib.suppress(OSError):
            while peer.recv(100):
                if answering.is_set():
                    peer.sendall(b"+PONG\r\n")

    threading.Thread(target=serve, daemon=True).start()
    with program({"to": address, "every_ms": 20, "talk": "PING\r\n"}) as lines:
        wait_for(lines, {"talk": "answered"})
        answering.clear()
        silent_at = time.time()
        line = wait_for(lines, {"talk": "silent"})
    assert abs(line["t"] - silent_at) < 0.3
