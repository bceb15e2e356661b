"""Arrivals: how many, when, the same again, shared among workers, and what is refused."""

import itertools
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshverdict.load.arrivals import constant, parse_rate, read_trace
from meshverdict.load.share import Share
from meshverdict.model.errors import UsageError


def until(seconds, shape, kind="constant", seed="1", share=Share()):  # noqa: B008  # frozen
    return list(itertools.takewhile(lambda offset: offset < seconds, shape.offsets(kind, seed, share)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100", 1000),
        ("ramp:0:100:10", 500),
        ("ramp:100:50:5", 375 + 250),
        ("steps:10x2,20x3,5x100", 20 + 60 + 25),
        ("burst:10:100:2:0.5", 5 * (15 + 50)),
    ],
)
def test_a_shape_makes_the_area_under_its_rate(text, expected):
    """Ten seconds of each shape hold as many arrivals as its rate says, constant or Poisson."""
    shape = parse_rate(text)
    assert len(until(10, shape)) == pytest.approx(expected, abs=1)
    assert len(until(10, shape, "poisson")) == pytest.approx(expected, abs=5 * math.sqrt(expected))


def test_constant_arrivals_are_evenly_spaced():
    """400 a second are 2.5 ms apart, from the first at 0 on, without drift."""
    offsets = until(10, constant(400))
    assert offsets[0] == 0.0
    assert offsets == [pytest.approx(n / 400, abs=1e-9) for n in range(4000)]


def test_poisson_gaps_are_exponential():
    """Mean and deviation of the gaps are both 1/rate."""
    offsets = until(100, constant(200), "poisson")
    gaps = [b - a for a, b in itertools.pairwise(offsets)]
    assert statistics.fmean(gaps) == pytest.approx(1 / 200, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1 / 200, rel=0.05)


def test_the_same_seed_makes_the_same_arrivals():
    """Both arms of a comparison get the same load; another seed another one."""
    shape = constant(50)
    assert until(10, shape, "poisson", "7") == until(10, shape, "poisson", "7")
    assert until(10, shape, "poisson", "7") != until(10, shape, "poisson", "8")


@given(st.integers(1, 8), st.floats(1, 500))
def test_workers_make_together_what_one_makes(workers, rate):
    """Constant arrivals of N workers are exactly those of one."""
    parts = [until(5, constant(rate), share=Share(k, workers)) for k in range(workers)]
    assert sorted(itertools.chain.from_iterable(parts)) == until(5, constant(rate))


def test_workers_share_poisson_arrivals():
    """Four workers with a quarter each make the whole rate, and no two the same arrivals."""
    parts = [until(50, constant(100), "poisson", "1", Share(k, 4)) for k in range(4)]
    assert sum(map(len, parts)) == pytest.approx(5000, rel=0.06)
    assert len(set(itertools.chain.from_iterable(parts))) == sum(map(len, parts))


@pytest.mark.parametrize(
    "text",
    ["0", "-1", "nan", "inf", "-inf", "", "x", "1e300", "ramp:1:2", "ramp:0:0:1", "ramp:5:0:1", "ramp:1:2:0", "steps:",
     "steps:1", "steps:0x1", "steps:1x-1", "burst:1:2:1:3", "burst:1:2:nan:1", "burst:1e-300:1e-300:1:0.5", "trace:/does/not/exist"],
)  # fmt: skip
def test_a_rate_that_makes_no_sense_is_refused(text):
    """The message repeats the option as it was typed."""
    with pytest.raises(UsageError, match=r"--rate"):
        parse_rate(text)


def test_a_trace_of_offsets_is_played_back(tmp_path):
    """One number a line is one arrival."""
    (tmp_path / "t").write_text("# recorded\n0.5\n0.5\n1.25\n")
    assert list(read_trace(tmp_path / "t").offsets("poisson", "1", Share())) == [0.5, 0.5, 1.25]
    assert list(read_trace(tmp_path / "t").offsets("poisson", "1", Share(1, 2))) == [0.5]


def test_a_trace_of_counts_is_spread_over_its_seconds(tmp_path):
    """Two numbers a line are a second and how many arrivals it had."""
    (tmp_path / "t").write_text("0,2\n1,0\n2,1\n")
    assert list(read_trace(tmp_path / "t").offsets("constant", "1", Share())) == [0.0, 0.5, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,2\n2,1\n", "line 2: second 1 is missing"),
        ("0.1\n\n0.2\n", "line 2.*hole"),
        ("0.1\nx\n", "line 2"),
        ("0.2\n0.1\n", "line 2.*not before 0.2"),
        ("0.1\nnan\n", "line 2"),
        ("0,1.5\n", "whole number"),
        ("0,1\n0.5\n", "two numbers"),
        ("0.5\n0,1\n", "line 2"),
        ("# nothing\n", "no arrival"),
        ("-1\n", "not below 0"),
    ],
)
def test_a_trace_with_a_hole_is_refused(tmp_path, text, message):
    """File and line are named."""
    (tmp_path / "t").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_trace(tmp_path / "t")


def test_shares_are_read_from_option_and_environment():
    """An indexed Job's pods know their part without being told."""
    assert Share.parse("2/4", {}) == Share(2, 4)
    assert Share.parse(None, {}) == Share(0, 1)
    assert Share.parse(None, {"MESHVERDICT_WORKERS": "3", "JOB_COMPLETION_INDEX": "1"}) == Share(1, 3)
    for text in ("4/4", "x", "1", "-1/2", "1/0"):
        with pytest.raises(UsageError):
            Share.parse(text, {})
