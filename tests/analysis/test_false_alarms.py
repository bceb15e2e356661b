"""A/A and A/B on simulated campaigns: how often identical arms are called different, and real ones are not."""

import math

import numpy as np
import pytest
from simulated import MODELS, campaigns

from meshverdict.analysis.campaign import StopRule
from meshverdict.analysis.maxt import adjusted_p, simultaneous_intervals
from meshverdict.analysis.permutation import LEVEL, interval
from meshverdict.analysis.verdict import judge

SEED = 20261122  # fixed before the first simulation was run
CAMPAIGNS = 2000
PAIRS = 8


def upper_bound(hits, n, confidence=0.95):
    """One-sided upper confidence bound of a share (Clopper and Pearson, 1934), by bisection on the binomial."""
    low, high = hits / n, 1.0
    logs = np.cumsum(np.log(np.arange(1, n + 1)))
    choose = [
        logs[-1] - (logs[k - 1] if k else 0) - (logs[n - k - 1] if n > k else 0) for k in range(hits + 1)
    ]
    for _ in range(50):
        p = (low + high) / 2
        tail = sum(math.exp(choose[k] + k * math.log(p) + (n - k) * math.log1p(-p)) for k in range(hits + 1))
        low, high = (p, high) if tail > 1 - confidence else (low, p)
    return high


def differs(differences):
    """Whether the primary metric's interval excludes "no effect"."""
    low, high = interval(differences)
    return low > 0 or high < 0


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_identical_arms_are_called_different_in_at_most_6_percent(model):
    """2,000 campaigns of 8 pairs of each kind, p50 and p99: the upper 95 % bound of the share is at most 6 %."""
    made = campaigns(np.random.default_rng([SEED, MODELS.index(model)]), model, count=CAMPAIGNS, pairs=PAIRS)
    for metric in range(2):
        alarms = sum(map(differs, made[:, :, metric]))
        assert upper_bound(alarms, CAMPAIGNS) <= 0.06, (model, metric, alarms / CAMPAIGNS)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_looking_at_all_metrics_costs_no_false_alarms(model):
    """The whole family of secondary metrics raises an alarm in at most 6 % of identical arms, all together."""
    made = campaigns(
        np.random.default_rng([SEED, 7, MODELS.index(model)]), model, count=CAMPAIGNS, pairs=PAIRS
    )
    alarms = sum(bool((adjusted_p(campaign) <= LEVEL).any()) for campaign in made)
    assert upper_bound(alarms, CAMPAIGNS) <= 0.06, (model, alarms / CAMPAIGNS)


def test_one_look_before_the_end_costs_no_false_alarms():
    """Campaigns of 12 pairs that may stop after 8: at most 6 % of identical arms are called different."""
    rule = StopRule(after=8)
    alarms = 0
    for campaign in np.random.default_rng([SEED, 23]).normal(0, 0.05, size=(1000, 12)):
        low, high = interval(campaign, rule.final_level)
        alarms += rule.stops(campaign[:8]) or low > 0 or high < 0
    assert upper_bound(int(alarms), 1000) <= 0.06


@pytest.mark.slow
def test_simultaneous_intervals_hold_together():
    """In 400 campaigns with four true effects, all four are covered in at least 93 %."""
    rng = np.random.default_rng([SEED, 11])
    truth = np.array([0.0, 0.1, -0.05, 0.3])
    made = campaigns(rng, "bimodal", count=400, pairs=PAIRS) + truth
    covered = 0
    for campaign in made:
        bounds = simultaneous_intervals(campaign)
        covered += all(low <= value <= high for (low, high), value in zip(bounds, truth, strict=True))
    assert covered / len(made) >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize(("model", "least"), [("autocorrelated", 0.9), ("drifting", 0.8)])
def test_ten_percent_of_the_median_is_found(model, least):
    """A 10 % shift at 8 pairs is found in 90 % of the campaigns; in 80 % when each run drifts 4 % from the last."""
    rng = np.random.default_rng([SEED, 13, MODELS.index(model)])
    made = campaigns(rng, model, count=300, pairs=PAIRS, requests=2000, effect=1.1)
    assert np.mean([differs(campaign[:, 0]) for campaign in made]) >= least


@pytest.mark.slow
def test_where_chance_hides_ten_percent_the_verdict_says_so():
    """Runs whose slow path comes and goes scatter too much for 10 %: what is not found was beyond `could have seen`."""
    rng = np.random.default_rng([SEED, 19])
    made = campaigns(rng, "bimodal", count=100, pairs=PAIRS, requests=1000, effect=1.1)
    effects = [judge({"p50": campaign[:, 0]}, primary="p50")[0] for campaign in made]
    missed = [effect for effect in effects if effect.word != "differs"]
    assert len(missed) > 50
    assert {effect.word for effect in missed} == {"undecided"}
    assert np.mean([effect.could_see > 0.1 for effect in missed]) > 0.95


def test_a_spread_that_exploded_at_the_same_median_is_found():
    """A comparison of medians alone would pass it."""
    rng = np.random.default_rng([SEED, 17])
    made = campaigns(rng, "autocorrelated", count=20, pairs=PAIRS, requests=1000, spread=2.0)
    for campaign in made:
        effects = judge({"p50": campaign[:, 0], "spread": campaign[:, 2]}, primary="p50")
        assert effects[1].verdict == "differs"
    medians = [judge({"p50": c[:, 0]}, primary="p50")[0].word for c in made]
    assert medians.count("differs") <= 4


def test_the_bound_is_clopper_and_pearsons():
    """Against published values: 0 of 20 and 5 of 20, one-sided 95 %."""
    assert upper_bound(0, 20) == pytest.approx(0.1391, abs=1e-4)
    assert upper_bound(5, 20) == pytest.approx(0.4556, abs=1e-4)
