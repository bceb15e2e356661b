"""The global rate limit service: its rules, Envoy's messages, and a real gRPC server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from meshverdict.model.errors import UsageError
from meshverdict.ratelimit.limits import Limit, Limits
from meshverdict.ratelimit.wire import METHOD, request, response

CONFIG = {
    "domain": "shop",
    "descriptors": [
        {"key": "PATH", "value": "/buy", "rate_limit": {"unit": "minute", "requests_per_unit": 2}},
        {"key": "PATH", "rate_limit": {"unit": "hour", "requests_per_unit": 100}},
        {
            "key": "user",
            "descriptors": [{"key": "PATH", "rate_limit": {"unit": "second", "requests_per_unit": 1}}],
        },
    ],
}
# RateLimitRequest{domain: "shop", descriptors: [{entries: [{key: "PATH", value: "/buy"}]}]}
ASKED = b"\x0a\x04shop\x12\x0e\x0a\x0c\x0a\x04PATH\x12\x04/buy"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([("PATH", "/buy")], Limit(2, "minute")),
        ([("PATH", "/look")], Limit(100, "hour")),
        ([("user", "me"), ("PATH", "/x")], Limit(1, "second")),
        ([("user", "me")], None),
        ([("PATH", "/buy"), ("user", "me")], None),
        ([], None),
    ],
)
def test_a_descriptor_meets_the_limit_of_its_path(entries, expected):
    """A value goes before its key alone, and a path counts only as a whole."""
    assert Limits([CONFIG]).find("shop", entries) == expected
    assert Limits([CONFIG]).find("elsewhere", entries) is None


def test_a_window_begins_with_the_clock():
    """Two of three pass in one minute of the clock, and again two in the next; other values count for themselves."""
    limits, buy = Limits([CONFIG]), [("PATH", "/buy")]
    assert [limits.take("shop", buy, 1, 60.0 + t).over for t in (0, 30, 59, 60)] == [
        False,
        False,
        True,
        False,
    ]
    assert [limits.take("shop", [("PATH", p)], 100, 0.0).over for p in ("/a", "/b", "/a")] == [
        False,
        False,
        True,
    ]
    status = limits.take("shop", buy, 1, 150.0)
    assert (status.remaining, status.reset_s) == (0, 30)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "domain"),
        ({"domain": "d", "descriptors": [{"value": "x"}]}, r"d.descriptors\[0\] needs a `key`"),
        (
            {
                "domain": "d",
                "descriptors": [{"key": "k", "rate_limit": {"unit": "week", "requests_per_unit": 1}}],
            },
            "week",
        ),
        (
            {
                "domain": "d",
                "descriptors": [{"key": "k", "rate_limit": {"unit": "day", "requests_per_unit": -1}}],
            },
            "-1",
        ),
    ],
)
def test_bad_configuration_is_refused_by_its_place(config, words):
    """Named, so that a person finds it."""
    with pytest.raises(UsageError, match=words):
        Limits([config])


def test_messages_are_envoys():
    """A request as Protobuf writes it, and a response as it reads it; what is cut short is an error."""
    found = request(ASKED)
    assert found == ("shop", ((("PATH", "/buy"),),), 1)
    status = Limits([CONFIG]).take("shop", found.descriptors[0], 3, 120.0)
    assert response([status]) == b"\x08\x02\x12\x0c\x08\x02\x12\x04\x08\x02\x10\x02\x22\x02\x08\x3c"
    with pytest.raises(ValueError, match="cut short"):
        request(ASKED[:-1])


def test_the_service_answers_over_grpc(tmp_path):
    """The program in a process of its own, asked as Envoy asks: two pass, the third is over the limit."""
    grpc = pytest.importorskip("grpc", reason="needs grpcio: pip install 'meshverdict[lab]'")
    folder = tmp_path / "ratelimit" / "config"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        "domain: shop\ndescriptors: [{key: PATH, value: /buy, rate_limit: {unit: day, requests_per_unit: 2}}]\n"
    )
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    env = {**os.environ, "RUNTIME_ROOT": str(tmp_path), "GRPC_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "meshverdict.ratelimit"], env=env, stdout=subprocess.PIPE
    )
    try:
        assert b"port" in process.stdout.readline()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            ask = channel.unary_unary(METHOD)
            codes = [ask(ASKED, timeout=5)[1] for _ in range(3)]
        assert codes == [1, 1, 2]
    finally:
        process.kill()
        process.communicate()


def test_without_configuration_it_says_so(tmp_path):
    """A clear sentence and an exit status, no traceback."""
    env = {**os.environ, "RUNTIME_ROOT": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "meshverdict.ratelimit"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no configuration" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("value", "matches"), [(0, "0"), (False, "false"), (True, "true"), ("", "anything"), (None, "anything")]
)
def test_values_are_read_as_the_real_service_reads_them(value, matches):
    """YAML's numbers and truths are text; without a value every value is meant."""
    limit = {"unit": "hour", "requests_per_unit": 1}
    limits = Limits([{"domain": "d", "descriptors": [{"key": "k", "value": value, "rate_limit": limit}]}])
    assert limits.find("d", [("k", matches)]) == Limit(1, "hour")
    assert (limits.find("d", [("k", "other")]) is None) == (matches != "anything")


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ({"shadow_mode": True}, r"d.descriptors\[0\].shadow_mode"),
        ({"rate_limit": {"unlimited": True}}, r"d.descriptors\[0\].rate_limit.unlimited"),
        ({"value": [1]}, r"d.descriptors\[0\].value"),
    ],
)
def test_what_would_not_be_carried_out_is_refused(extra, said):
    """By its path."""
    with pytest.raises(UsageError, match=said):
        Limits([{"domain": "d", "descriptors": [{"key": "k", **extra}]}])


def test_windows_that_are_over_are_forgotten():
    """A limit on a key alone: a value that came once does not stay for ever."""
    limits = Limits([CONFIG])
    for hour in range(3):
        for number in range(100):
            limits.take("shop", [("PATH", f"/{hour}/{number}")], 1, hour * 3600.0)
    assert sum(len(counts) for _, counts in limits._windows.values()) == 100


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (({"domain": "d"}, {"domain": "d"}), "duplicate domain 'd'"),
        (({"domain": "d", "descriptors": [{"key": "k"}, {"key": "k"}]},), "duplicate descriptor"),
        (({"domain": "d", "descriptors": [{"key": "k", "value": "a*"}]},), "wildcards are not matched here"),
        (({"domain": "d", "descriptors": [{"key": "k", "rate_limit": {}}]},), r"rate_limit.unit ''"),
    ],
)
def test_limits_that_would_not_hold_are_refused(files, words):
    """Whatever would be counted by another rule than the one that is written, or by none."""
    with pytest.raises(UsageError, match=words):
        Limits(files)
