"""How many round trips one request of the app to Redis takes: what a crossing between zones is multiplied by."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshverdict.analysis.zones import ROUND_TRIPS

APP = Path(__file__).resolve().parents[2] / "app"
# Runs the app's own client against a port that passes everything on to Redis, and prints how often the client
# had to wait for an answer: once for TCP, and once for each piece that it sent.
COUNT = """
import socket, sys, threading
from settings import Settings
from timestore import TimeStore
redis, kind = int(sys.argv[1]), sys.argv[2]
waits = []
def serve(listener):
    while True:
        caller, _ = listener.accept()
        waits.append("tcp")
        called = socket.create_connection(("127.0.0.1", redis))
        threading.Thread(target=answer, args=(caller, called), daemon=True).start()
def answer(caller, called):
    with caller, called:
        while asked := caller.recv(65536):
            waits.append(asked)
            called.sendall(asked)
            caller.sendall(called.recv(65536))
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
store = TimeStore(Settings.from_env({"REDIS_ENDPOINT": "127.0.0.1", "REDIS_PORT": str(listener.getsockname()[1]),
                                     "REDIS_CONNECTION": kind}))
store.get()
before = len(waits)
store.get()
print(len(waits) - before)
"""


@pytest.mark.parametrize("kind", sorted(ROUND_TRIPS))
def test_formula_uses_the_real_number_of_round_trips(kind: str, redis_server: Any) -> None:
    """On a kept connection one; on a new one what TCP and the client library need before the question."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(redis_server.port), kind],
        env={**os.environ, "PYTHONPATH": str(APP)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == ROUND_TRIPS[kind]
