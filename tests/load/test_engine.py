"""The open loop against real servers, in this process: outcomes, connections, tasks, time."""

import errno
import socket
import ssl
import struct
import subprocess
import time
from collections import Counter

import pytest
from load_servers import OK, answering, endless, once, requests, serve, silent

from meshverdict.load.arrivals import constant
from meshverdict.load.connection import Connection
from meshverdict.load.openloop import Job, OpenLoop, Stream
from meshverdict.load.share import Share
from meshverdict.model.errors import UsageError
from meshverdict.model.histogram import Histogram


class User:
    """What a Locust user looks like to the open loop."""

    default_headers = None
    keep_alive = True
    insecure = True
    network_timeout = 1.0
    max_redirects = 5

    def __init__(self, port, **settings):
        self.host = f"http://127.0.0.1:{port}"
        self.seen = []
        vars(self).update(settings)


def get(user):
    user.client.get("/count/get")


def run(port, *tasks, rate=50.0, seconds=1.0, deadline=float("inf"), samples=False, **settings):
    user = User(port, **settings)
    jobs = tuple(Job(user, task, 1.0) for task in tasks or (get,))
    loop = OpenLoop(
        [Stream("", constant(rate), jobs)],
        kind="constant",
        seed=1,
        share=Share(),
        duration=seconds,
        deadline=deadline,
        samples=samples,
        fifo=False,
    )
    told = []
    loop.open()
    loop.run(told.append)
    assert loop.error is None
    return user, told


def outcomes(told):
    found = Counter()
    for second in told:
        for part in second.parts:
            found[part.name, part.outcome, part.status] += part.latency.n
    return dict(found)


def problems(told):
    return set().union(*(part.problems for second in told for part in second.parts))


def total(told, field):
    return sum(getattr(second.generator, field) for second in told)


def test_every_arrival_is_sent_and_answered():
    """50 a second for two seconds are 100 requests, on a connection or two."""
    with serve(answering()) as port:
        _, told = run(port, seconds=2.0)
    assert outcomes(told) == {("/count/get", "ok", 200): 100}
    assert (total(told, "scheduled"), total(told, "sent"), total(told, "dropped")) == (100, 100, 0)
    assert total(told, "opened") <= 20  # one, on a quiet machine
    assert Histogram.merged(second.generator.lag for second in told).n == 100


def test_a_stall_counts_against_every_request_that_was_due():
    """While the server stalls the load goes on, and latency counts from the due time."""
    began = []

    def stall(connection):
        for _ in requests(connection):
            now = time.monotonic()
            began.append(now + 0.4)  # only the first counts: a busy machine may be late with it
            if began[0] <= now < began[0] + 0.5:
                time.sleep(began[0] + 0.5 - now)
            connection.sendall(OK)

    with serve(stall) as port:
        _, told = run(port, rate=100, seconds=1.5)
    latency = Histogram.merged(part.latency for second in told for part in second.parts)
    assert latency.n == 150
    late = sum(count for index, count in latency if latency.value(index) > 50_000)
    assert 40 <= late <= 50  # 50 were due in the 500 ms, 5 of them in the last 50 ms


@pytest.mark.parametrize(
    ("handle", "outcome", "status", "problem"),
    [
        (answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "http", 404, ""),
        (answering(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), "http", 503, ""),
        (answering(b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n"), "limited", 429, ""),
        (answering(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"), "denied", 403, ""),
        (answering(delay=0.08), "late", 200, "deadline"),
        (once(b""), "reset", 0, "without an answer"),
        (once(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "invalid", 0, "cut"),
        (once(b"SSH-2.0-x\r\n\r\n"), "invalid", 0, "not HTTP"),
        (endless, "invalid", 0, "without end"),
        (silent, "timeout", 0, "within 1 s"),
    ],
)
def test_every_end_has_its_outcome(handle, outcome, status, problem):
    """Whatever the server does, each request ends in one outcome, in words, and the run ends on time."""
    began = time.monotonic()
    with serve(handle) as port:
        _, told = run(port, rate=20, deadline=0.05)
    assert outcomes(told) == {("/count/get", outcome, status): 20}
    assert any(problem in text for text in problems(told))
    assert time.monotonic() - began < 3.5


def test_nobody_listens():
    """A refused connection is counted as refused, for every arrival."""
    with serve(silent) as port:
        pass
    _, told = run(port, rate=20)
    assert outcomes(told) == {("/count/get", "refused", 0): 20}
    assert total(told, "sent") == 0


def test_a_full_backlog_times_out_without_holding_the_loop():
    """A host that never accepts delays nobody but its own requests."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        began = time.monotonic()
        _, told = run(listener.getsockname()[1], rate=20)
    assert set(outcomes(told)) == {("/count/get", "timeout", 0)}
    assert total(told, "scheduled") == 20
    assert time.monotonic() - began < 3.0


def test_an_idle_connection_that_died_is_no_failure():
    """A server may end an idle connection; the request that finds it dead is sent again, and that is counted."""

    def impatient(connection):
        for number, _ in enumerate(requests(connection)):
            if number:
                return
            connection.sendall(OK)

    with serve(impatient) as port:
        _, told = run(port, rate=0.8, seconds=2.0)
    assert outcomes(told) == {("/count/get", "ok", 200): 2}
    assert total(told, "resent") == 1


def test_a_busy_connection_that_dies_is_a_failure():
    """On a connection in steady use a reset is the service's."""

    def rude(connection):
        for number, _ in enumerate(requests(connection)):
            if number == 3:
                return
            connection.sendall(OK)

    with serve(rude) as port:
        _, told = run(port, rate=40)
    assert outcomes(told)["/count/get", "reset", 0] == 10
    assert total(told, "resent") == 0


def test_connections_of_their_own():
    """With keep_alive False every request opens a connection."""
    with serve(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as port:
        _, told = run(port, keep_alive=False)
    assert outcomes(told) == {("/count/get", "ok", 200): 50}
    assert total(told, "opened") == 50


def test_tasks_judge_answers_as_in_locust():
    """catch_response, failure, success, names, JSON, headers."""

    def wrong(user):
        with user.client.get("/a", name="named", catch_response=True) as answer:
            if answer.json()["time"] != "y":
                answer.failure("not y")

    def right(user):
        with user.client.get("/missing", catch_response=True) as answer:
            assert answer.status_code == 404
            answer.success()

    def handle(connection):
        for head in requests(connection):
            missing = b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(missing if b"/missing" in head else OK)

    with serve(handle) as port:
        _, told = run(port, wrong, right)
    found = outcomes(told)
    assert found.keys() == {("named", "check", 200), ("/missing", "ok", 404)}
    assert sum(found.values()) == 50
    assert "not y" in problems(told)


def test_a_task_may_make_several_requests():
    """Further requests count from the time they were made; the record tells how many were due."""

    def two(user):
        first = user.client.get("/first")
        if first.ok:
            user.client.post("/second", json={"a": 1}, headers={"X": "y"})

    seen = []

    def handle(connection):
        for head in requests(connection):
            seen.append(head.split()[0])
            time.sleep(0.1)
            connection.sendall(OK)

    with serve(handle) as port:
        _, told = run(port, two, rate=10, samples=True)
    assert outcomes(told) == {("/first", "ok", 200): 10, ("/second", "ok", 200): 10}
    assert (total(told, "scheduled"), total(told, "sent")) == (20, 20)
    assert Counter(seen) == {b"GET": 10, b"POST": 10}
    assert all(0.09 < sample.latency < 0.16 for second in told for sample in second.samples)


def test_a_task_that_raises_spoils_no_other():
    """It is counted with its traceback; arrivals go on."""

    def broken(user):
        user.client.get("/x")
        raise KeyError("no such thing")

    with serve(answering()) as port:
        _, told = run(port, broken)
    assert outcomes(told) == {("/x", "ok", 200): 50}
    errors = sum((second.errors for second in told), Counter())
    assert sum(errors.values()) == 50
    assert {message for message, _ in errors} == {"KeyError: 'no such thing'"}


def test_an_answer_that_is_never_judged_is_seen_in_the_numbers():
    """A task that raises inside the context still counts its request, as a failed check."""

    def broken(user):
        with user.client.get("/x", catch_response=True):
            raise ValueError("boom")

    with serve(answering()) as port:
        _, told = run(port, broken)
    assert outcomes(told) == {("/x", "check", 200): 50}


def test_redirects_stay_with_the_host():
    """One to the same host (or to its Host header) is followed; one to a stranger is the answer."""
    elsewhere = b"http://elsewhere.example/"
    targets = {b"/a": b"/b", b"/b": b"http://pippo.lan/c", b"/x": elsewhere}
    targets |= {b"/prefix/a": b"/b", b"/prefix/b": elsewhere}

    def handle(connection):
        for head in requests(connection):
            target = targets.get(head.split()[1])
            if target:
                connection.sendall(
                    b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + target + b"\r\n\r\n"
                )
            else:
                connection.sendall(OK)

    def follow(user):
        assert user.client.get("/a").json() == {"time": "x"}

    def stay(user):
        assert user.client.get("/x").status_code == 302

    def whole(user):
        user.client.base_url += "/prefix"  # of a user whose host has a path; a Location is from the root
        try:
            assert user.client.get("/a", name="prefixed").json() == {"time": "x"}
        finally:
            user.client.base_url = user.client.base_url.removesuffix("/prefix")

    with serve(handle) as port:
        _, told = run(port, follow, stay, whole, default_headers={"Host": "pippo.lan"})
    assert outcomes(told).keys() == {("/a", "ok", 200), ("/x", "ok", 302), ("prefixed", "ok", 200)}
    assert not any(second.errors for second in told)


def test_more_than_it_may_hold_is_dropped_and_counted():
    """Memory is bounded: arrivals beyond the limit are dropped, and the record says how many."""
    with serve(silent) as port:
        user = User(port)
        loop = OpenLoop(
            [Stream("", constant(200), (Job(user, get, 1.0),))],
            kind="constant",
            seed=1,
            share=Share(),
            duration=0.5,
            deadline=1.0,
            fifo=False,
        )
        loop.open()
        loop._engine.most_in_flight = 30
        told = []
        loop.run(told.append)
    assert total(told, "scheduled") == 100
    assert total(told, "dropped") == 70
    assert sum(outcomes(told).values()) == 30


def test_tls(tmp_path):
    """Https works, and a certificate nobody knows fails where certificates are checked."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", tmp_path / "key", "-out", tmp_path / "crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

    def handle(connection):
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                answering()(secure)
        except ssl.SSLError:
            pass

    with serve(handle) as port:
        url = f"https://127.0.0.1:{port}"
        _, told = run(port, rate=20, host=url)
        assert outcomes(told) == {("/count/get", "ok", 200): 20}
        _, told = run(port, rate=20, host=url, insecure=False)
        assert outcomes(told) == {("/count/get", "invalid", 0): 20}
        assert any("certificate" in text for text in problems(told))


def test_tls_to_a_server_without_it():
    """It fails as invalid, at once."""

    def plain(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with serve(plain) as port:
        _, told = run(port, rate=20, host=f"https://127.0.0.1:{port}")
    assert outcomes(told).keys() <= {("/count/get", "invalid", 0), ("/count/get", "reset", 0)}


@pytest.mark.parametrize(
    "host", ["", "127.0.0.1", "ftp://x", "http://", "http://x:port", "http://name.invalid"]
)
def test_a_host_that_is_none_is_refused(host):
    """Before anything is sent, and by name."""
    with pytest.raises(UsageError, match="host"):
        OpenLoop(
            [Stream("", constant(1), (Job(User(1, host=host), get, 1.0),))],
            kind="constant",
            seed=1,
            share=Share(),
            duration=1,
            deadline=1,
        )


def test_a_name_with_two_addresses_is_tried_at_both():
    """Localhost may be ::1 first, where nobody listens."""
    with serve(answering()) as port:
        _, told = run(port, rate=20, host=f"http://localhost:{port}")
    assert outcomes(told) == {("/count/get", "ok", 200): 20}


def test_waiting_for_the_generators_own_limit_is_told():
    """Requests that wait because this process opens no more connections are no sign of a slow service."""
    with serve(silent) as port:
        user = User(port)
        jobs = (Job(user, get, 1.0),)
        loop = OpenLoop(
            [Stream("", constant(20), jobs)], kind="constant", seed=1, share=Share(), duration=0.5,
            deadline=1.0, fifo=False,
        )  # fmt: skip
        told = []
        loop.open()
        loop._engine._connections._most = 2
        loop.run(told.append)
    assert loop.error is None
    assert total(told, "held") > 0


def test_a_machine_without_ports_says_nothing_about_the_service(monkeypatch):
    """What cannot be opened for want of ports of our own is held back, and not refused by the service."""

    def none_left(_self):
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(Connection, "_open", none_left)
    with serve(silent) as port:
        _, told = run(port, seconds=0.3, network_timeout=0.5)
    assert {outcome for _, outcome, _ in outcomes(told)} == {"timeout"}
    assert total(told, "held") > 0


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_tls_server_that_goes_away_after_the_handshake_is_a_failure_of_its_own(tmp_path, version, end):
    """Such as a pod that is killed: the requests fail, and the generator goes on."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-keyout", tmp_path / "key", "-out", tmp_path / "crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    context.maximum_version = version

    def handle(connection):
        connection.settimeout(1)
        try:
            with context.wrap_socket(connection, server_side=True) as secure:
                if end == "close":
                    secure.unwrap().close()
                else:
                    secure.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass

    with serve(handle) as port:
        _, told = run(port, rate=100, host=f"https://127.0.0.1:{port}", network_timeout=0.5)
    assert sum(outcomes(told).values()) == 100
    assert not any(outcome == "ok" for _, outcome, _ in outcomes(told))


def test_a_name_for_requests_is_the_tasks_own():
    """Other tasks of the same user run while one waits for its answer."""

    def handle(connection):
        for head in requests(connection):
            if b" /slow" in head:
                time.sleep(0.05)
            connection.sendall(OK)

    def slow(user):
        with user.client.rename_request("named slow"):
            user.client.get("/slow")

    def fast(user):
        with user.client.rename_request("named fast"):
            user.client.get("/fast")
        user.client.request_name = "left behind"

    with serve(handle) as port:
        _, told = run(port, slow, fast, get, rate=200)
    assert {name for name, _, _ in outcomes(told)} == {"named slow", "named fast", "/count/get"}


def test_an_answer_before_the_whole_request_ends_its_connection():
    """What is left of a body that nobody wanted must not be read as the next request."""

    def refuse(connection):
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.5)

    def upload(user):
        user.client.post("/up", data=b"x" * 8_000_000)

    with serve(refuse) as port:
        _, told = run(port, upload, rate=10)
    assert outcomes(told) == {("/up", "http", 413): 10}


def test_a_redirect_that_keeps_the_method_keeps_the_body():
    """307: what was asked is asked elsewhere, as it was."""

    def handle(connection):
        for head in requests(connection):
            if b" /a " in head:
                connection.sendall(
                    b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n"
                )
            else:
                right = b"Content-Length: 3" in head and b"X-Own: 1" in head
                connection.sendall(OK if right else b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")

    def send(user):
        user.client.post("/a", data="x=1", headers={"X-Own": "1"})

    with serve(handle) as port:
        _, told = run(port, send, rate=20)
    assert outcomes(told) == {("/a", "ok", 200): 20}
