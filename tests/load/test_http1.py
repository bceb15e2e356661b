"""Requests and answers of HTTP/1.1, in whatever pieces they come."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshverdict.load.http1 import (
    AnswerReader,
    CutShortError,
    InvalidAnswerError,
    build_request,
    decode_body,
    parse_headers,
)

ANSWERS = {
    "sized": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello", b"hello", True),
    "empty": (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", True),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nT: x\r\n\r\n",
        b"hello!",
        True,
    ),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", True),
    "close": (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
    "old, kept": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", b"hi", True),
    "after a hint": (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"x",
        True,
    ),
    "after more hints than a program may nest": (
        b"HTTP/1.1 100\r\n\r\n" * 4000 + b"HTTP/1.1 204 No Content\r\n\r\n",
        b"",
        True,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
@given(data=st.data())
def test_an_answer_is_the_same_in_all_pieces(name, data):
    """However TCP cuts an answer, body, status and end are the same, and the end is seen with the last byte."""
    wire, body, keep = ANSWERS[name]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(wire) - 1), max_size=6)))
    reader = AnswerReader()
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    complete = [reader.feed(piece) for piece in pieces]
    assert complete == [False] * (len(pieces) - 1) + [True]
    assert (bytes(reader.body), reader.keep_alive) == (body, keep)


def test_without_a_length_the_connection_ends_the_answer():
    """HTTP/1.0 style: the body goes on until the close, and only then is the answer complete."""
    reader = AnswerReader()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nsome")
    assert not reader.feed(b" more")
    reader.eof()
    assert (bytes(reader.body), reader.keep_alive) == (b"some more", False)


def test_the_answer_to_head_has_no_body():
    """Its Content-Length is of the body that GET would have."""
    assert AnswerReader(head_only=True).feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"<html>\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n"[:13] + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000,
        b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000_001,
    ],
)
def test_what_is_not_http_is_invalid(wire):
    """A protocol error is an error, never an answer, and never kept in memory without limit."""
    with pytest.raises(InvalidAnswerError):
        AnswerReader().feed(wire)


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200",
    ],
)
def test_an_answer_that_ends_early_was_cut(wire):
    """A connection that ends in the middle is told from one that ends the answer."""
    reader = AnswerReader()
    reader.feed(wire)
    with pytest.raises(CutShortError, match="middle"):
        reader.eof()


def test_bytes_after_an_answer_spoil_the_connection():
    """What was not asked for makes the next answer a guess, so the connection is not used again."""
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1")
    assert not reader.keep_alive


def test_requests():
    """Path quoting, lengths, and no way to smuggle a header in."""
    assert (
        build_request("GET", "/a b?c=ü", {"Host": "x"}) == b"GET /a%20b?c=%C3%BC HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    assert build_request("POST", "/", {}, b"hi") == b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"
    assert b"Content-Length: 0" in build_request("PUT", "/", {})
    for method, headers in [
        ("GET /", {}),
        ("GET", {"A\r\nB": "x"}),
        ("GET", {"A": "x\r\nB: y"}),
        ("GET", {"": "x"}),
    ]:
        with pytest.raises(ValueError):  # noqa: PT011  # each names what it was
            build_request(method, "/", headers)


def test_headers_and_encodings():
    """Names are lower case, repeated fields joined, gzip undone."""
    assert parse_headers(b"HTTP/1.1 200 OK\r\nA: 1\r\nb:2\r\na: 3") == {"a": "1, 3", "b": "2"}
    assert decode_body(gzip.compress(b"hello"), "gzip") == b"hello"
    assert decode_body(b"hello", "br") == b"hello"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"hello", "not gzip"),
        (gzip.compress(b"hello")[:-6], "cut in the middle"),
        (gzip.compress(bytes(20_000_000)), "unpacks to more than 10000000"),
    ],
    ids=["plain", "cut", "bomb"],
)
def test_a_body_that_lies_about_its_packing_is_a_value_error(body, why):
    """Also twenty megabytes in twenty kilobytes: what a few bytes can become is bounded."""
    with pytest.raises(ValueError, match=why):
        decode_body(body, "gzip")
