"""The plan of a campaign and the way from runs to pairs."""

import math

import numpy as np
import pytest

from meshverdict.analysis.campaign import Done, StopRule, gives_up, minutes_left, plan, remaining
from meshverdict.analysis.pairs import PairRun, pair_up


def test_the_order_is_drawn_by_a_coin_per_pair_and_remembered_by_the_seed():
    """Both arms of a pair are neighbours and have the same arrivals."""
    planned = plan(200, seed=4)
    assert planned == plan(200, seed=4) != plan(200, seed=5)
    pairs = [planned[i : i + 2] for i in range(0, 400, 2)]
    assert all({a.arm, b.arm} == {"treatment", "control"} and a.seed == b.seed for a, b in pairs)
    assert 70 < sum(a.arm == "treatment" for a, _ in pairs) < 130
    assert len({a.seed for a, _ in pairs}) == 200


def test_a_killed_campaign_goes_on_where_it_was():
    """A pair with one usable run is made again whole: its runs must be neighbours in time."""
    planned = plan(3, seed=1)
    done = [
        Done(1, "control", True),
        Done(1, "treatment", True),
        Done(2, "treatment", True),
        Done(3, "control", False),
    ]
    assert remaining(planned, done) == planned[2:]
    assert remaining(planned, []) == planned


def test_three_unusable_runs_in_a_row_end_it():
    """More of the same is no help."""
    bad = [Done(1, "control", False)] * 3
    assert gives_up(bad)
    assert not gives_up([*bad, Done(2, "control", True)])
    assert not gives_up(bad[:2])


def test_one_look_is_paid_for():
    """The level of the look and of the end add up to 5 %: simulated false alarms stay below."""
    rule = StopRule(after=8)
    assert rule.final_level == pytest.approx(0.04)
    assert rule.stops([0.1] * 8)
    assert not rule.stops([0.1] * 7)
    assert not rule.stops([0.1, -0.1] * 4)


def test_time_left():
    """From the runs so far; before the first, from what is expected."""
    planned = plan(4, seed=1)
    assert minutes_left(planned, [], 60.0) == 8.0
    assert minutes_left(planned[4:], [90.0, 30.0, 60.0], 1.0) == 4.0


def runs(*entries):
    return [PairRun(pair, arm, invalid, {"p50": value}) for pair, arm, value, invalid in entries]


def test_pairs_become_log_ratios():
    """Treatment over control; pairs that cannot be used are named."""
    paired = pair_up(
        runs(
            (1, "control", math.log(2), ()), (1, "treatment", math.log(3), ()),
            (2, "treatment", 1.0, ()),
            (3, "control", 1.0, ()), (3, "treatment", 9.0, ("generator: late",)),
        )
    )  # fmt: skip
    assert paired.pairs == (1,)
    assert paired.differences["p50"] == pytest.approx((math.log(1.5),))
    assert paired.left_out == ("pair 3, treatment: generator: late", "pair 2: one arm is missing")


def test_a_metric_that_some_run_lacks_is_left_out():
    """A case that never answered has no latency."""
    whole = {"p50": 1.0, "p99": 2.0}
    paired = pair_up([PairRun(1, "control", (), whole), PairRun(1, "treatment", (), {"p50": 1.0})])
    assert list(paired.differences) == ["p50"]
    assert "p99: some run has none" in paired.left_out


def test_the_last_usable_run_of_a_slot_counts():
    """A resumed campaign has made some runs twice."""
    paired = pair_up(runs((1, "control", 0.0, ()), (1, "control", 1.0, ()), (1, "treatment", 1.0, ())))
    assert np.allclose(paired.differences["p50"], 0.0)
