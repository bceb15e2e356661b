"""Shares of versions: the binomial interval against what is known, and counts from a made-up record."""

import random

import pytest

from meshverdict.analysis.load_table import load_table
from meshverdict.analysis.shares import answers_by_version, binomial_interval, judge_shares
from meshverdict.analysis.windows import Window
from meshverdict.model.histogram import Histogram
from meshverdict.model.record import Second


def seconds(name, n, *, t=100, outcome="ok"):
    return Second(t, 0, name, outcome, 200, n, Histogram(counts={700: n}))


def within(share):
    return {s.version: s.within for s in share}


@pytest.mark.parametrize(
    ("n", "p", "expected"), [(10, 0.5, (1, 9)), (100, 0.1, (3, 18)), (1, 0.5, (0, 1)), (0, 0.3, (0, 0))]
)
def test_interval_is_that_of_the_tables(n, p, expected):
    """Ten coins: P(0) = 1/1024 lies outside the middle 99 %, P(1 or less) = 11/1024 does not."""
    assert binomial_interval(n, p) == expected


def test_interval_holds_at_least_99_of_100_draws():
    """2,000 draws of 400 requests at 10 %, seed fixed beforehand; the interval is discrete, so a little more."""
    rng = random.Random(7)
    low, high = binomial_interval(400, 0.1)
    outside = sum(not low <= sum(rng.random() < 0.1 for _ in range(400)) <= high for _ in range(2000))
    assert outside <= 30


def test_answers_are_counted_by_the_version_in_the_name():
    """Those of the window alone; failed requests have no version, and other endpoints' names may end alike."""
    table = load_table(
        [
            seconds("/count/version 1.1.1", 90),
            seconds("/count/version 2.0.0", 10),
            seconds("/count/version 2.0.0", 5, outcome="late"),
            seconds("/count/version 2.0.0", 99, t=120),
            seconds("/count/version", 3, outcome="refused"),
            seconds("/count/version?insider 2.0.0", 7),
        ]
    )
    found = answers_by_version(table, "/count/version", [Window("90/10", "during", 100, 110)])
    assert found == {"1.1.1": 90, "2.0.0": 15}


def test_one_unnamed_version_may_answer_the_rest():
    """Asking for 10 % of one version says what the other must have."""
    assert within(judge_shares({"1": 905, "2": 95}, {"2": 0.1})) == {"1": True, "2": True}
    assert within(judge_shares({"1": 850, "2": 150}, {"2": 0.1})) == {"1": False, "2": False}


def test_a_single_answer_of_a_version_that_must_not_answer_is_seen():
    """Everybody means everybody."""
    assert within(judge_shares({"1": 1, "2": 999}, {"2": 1.0})) == {"1": False, "2": False}
    assert within(judge_shares({"1": 1, "2": 1, "3": 998}, {"1": 0.001})) == {
        "1": True,
        "2": False,
        "3": False,
    }
    assert within(judge_shares({"2": 999}, {"2": 1.0})) == {"2": True}


def test_a_version_that_was_asked_for_and_never_answered_is_judged_too():
    """Nothing at all where a quarter was due."""
    (one, two) = judge_shares({"1": 400}, {"2": 0.25})
    assert (one.within, two.within, two.n) == (False, False, 0)


def test_a_share_in_words():
    """The interval where there is one; all and none need none."""
    ten, rest = judge_shares({"1": 905, "2": 95}, {"2": 0.1})[::-1]
    assert str(ten) == "2 answered 95 of 1000 (9.5%; 10% makes 76 to 125)"
    assert str(rest) == "1 answered 905 of 1000 (90.5%; 90% makes 875 to 924)"
    assert [str(s) for s in judge_shares({"2": 7}, {"2": 1.0})] == ["2 answered all 7"]
