"""The measures of an overload, on made-up records whose answers are known."""

import math

import numpy as np
import pytest

from meshverdict.analysis import snowball
from meshverdict.analysis.snowball import Advice, Flow, SweepPoint

RATE = 64


def _flow(good, offered=RATE, start=1000):
    return Flow.of(start, [offered] * len(good) if isinstance(offered, int) else offered, good)


def _story(down_s, tail_s=80):
    """10 s of calm, a trigger of 2 s, so many seconds of nothing, calm again."""
    flow = _flow([RATE] * 10 + [0] * (2 + down_s) + [RATE] * tail_s)
    return flow, flow.between(1000, 1010), 1012.0


@pytest.mark.parametrize("down", [0, 1, 7, 36, 59])
def test_recovery_is_counted_from_the_end_of_the_trigger(down):
    """To the first of five seconds that are as good as before."""
    flow, before, end = _story(down)
    assert snowball.recovery_s(flow, before, end) == down
    assert snowball.metastable(flow, before, end) is False


def test_four_good_seconds_are_no_recovery():
    """Five in a row have to be as good as before together."""
    flow = _flow([RATE] * 10 + [0] * 4 + [RATE] * 4 + [0] * 10 + [RATE] * 20)
    assert snowball.recovery_s(flow, flow.between(1000, 1010), 1012.0) == 16


def test_down_for_sixty_seconds_is_metastable():
    """A recovery after that does not change the word; a record that is too short says nothing."""
    assert snowball.metastable(*_story(60)) is True
    assert snowball.metastable(*_story(80, tail_s=0)) is True
    assert snowball.metastable(*_story(59, tail_s=0)) is None


def test_a_baseline_of_half_its_offer_is_recovered_at_half():
    """The baseline is a share, so a changed load is judged by the same measure."""
    flow = _flow([32] * 10 + [0] * 5 + [31] * 10)
    assert snowball.recovery_s(flow, flow.between(1000, 1010), 1010.0) == 5
    assert snowball.recovery_s(flow, flow.between(2000, 2010), 1010.0) is None


def test_poisson_noise_alone_is_a_recovery_within_seconds():
    """A system that was never down is found so, in 200 records of Poisson arrivals."""
    random = np.random.default_rng(7)
    for _ in range(200):
        offered = random.poisson(RATE, 60)
        flow = Flow.of(0, offered.tolist(), offered.tolist())
        assert snowball.recovery_s(flow, flow.between(0, 10), 12.0) == 0


def test_collapses_are_stretches_not_seconds():
    """Two bad seconds are none; a collapse at the end is one."""
    flow = _flow([64, 64, 10, 10, 64, 0, 0, 0, 31, 64, 0, 0, 0])
    assert snowball.collapses(flow) == ((1005, 1009), (1010, 1013))
    assert snowball.collapses(_flow([])) == ()


def test_amplification_of_three_tiers_is_the_product():
    """Each tier tries three times: 3, 9, 27 requests for each user's one."""
    assert [snowball.amplification(100.0 * 3**n, 100.0) for n in (1, 2, 3)] == [3.0, 9.0, 27.0]
    assert snowball.amplification(5, 0) is None


def test_arrivals_at_a_server_are_what_it_finished_and_what_waits():
    """80 a second finished while the queue grows by 112: 192 arrived. A restart and a gap tell nothing."""
    assert snowball.arrived([0, 80, 160, 3, None, 90], [4, 116, 228, 0, 0, 0]) == (
        None,
        192,
        192,
        None,
        None,
        None,
    )


def _server(offered, capacity, deadline_s=1.0):
    """A first-come, first-served queue by the second: what it answers in time."""
    queue, good = 0.0, []
    for rate in offered:
        served = min(queue + rate, capacity)
        good.append(served if queue / capacity <= deadline_s else 0.0)
        queue += rate - served
    return good


@pytest.mark.parametrize("capacity", [20, 77, 400])
def test_the_knee_of_a_ramp_is_the_capacity(capacity):
    """Within 3 %, with Poisson arrivals, although goodput falls to nothing behind it."""
    random = np.random.default_rng(capacity)
    offered = random.poisson(np.linspace(capacity / 10, capacity * 2.2, 24))
    found = snowball.knee(Flow.of(0, offered.tolist(), _server(offered, capacity)))
    assert found.capacity == pytest.approx(capacity, rel=0.03)
    assert 0.85 * capacity < found.at < 1.35 * capacity


def test_a_ramp_that_stays_below_has_no_knee():
    """A load that was served to its end says nothing about the capacity."""
    offered = np.random.default_rng(1).poisson(np.linspace(5, 70, 24))
    assert snowball.knee(Flow.of(0, offered.tolist(), _server(offered, 100))) is None
    assert snowball.knee(_flow([0] * 20)) is None
    assert snowball.knee(_flow([1, 2])) is None


def test_the_value_of_a_sweep_is_the_largest_that_can_go_on():
    """Goodput rises with the limit to the capacity of 80, and falls behind it; a growing queue is no success."""
    told = [(40, 40, 0), (60, 60, 1), (84, 80, 30), (80, 79.5, 6), (76, 76, 2), (100, 30, 90), (160, 2, 300)]
    points = [SweepPoint(*values) for values in told]
    assert snowball.advise(points) == Advice(80, 79.5, 40, 2)
    assert snowball.advise([SweepPoint(40, 40), SweepPoint(80, 80)]) == Advice(80, 80, 40, None)
    assert snowball.advise([]) is None
    assert snowball.advise([SweepPoint(1, 0.0)]) is None
    assert snowball.advise([SweepPoint(10, 10, 50)]) is None
    assert snowball.goodput_at(points, 50) == 50
    assert snowball.goodput_at(points, 200) is None


def test_hysteresis_is_how_much_further_the_load_must_fall():
    """Up: followed to 80. Down: again from 40 on; without memory the two are the same."""
    up = list(range(10, 121, 2))
    down = up[::-1]
    rising = _flow([r if r <= 80 else 0 for r in up], up)
    found = snowball.hysteresis(rising, _flow([r if r <= 40 else 0 for r in down], down))
    assert found.collapse == pytest.approx(80, abs=4)
    assert found.recovery == pytest.approx(40, abs=4)
    assert found.gap == pytest.approx(40, abs=6)
    stuck = snowball.hysteresis(rising, _flow([0] * len(down), down))
    assert (stuck.recovery, stuck.gap) == (None, None)
    none = snowball.hysteresis(rising, _flow([r if r <= 80 else 0 for r in down], down))
    assert none.gap == pytest.approx(0, abs=6)
    assert snowball.hysteresis(_flow(up, up), _flow(down, down)) is None


def test_the_vulnerable_load_is_the_lowest_that_got_stuck():
    """None when none did."""
    assert snowball.vulnerable_load([(0.5, False), (0.8, True), (0.7, True), (0.95, True)]) == 0.7
    assert snowball.vulnerable_load([(0.5, False)]) is None


def test_the_share_to_reject_follows_from_limit_and_load():
    """At twice the capacity with a limit of 0.9 of it: 55 %."""
    assert math.isclose(snowball.rejected_share(160, 72), 0.55)
    assert snowball.rejected_share(10, 20) == snowball.rejected_share(0, 5) == 0


def test_an_ejection_is_a_time_without_requests():
    """From the last request to the next; one that was still going on is left out."""
    t = list(range(20))
    counter = [0, 5, 9, 9, 9, 9, 9, 12, 15, 15, 16, None, 18, 18, 18, 18, 18, 18, 18, 18]
    assert snowball.absences(t, counter, at_least_s=3) == ((2, 7),)
    assert snowball.absences(t, counter, at_least_s=3, unfinished=True) == ((2, 7), (12, 19))
    assert snowball.absences(t, counter, at_least_s=8, unfinished=True) == ()
