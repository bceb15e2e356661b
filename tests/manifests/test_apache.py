"""Apache with the lab's configuration, real, between two backends on loopback."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from meshverdict.runtime.images import Machine

APP = "app-count-svc.c-app-count.svc.cluster.local:5000"
WEBDIS = "redis-svc.d-redis.svc.cluster.local:7379"


class Backend(BaseHTTPRequestHandler):
    """Answers with the path it was asked for, and with the caller's port to tell connections apart."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """One answer; / redirects as the app does."""
        body = f"{self.path} {self.client_address[1]}".encode()
        self.send_response(302 if self.path == "/" else 200)
        if self.path == "/":
            self.send_header("Location", "/get")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def serving():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def backend():
    """Stands for the app."""
    with serving() as port:
        yield port


@pytest.fixture
def other_backend():
    """Stands for webdis."""
    with serving() as port:
        yield port


@pytest.fixture
def apache(objects, run, ports, tmp_path, backend):
    """Start Apache as the manifest's ConfigMap says, on other ports; returns a function that asks it."""
    port = ports[0]

    def start(webdis):
        config = objects["ConfigMap", "apacherr-80-config"]["data"]["httpd.conf"]
        prefix = Machine.here().prefix
        modules = [root / "usr/lib/apache2" for root in (prefix, Path("/")) if root]
        changes = {
            "ServerRoot /usr/local/apache2": f"ServerRoot {next(m for m in modules if m.is_dir())}",
            "Listen 8080": f"Listen 127.0.0.1:{port}",
            "/tmp": str(tmp_path),
            APP: f"127.0.0.1:{backend}",
            WEBDIS: f"127.0.0.1:{webdis}",
        }
        for old, new in changes.items():
            assert old in config
            config = config.replace(old, new)
        file = tmp_path / "httpd.conf"
        file.write_text(config)
        run("apache2", "-DFOREGROUND", "-f", str(file), port=port)
        return lambda path: _get(port, path)

    return start


def _get(port, path):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    begin = time.monotonic()
    try:
        link.request("GET", path, headers={"Host": "pippo.lan"})
        answer = link.getresponse()
        body = answer.read().decode()
    finally:
        link.close()
    return answer.status, body, answer.getheader("Location"), time.monotonic() - begin


def test_both_cases_are_rewritten(apache, backend):
    """/count/X is the app's /X, /redis/X is webdis's /X, queries included; anything else is nobody's."""
    get = apache(webdis=backend)
    assert get("/count/get")[1].split()[0] == "/get"
    assert get("/count/set?a=1&b=2")[1].split()[0] == "/set?a=1&b=2"
    assert get("/redis/GET/time")[1].split()[0] == "/GET/time"
    assert [get(path)[0] for path in ("/", "/count", "/other")] == [404, 404, 404]


def test_ready_needs_no_backend(apache, ports):
    """The readiness path answers 204 from Apache itself."""
    assert apache(webdis=ports[1])("/apacherr/ready")[0] == 204


def test_redirect_stays_inside_count(apache, backend):
    """The app's redirect to /get becomes /count/get for the client."""
    status, _, location, _ = apache(webdis=backend)("/count/")
    assert status == 302
    assert location in ("/count/get", "http://pippo.lan/count/get")


def test_case_1_reuses_connections_and_case_2_does_not(apache, other_backend):
    """Ten requests of case 1 share a connection per Apache process at most; each of case 2 has its own."""
    get = apache(webdis=other_backend)
    callers = {
        case: {get(path)[1].split()[1] for _ in range(10)}
        for case, path in ((1, "/count/get"), (2, "/redis/GET/x"))
    }
    assert len(callers[1]) <= 2
    assert len(callers[2]) == 10


def test_refused_backend_is_503_at_once(apache, ports):
    """Nobody listens behind case 2: 503 without waiting."""
    status, _, _, seconds = apache(webdis=ports[1])("/redis/GET/time")
    assert status == 503
    assert seconds < 1


def test_silent_backend_is_given_up_after_two_seconds(apache):
    """A backend that accepts and says nothing costs 2 s (ProxyTimeout); case 1 goes on meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        get = apache(webdis=silent.getsockname()[1])
        answers = []
        caller = threading.Thread(target=lambda: answers.append(get("/redis/GET/time")))
        caller.start()
        time.sleep(0.5)
        status, _, _, seconds = get("/count/get")
        assert status == 200
        assert seconds < 1
        caller.join(20)
    status, _, _, seconds = answers[0]
    assert status in (502, 504)
    assert 1.9 <= seconds < 4
