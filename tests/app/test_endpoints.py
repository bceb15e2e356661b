"""The seed's endpoints, as its clients see them."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time

import pytest

TIME = re.compile(r"b'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}'")


@pytest.mark.parametrize("connection", ["pooled", "fresh"])
def test_set_get_reset(start_app, redis_server, connection):
    """/set stores the time and answers what Redis then holds, /get answers the same, /reset forgets it."""
    app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port, REDIS_CONNECTION=connection)
    assert app.get("/get").json() == {"time": "None"}
    stored = app.get("/set")
    assert stored.status == 200
    assert stored.headers["Content-Type"] == "application/json"
    assert list(stored.json()) == ["time"]
    assert TIME.fullmatch(str(stored.json()["time"]))
    assert app.get("/get").body == stored.body
    assert stored.body.startswith('{"time": "b\'')
    assert app.get("/reset").json() == {"time": "None"}
    assert app.get("/get").json() == {"time": "None"}


def test_other_endpoints(start_app, redis_server):
    """/ leads to /get, /version tells 1.1.1, both health checks answer {"ping": true}, the rest is 404."""
    app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port)
    root = app.get("/")
    assert (root.status, root.headers["Location"]) == (302, "/get")
    assert app.get("/version").body == '{"version": "1.1.1"}'
    assert app.get("/healthz").body == '{"ping": true}'
    assert app.get("/readyz").body == '{"ping": true}'
    assert app.get("/nothing").status == 404


def test_pooled_is_one_round_trip_and_fresh_is_more(start_app, redis_server):
    """Pooled: /get is one command to Redis. Fresh: each request also greets Redis anew."""
    sent = {}
    for connection in ("pooled", "fresh"):
        app = start_app(
            REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port, REDIS_CONNECTION=connection, THREADS=1
        )
        app.get("/get")
        before = redis_server.calls()
        for _ in range(10):
            assert app.get("/get").status == 200
        sent[connection] = redis_server.calls() - before - 1  # the INFO itself
    assert sent["pooled"] == 10
    assert sent["fresh"] >= 20


def test_a_pool_of_a_size_uses_its_connections_in_turn(start_app, redis_server):
    """REDIS_POOL=5: one client that asks ten times has opened five connections, and not one as by default."""
    opened = {}
    for size in (0, 5):
        app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port, REDIS_POOL=size, THREADS=2)
        for _ in range(10):
            assert app.get("/get").status == 200
        opened[size] = redis_server.command("CLIENT", "LIST", "TYPE", "normal").count(b" cmd=get ")
    assert opened == {0: 1, 5: 6}


def test_artificial_work(start_app, redis_server):
    """WORK_MS delays /get, and not /version; `cpu` spends the time computing, `sleep` does not."""
    used = {}
    for kind in ("sleep", "cpu"):
        app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port, WORK_MS=300, WORK_KIND=kind)
        before = app.metric("process_cpu_seconds_total")
        assert app.get("/get").seconds >= 0.3
        used[kind] = app.metric("process_cpu_seconds_total") - before
        assert app.get("/version").seconds < 0.25
    assert used["sleep"] < 0.15
    assert used["cpu"] > 0.25


def pass_on(listener, port):
    """Everything that is said to *listener*, to a port of this machine and back, until nobody listens."""

    def pump(source, sink):
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(65536):
                sink.sendall(data)

    with contextlib.suppress(OSError):
        while True:
            caller, _ = listener.accept()
            called = socket.create_connection(("127.0.0.1", port))
            for pair in ((caller, called.dup()), (called, caller.dup())):
                threading.Thread(target=pump, args=pair, daemon=True).start()


@pytest.mark.parametrize("connection", ["pooled", "fresh"])
def test_writes_go_to_their_own_endpoint(start_app, redis_server, start_redis, free_port, connection):
    """/set and /reset ask the primary and answer what it holds; /get asks the replica, which has it soon after."""
    # The endpoints share a port number, so the primary answers at an address of its own.
    with start_redis(free_port) as replica, socket.create_server(("127.0.0.2", free_port)) as primary:
        threading.Thread(target=pass_on, args=(primary, redis_server.port), daemon=True).start()
        replica.command("REPLICAOF", "127.0.0.1", str(redis_server.port))
        shared = {"REDIS_PORT": free_port, "REDIS_CONNECTION": connection, "REDIS_ENDPOINT": "127.0.0.1"}
        assert start_app(**shared).get("/set").status == 503, "a replica refuses writes"
        app = start_app(**shared, REDIS_WRITE_ENDPOINT="127.0.0.2")
        stored = app.get("/set")
        assert stored.status == 200
        deadline = time.monotonic() + 10
        while (read := app.get("/get")).body != stored.body and time.monotonic() < deadline:
            time.sleep(0.05)
        assert read.body == stored.body
        assert app.get("/reset").json() == {"time": "None"}
        primary.shutdown(socket.SHUT_RDWR)
