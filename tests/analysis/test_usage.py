"""Processor time per request from counters that were read at moments of their own."""

import math

import pytest

from meshverdict.analysis.usage import Usage, cpu_between, cpu_per_request, parse_usage, tier_use
from meshverdict.analysis.windows import Window

WINDOW = Window("measured", "during", 100, 110)


def counter(pod="c/app-1", container="app", *, rate=0.1, start=90, end=120, step=2, memory=math.nan):
    """A container that uses *rate* cores, read every *step* seconds."""
    t = tuple(float(s) for s in range(start, end + 1, step))
    return Usage(pod, container, t, tuple(rate * (s - start) for s in t), (memory,) * len(t))


def test_readings_between_which_the_window_lies_are_interpolated():
    """A counter that grows by 0.1 a second has grown by 1 s in ten."""
    assert cpu_between(counter(step=7), 100, 110) == pytest.approx(1.0)


def test_window_that_the_readings_cover_in_part_is_extrapolated_and_a_small_part_is_not():
    """Eight of ten seconds tell the rate; a container that came in the middle used what it used since."""
    assert cpu_between(counter(end=108), 100, 110) == pytest.approx(1.0)
    assert cpu_between(counter(start=106), 100, 110) == pytest.approx(0.4)
    assert cpu_between(counter(start=110), 100, 110) is None


def test_pods_that_were_replaced_in_the_window_are_not_lost():
    """The old pod's part and the new one's are together what the tier used."""
    usage = (
        counter("c/app-1", end=105, step=1, memory=10e6),
        counter("c/app-2", start=105, step=1, memory=10e6),
    )
    (used,) = tier_use(usage, [WINDOW])
    assert (used.cpu_s, used.memory) == (pytest.approx(1.0), pytest.approx(10e6))


def test_a_container_that_was_read_earlier_than_its_pod_keeps_its_own_time():
    """And what is told twice is one reading."""
    line = {
        "t": 9.0,
        "pod": "c/app-1",
        "containers": {"app": {"cpu_seconds": 1.0}, "x": {"cpu_seconds": 2, "t": 5.0}},
    }
    found = parse_usage([line, {**line, "t": 9.5}])
    assert {u.container: u.t for u in found} == {"app": (9.0, 9.5), "x": (5.0,)}


def test_container_that_was_started_again_counts_from_its_last_start():
    """The counter went back to nothing: what it lost is not taken for use."""
    again = Usage("c/app-1", "app", (90.0, 98.0, 100.0, 110.0), (5.0, 5.8, 0.0, 1.0), (math.nan,) * 4)
    assert cpu_between(again, 100, 110) == pytest.approx(1.0)


def test_tiers_and_sidecars_are_told_apart_and_added_up():
    """Two pods of one tier together; the sidecar by itself; memory as its mean over time."""
    usage = (
        counter("c/app-1", memory=10e6),
        counter("c/app-2", memory=30e6),
        counter("c/app-1", "istio-proxy", rate=0.05, memory=5e6),
    )
    found = {(u.tier, u.part): u for u in tier_use(usage, [WINDOW])}
    assert found["c", "app"].cpu_s == pytest.approx(2.0)
    assert found["c", "app"].memory == pytest.approx(40e6)
    assert found["c", "sidecar"].cpu_s == pytest.approx(0.5)
    assert cpu_per_request(usage, [WINDOW], 500) == pytest.approx(0.005)


def test_price_is_unknown_without_readings_or_requests():
    """Nothing is not zero."""
    assert cpu_per_request((), [WINDOW], 500) is None
    assert cpu_per_request((counter(),), [WINDOW], 0) is None


def test_lines_of_other_kinds_and_broken_values_are_left_out():
    """A telemetry file has many kinds of lines, and may have been written by something else."""
    lines = [
        {"t": 1.0, "pod": "c/app-1", "gauges": {"cpu_seconds": 9}},
        {"t": 1.0, "machine": {"busy": 0.5}},
        {"t": "soon", "pod": "c/app-1", "containers": {"app": {"cpu_seconds": 1}}},
        {"t": 1.0, "pod": "c/app-1", "containers": {"app": {"cpu_seconds": "much"}, "x": 3}},
        {"t": 3.0, "pod": "c/app-1", "containers": {"app": {"cpu_seconds": 2.0, "rss_bytes": 7}}},
        {"t": 2.0, "pod": "c/app-1", "containers": {"app": {"cpu_seconds": 1.0, "rss_bytes": 5}}},
    ]
    assert parse_usage(lines) == (Usage("c/app-1", "app", (2.0, 3.0), (1.0, 2.0), (5.0, 7.0)),)
