"""Real parts for the app's tests: a Redis and a gunicorn of their own, on loopback ports."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshverdict.runtime.images import Machine

APP = Path(__file__).resolve().parents[2] / "app"
START_S = 15.0


@dataclass(frozen=True)
class Answer:
    """What came back, and after how long."""

    status: int
    body: str
    seconds: float
    headers: dict[str, str]

    def json(self) -> dict[str, object]:
        """The body as JSON."""
        loaded: dict[str, object] = json.loads(self.body)
        return loaded


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_more: object) -> None:
        return None


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def get(port: int, path: str, timeout_s: float = 10.0) -> Answer:
    """One GET to a port of this machine."""
    begin = time.monotonic()
    try:
        with _OPENER.open(f"http://127.0.0.1:{port}{path}", timeout=timeout_s) as got:
            status, body, headers = got.status, got.read().decode(), dict(got.headers)
    except urllib.error.HTTPError as error:
        with error:
            status, body, headers = error.code, error.read().decode(), dict(error.headers)
    return Answer(status, body, time.monotonic() - begin, headers)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    return _free_port()


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, host: str = "127.0.0.1") -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}: {log.read_text()}")


@contextmanager
def running(argv: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block, even when it was stopped."""
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, cwd="/")
    try:
        yield process
    finally:
        for number in (signal.SIGCONT, signal.SIGTERM):
            if process.poll() is None:
                process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class RedisServer:
    """A Redis process."""

    port: int
    process: subprocess.Popen[bytes]
    host: str = "127.0.0.1"

    def command(self, *words: str) -> bytes:
        """Send one command, return the raw answer."""
        with socket.create_connection((self.host, self.port), timeout=5) as link:
            link.sendall((" ".join(words) + "\r\n").encode())
            return link.recv(65536)

    def calls(self) -> int:
        """How many commands it has processed."""
        found = re.search(rb"total_commands_processed:(\d+)", self.command("INFO", "stats"))
        assert found
        return int(found[1])


@contextmanager
def redis_on(port: int, tmp_path: Path, host: str = "127.0.0.1") -> Iterator[RedisServer]:
    """A Redis on *port* of a loopback address."""
    machine = Machine.here()
    program = shutil.which("redis-server", path=machine.path())
    assert program, "redis-server is missing: run `make setup`"
    argv = [program, "--port", str(port), "--bind", host, "--save", "", "--dir", str(tmp_path)]
    log = tmp_path / f"redis-{host}-{port}.log"
    with running(argv, machine.env(), log) as process:
        wait_for_port(port, process, log, host)
        yield RedisServer(port, process, host)


@pytest.fixture
def start_redis(tmp_path: Path) -> Callable[..., AbstractContextManager[RedisServer]]:
    """Start a Redis on a port, and loopback address, for the length of a with block."""
    return lambda port, host="127.0.0.1": redis_on(port, tmp_path, host)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that runs during the test."""
    with redis_on(_free_port(), tmp_path) as server:
        yield server


@dataclass
class App:
    """A gunicorn process with the app in it."""

    port: int
    metrics_port: int
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, timeout_s: float = 10.0) -> Answer:
        """One GET to the app."""
        return get(self.port, path, timeout_s)

    def metric(self, name: str) -> float:
        """The value of one metric, labels included in *name*."""
        for line in get(self.metrics_port, "/metrics").body.splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        raise AssertionError(f"no metric {name}")


Start = Callable[..., App]


@pytest.fixture
def start_app(tmp_path: Path) -> Iterator[Start]:
    """Start the app as its image does, with nothing in its environment but the settings: no HOME either."""
    with ExitStack() as stack:

        def start(**settings: object) -> App:
            port, metrics_port = _free_port(), _free_port()
            env = {"PATH": os.defpath, "PORT": str(port), "METRICS_PORT": str(metrics_port)}
            env |= {"PYTHONDONTWRITEBYTECODE": "1"} | {name: str(value) for name, value in settings.items()}
            log = tmp_path / f"app-{port}.log"
            argv = [sys.executable, "-m", "gunicorn", "-c", str(APP / "gunicorn.conf.py")]
            process = stack.enter_context(running(argv, env, log))
            wait_for_port(port, process, log)
            wait_for_port(metrics_port, process, log)
            return App(port, metrics_port, process, log)

        yield start
