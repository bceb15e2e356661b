"""The statistics against brute force, against their definitions, and in the words that a page prints."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshverdict.analysis.maxt import adjusted_p, simultaneous_intervals
from meshverdict.analysis.mde import minimum_detectable_effect
from meshverdict.analysis.permutation import interval, p_value, sign_flips
from meshverdict.analysis.spread import spread_p
from meshverdict.analysis.verdict import judge

NUMBERS = st.floats(-1, 1, allow_subnormal=False).map(lambda x: round(x, 3))


def rejects(differences, effect, level):
    """The test, by its definition."""
    return p_value(differences - effect) <= level


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS, min_size=6, max_size=9, unique=True))
def test_the_interval_holds_exactly_what_the_test_does_not_reject(values):
    """Hartigan's order statistics are the inversion of the sign-flip test."""
    differences = np.array(values)
    low, high = interval(differences)
    step = 1e-6
    assert not rejects(differences, low + step, 0.05)
    assert not rejects(differences, high - step, 0.05)
    assert rejects(differences, low - step, 0.05)
    assert rejects(differences, high + step, 0.05)


def test_the_least_p_of_six_pairs_is_2_in_64():
    """Five pairs can never reach 0.05, six can."""
    assert p_value(np.full(6, 0.1)) == 2 / 64
    assert p_value(np.full(5, 0.1)) == 2 / 32
    assert interval(np.full(5, 0.1) + np.arange(5)) == (-math.inf, math.inf)
    assert interval(np.arange(1.0, 7.0)) == (1.0, 6.0)


def test_no_difference_at_all_is_p_1():
    """A metric that is 0 in every run, such as errors, has no effect and no scatter."""
    assert p_value(np.zeros(8)) == 1.0
    assert interval(np.zeros(8)) == (0.0, 0.0)
    assert simultaneous_intervals(np.zeros((8, 2))) == [(0.0, 0.0)] * 2


def test_many_pairs_are_sampled_and_stay_valid():
    """Above 14 pairs the patterns are drawn, the observed one among them."""
    assert sign_flips(20).shape == (2**14, 20)
    assert (sign_flips(20)[0] == 1).all()
    assert p_value(np.full(20, 0.1)) >= 2**-14


@settings(max_examples=40, deadline=None)
@given(st.lists(NUMBERS, min_size=7, max_size=8, unique=True))
def test_one_metric_pays_nothing_for_others(values):
    """With a single metric max-T is the sign-flip test."""
    differences = np.array(values)
    assert adjusted_p(differences[:, None])[0] == pytest.approx(p_value(differences))


def test_seven_metrics_at_eight_pairs_can_be_rejected():
    """Holm's least p is 7 x 2/256 = 0.055, so it never could; max-T can."""
    rng = np.random.default_rng(3)
    family = np.column_stack([rng.normal(0, 0.05, size=(8, 6)), rng.normal(0.4, 0.02, size=8)])
    ps = adjusted_p(family)
    assert ps[6] <= 0.05 < 7 * 2 / 256
    assert (ps[:6] > 0.05).all()


def test_p_and_interval_of_a_family_agree():
    """A metric whose interval excludes 0 has p <= 0.05, and the other way round."""
    rng = np.random.default_rng(6)
    for _ in range(40):
        family = rng.normal(0.04, 0.05, size=(8, 4))
        for p, (low, high) in zip(adjusted_p(family), simultaneous_intervals(family), strict=True):
            assert (p <= 0.05) == (low > 0 or high < 0)


def test_simultaneous_intervals_are_wider_than_single_ones():
    """Certainty about all of them costs width."""
    family = np.random.default_rng(5).normal(0.1, 0.05, size=(8, 5))
    for at, (low, high) in enumerate(simultaneous_intervals(family)):
        single = interval(family[:, at])
        assert low < single[0]
        assert high > single[1]


def test_an_effect_of_the_minimum_detectable_size_is_found_four_times_in_five():
    """About: its own estimate of the scatter, from eight pairs, is what makes it uncertain."""
    rng = np.random.default_rng(7)
    scatter = rng.normal(0, 0.04, size=(400, 8))
    mde = float(np.median([minimum_detectable_effect(row) for row in scatter]))
    found = np.mean([interval(row + mde)[0] > 0 for row in rng.normal(0, 0.04, size=(2000, 8))])
    assert 0.7 <= found <= 0.9


def test_a_treatment_that_scatters_from_run_to_run_is_found():
    """Medians alike on average, but five times as scattered."""
    rng = np.random.default_rng(9)
    control, wild = rng.normal(0, 0.02, 12), rng.normal(0, 0.2, 12)
    assert spread_p(control, wild) < 0.05
    assert spread_p(control, rng.normal(0.3, 0.02, 12)) > 0.05


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.10, 0.12, 0.09, 0.11, 0.10, 0.13, 0.08, 0.11], "differs"),
        ([-0.2, -0.21, -0.19, -0.2, -0.22, -0.18], "differs"),
        ([0.01, -0.01, 0.004, -0.006, 0.002, 0.0, -0.003, 0.005], "equivalent within +-5 %"),
        ([0.2, -0.2, 0.1, -0.1, 0.15, -0.15, 0.05, -0.05], "undecided: could have seen >= 18 %"),
        ([0.1] * 5, "invalid"),
        ([], "invalid"),
    ],
)
def test_the_four_verdicts_in_their_exact_words(differences, verdict):
    """Nothing else is ever printed."""
    assert judge({"p50": differences}, primary="p50")[0].verdict == verdict


def test_fewer_than_six_pairs_are_described():
    """The ratios are shown, without an interval, and the reason."""
    effect = judge({"p50": [0.1, 0.1, 0.1]}, primary="p50")[0]
    assert effect.ratio == pytest.approx(math.exp(0.1))
    assert len(effect.ratios) == 3
    assert (effect.low, effect.high) == (0.0, math.inf)
    assert "described, not judged" in effect.reason


def test_an_invalid_campaign_is_never_judged():
    """However clear its numbers look."""
    effect = judge({"p50": [0.5] * 8}, primary="p50", invalid="the treatment was never in effect")[0]
    assert (effect.verdict, effect.reason) == ("invalid", "the treatment was never in effect")


def test_the_margin_is_the_experiments():
    """Equivalence within 2 % is a stronger claim than within 5 %."""
    differences = [0.03, -0.03, 0.02, -0.02, 0.025, -0.025, 0.01, -0.01]
    assert judge({"p50": differences}, primary="p50", margin=0.05)[0].verdict == "equivalent within +-5 %"
    assert judge({"p50": differences}, primary="p50", margin=0.02)[0].word == "undecided"


def test_the_primary_metric_does_not_pay_for_the_others():
    """Looking at more metrics leaves its interval as it is, and comes after it."""
    rng = np.random.default_rng(1)
    primary = list(rng.normal(0.05, 0.03, 8))
    alone = judge({"p50": primary}, primary="p50")[0]
    crowd = judge({f"m{i}": list(rng.normal(0, 1, 8)) for i in range(6)} | {"p50": primary}, primary="p50")
    assert crowd[0] == alone
    assert [effect.primary for effect in crowd] == [True] + [False] * 6
