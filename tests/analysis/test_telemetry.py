"""A machine without room to measure is told from one with room, and odd samples do no harm."""

import math

import pytest

from meshverdict.analysis.telemetry import crowded, parse_samples


def machine(seconds=10, **shares):
    _, found = parse_samples({"t": 100 + i, "machine": shares} for i in range(seconds))
    return found


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        ({"busy": 0.99, "steal": 0.0, "pressure": 0.5}, ""),
        ({"busy": 0.99, "steal": 0.0, "pressure": 0.95}, "CPU pressure 95%"),
        ({"busy": 0.99, "steal": 0.0}, "99% busy"),
        ({"busy": 0.9, "steal": 0.0}, ""),
        ({"busy": 0.5, "steal": 0.2, "pressure": 0.1}, "20% of its cores' time was taken away"),
    ],
)
def test_a_crowded_machine_is_told_by_pressure_and_where_there_is_none_by_its_cores(shares, words):
    """Each limit alone."""
    reasons = crowded(machine(**shares), 100, 110)
    assert (words in "; ".join(reasons)) if words else reasons == ()


def test_too_few_samples_say_nothing():
    """Four seconds, or seconds outside the load."""
    assert crowded(machine(seconds=4, busy=1.0, steal=0.0), 100, 110) == ()
    assert crowded(machine(busy=1.0, steal=0.0), 500, 600) == ()
    assert crowded(None, 0, 1) == ()


def test_lines_of_other_kinds_and_odd_values_are_left_out():
    """Edges of the service graph, texts, infinities."""
    pods, found = parse_samples(
        [
            {"t": 2, "pod": "a/b", "gauges": {"threads": 4, "queue": "many"}},
            {"t": 1, "pod": "a/b", "gauges": {"threads": math.inf, "queue": True}},
            {"t": "now", "pod": "a/b", "gauges": {"threads": 1}},
            {"t": 1, "edge": {"from": "a", "to": "b"}},
        ]
    )
    assert found is None
    assert [(pod.source, pod.t, dict(pod.columns)) for pod in pods] == [
        ("a/b", (1, 2), {"threads": (None, 4.0)})
    ]


def test_a_counter_becomes_a_rate_and_survives_a_restart():
    """Seconds of CPU per second; a counter that fell says nothing."""
    rows = [(0, 1.0), (2, 2.0), (3, 0.5), (4, 0.7)]
    (pod,), _ = parse_samples({"t": t, "pod": "p", "gauges": {"cpu_seconds": v}} for t, v in rows)
    assert pod.rate("cpu_seconds") == (None, 0.5, None, pytest.approx(0.2))
