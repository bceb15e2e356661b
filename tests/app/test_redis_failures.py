"""What callers and probes see when Redis is away, silent or slow."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import contextmanager

import pytest

TIMEOUT_S = 0.5
SLACK_S = 0.4


@pytest.fixture(params=["pooled", "fresh"])
def connection(request):
    return request.param


def test_refused(start_app, free_port, connection):
    """Nobody listens: 503 at once, with a JSON error that names Redis; /version still answers."""
    app = start_app(
        REDIS_ENDPOINT="127.0.0.1",
        REDIS_PORT=free_port,
        REDIS_TIMEOUT_S=TIMEOUT_S,
        REDIS_CONNECTION=connection,
    )
    for path in ("/get", "/set", "/reset"):
        answer = app.get(path)
        assert answer.status == 503
        assert f"redis 127.0.0.1:{free_port}" in str(answer.json()["error"])
        assert answer.seconds < TIMEOUT_S + SLACK_S
    assert app.get("/version").status == 200


def test_stopped_and_continued(start_app, redis_server, connection):
    """A Redis that is stopped costs a request its timeout and no more; when it goes on, so does the app."""
    app = start_app(
        REDIS_ENDPOINT="127.0.0.1",
        REDIS_PORT=redis_server.port,
        REDIS_TIMEOUT_S=TIMEOUT_S,
        REDIS_CONNECTION=connection,
    )
    stored = app.get("/set").json()
    redis_server.process.send_signal(signal.SIGSTOP)
    for path in ("/get", "/set", "/readyz"):
        answer = app.get(path)
        assert answer.status == 503
        assert TIMEOUT_S - 0.05 <= answer.seconds < TIMEOUT_S + SLACK_S
    redis_server.process.send_signal(signal.SIGCONT)
    time.sleep(0.2)  # Redis first works off what the requests had left it, the /set among it
    answer = app.get("/get")
    assert answer.status == 200
    assert str(answer.json()["time"]) >= str(stored["time"])


def test_no_answer_reaches_the_wrong_request(start_app, redis_server):
    """An answer that comes after its request gave up is thrown away: the next request gets its own."""
    app = start_app(
        REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port, REDIS_TIMEOUT_S=TIMEOUT_S, THREADS=1
    )
    app.get("/set")
    redis_server.command("CLIENT", "PAUSE", "800", "ALL")
    assert app.get("/readyz").status == 503  # its PONG comes 0.3 s later
    time.sleep(0.6)
    assert "time" in app.get("/get").json()
    assert app.get("/readyz").json() == {"ping": True}


def test_restarted(start_app, start_redis, free_port):
    """A Redis that was started anew is used at once: no request pays for the connections of before."""
    app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=free_port, REDIS_TIMEOUT_S=TIMEOUT_S)
    with start_redis(free_port):
        assert app.get("/set").status == 200
    assert app.get("/get").status == 503
    with start_redis(free_port):
        assert [app.get("/get").status for _ in range(5)] == [200] * 5


def test_one_deadline_for_all_steps(start_app, redis_server):
    """Answers that are each within the timeout, and together are not, give 503 on time."""
    with slow_relay(redis_server.port, TIMEOUT_S * 0.6) as port:
        app = start_app(
            REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=port, REDIS_TIMEOUT_S=TIMEOUT_S, REDIS_CONNECTION="fresh"
        )
        for path in ("/get", "/set"):
            answer = app.get(path)
            assert answer.status == 503
            assert answer.seconds < TIMEOUT_S + SLACK_S


@contextmanager
def slow_relay(port, delay_s):
    """A port that leads to *port*, each answer held back for *delay_s*."""

    def relay(near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            try:
                while words := near.recv(4096):
                    far.sendall(words)
                    answer = far.recv(4096)
                    time.sleep(delay_s)
                    near.sendall(answer)
            except OSError:
                return  # the app hung up

    def accept(listener: socket.socket) -> None:
        try:
            while True:
                link, _ = listener.accept()
                threading.Thread(target=relay, args=(link,), daemon=True).start()
        except OSError:
            return  # closed by the test

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def test_unknown_name(start_app):
    """A name that nobody knows gives 503 within the timeout, however long the name server takes."""
    app = start_app(REDIS_ENDPOINT="redis.invalid", REDIS_TIMEOUT_S=TIMEOUT_S)
    answer = app.get("/get")
    assert answer.status == 503
    assert "redis.invalid" in str(answer.json()["error"])
    assert answer.seconds < TIMEOUT_S + SLACK_S


@pytest.mark.parametrize(("health", "status"), [("strict", 503), ("seed", 200)])
def test_health_switch(start_app, free_port, health, status):
    """Without Redis both health checks say {"ping": "FAIL"}: strict with 503, as the seed with 200."""
    app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=free_port, HEALTH=health)
    for path in ("/healthz", "/readyz"):
        answer = app.get(path)
        assert (answer.status, answer.body) == (status, '{"ping": "FAIL"}')


def test_no_thread_is_lost(start_app, redis_server):
    """After 40 requests to a stopped Redis with 4 threads, no thread is busy and none waits."""
    app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port, REDIS_TIMEOUT_S=0.1, THREADS=4)
    redis_server.process.send_signal(signal.SIGSTOP)
    callers = [threading.Thread(target=app.get, args=("/get",)) for _ in range(40)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(20)
    assert app.metric("app_busy_threads") == 0
    assert app.metric('app_queued_connections{where="worker"}') == 0
    redis_server.process.send_signal(signal.SIGCONT)
    assert app.get("/get").status == 200
