"""The two cases, asked of a real HTTP server."""

import http.server
import json
import threading

import pytest

from meshverdict.chaos.cases import CASES, Answer, ask, ask_often, find_case, in_words
from meshverdict.model.errors import UsageError


@pytest.fixture
def server():
    """Answers as the lab does; `server.status` and `server.body` can be changed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.seen.append((self.path, self.headers["Host"]))
            self.send_response(self.server.status)
            self.end_headers()
            self.wfile.write(self.server.body)

        def log_message(self, *_):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.seen, made.status, made.body = [], 200, json.dumps({"time": "now", "GET": "now"}).encode()
    made.base = f"http://127.0.0.1:{made.server_address[1]}"
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_case_asks_its_path_with_the_labs_host(server):
    """The ingress routes by the Host header."""
    assert ask(server.base, CASES[2]).good
    assert server.seen == [("/redis/GET/time", "pippo.lan")]


def test_proxy_of_the_environment_is_not_asked(server, monkeypatch):
    """The lab is on this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert ask(server.base, CASES[1]).good


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [(503, b"", "503"), (200, b"<html>", "not the answer"), (200, b"{}", "not the answer")],
)
def test_other_answers_are_told_apart(server, status, body, word):
    """A status that is not 200, or an answer that is not the case's."""
    server.status, server.body = status, body
    assert ask(server.base, CASES[1]).word == word


def test_nobody_listening_is_refused(server):
    """Also an answer, and not an exception."""
    server.shutdown()
    server.server_close()
    assert ask(server.base, CASES[1]).word == "refused"


def test_several_requests_are_sent_at_once(server):
    """Three of three, in words."""
    answers = ask_often(server.base, CASES[1], 3)
    assert in_words(answers).startswith("answers (3 of 3 within 0.")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["503", "503"], "fails (503 2 times of 2, within 2.00 s)"),
        (
            ["answers", "timeout"],
            "answers only sometimes (answers 1 times, timeout 1 times of 2, within 2.00 s)",
        ),
    ],
)
def test_failures_are_counted_by_kind(words, expected):
    """What a journal shows."""
    assert in_words([Answer(word, 2.0) for word in words]) == expected


def test_case_that_does_not_exist_is_refused():
    """The message lists those that do."""
    with pytest.raises(UsageError, match="case 3: one of 1, 2"):
        find_case(3)
