"""Outcomes of stock Locust's requests, and targets when nobody names one."""

import errno
import fcntl
import json
import socket

import pytest

from meshverdict.load.outcomes import judge, of_exception, of_status
from meshverdict.load.target import INGRESS_SERVICE, find_target


class CatchResponseError(Exception):
    """Named as Locust's."""


class ReadTimeout(OSError):  # noqa: N818
    """Named as requests'."""


def wrapped(inner):
    """As requests wraps urllib3, which wraps the socket's error."""
    try:
        try:
            raise inner  # noqa: TRY301
        except BaseException as error:
            raise ValueError("outer") from error
    except ValueError as error:
        return Exception(error)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), "refused"),
        (wrapped(ConnectionRefusedError(errno.ECONNREFUSED, "x")), "refused"),
        (OSError(errno.EHOSTUNREACH, "x"), "refused"),
        (socket.gaierror(-2, "x"), "refused"),
        (wrapped(TimeoutError()), "timeout"),
        (ReadTimeout(), "timeout"),
        (wrapped(ConnectionResetError(errno.ECONNRESET, "x")), "reset"),
        (BrokenPipeError(), "reset"),
        (CatchResponseError("x"), "check"),
        (Exception("?"), "invalid"),
    ],
)
def test_what_clients_raise_has_an_outcome(error, outcome):
    """However deep the library wraps it."""
    assert of_exception(error) == outcome


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "ok"),
        (302, "ok"),
        (429, "limited"),
        (403, "denied"),
        (404, "http"),
        (503, "http"),
        (0, "invalid"),
    ],
)
def test_statuses(status, outcome):
    """Every status has one outcome."""
    assert of_status(status) == outcome


def test_the_deadline_and_the_check():
    """A good answer past the deadline is late; an answer that failed the task's check says so."""
    assert judge(200, None, 100, 100) == "ok"
    assert judge(200, None, 101, 100) == "late"
    assert judge(200, CatchResponseError("x"), 1, 100) == "check"
    assert judge(503, CatchResponseError("x"), 1, None) == "http"
    assert judge(0, ConnectionRefusedError(), 1, None) == "refused"


def test_the_target_is_the_lab_that_runs(tmp_path):
    """A lab.json whose lab is dead is not believed; in a pod it is the cluster's ingress."""
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    folder = tmp_path / "meshverdict" / "default"
    folder.mkdir(parents=True)
    assert find_target(environ) is None
    (folder / "lab.json").write_text(json.dumps({"ingress": {"host": "127.0.0.1", "port": 8081}}))
    (folder / "lock").write_text("1")
    assert find_target(environ) is None
    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert find_target(environ) == "http://127.0.0.1:8081"
    assert find_target(environ | {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}) == INGRESS_SERVICE
    (folder / "lab.json").write_text("{")
    assert find_target(environ) is None
