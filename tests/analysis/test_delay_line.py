"""A line between zones that was late, lossy or silent makes a run invalid; one that kept its promise does not."""

from __future__ import annotations

from typing import Any

import pytest

from meshverdict.analysis.delay_line import delay_line_reasons
from meshverdict.model.histogram import Histogram

START, END = 1_790_000_000.0, 1_790_000_030.0


def lines(late_us: float = 40.0, dropped: int = 0, *, without: range = range(0)) -> list[dict[str, Any]]:
    """A line a second, a hundred packets in each, after the samples of another source."""
    late = Histogram()
    late.add(late_us, 100)
    told = {"dropped": dropped, "late": late.as_json()}
    seconds = [i for i in range(31) if i not in without]
    other = [{"t": START, "pod": "a/b", "gauges": {"threads": 1}}]
    return [*other, *({"t": START + i, "delay_line": told} for i in seconds)]


def test_a_punctual_line_is_no_reason() -> None:
    """Forty microseconds over a delay of 1 ms are what a wake-up takes."""
    assert delay_line_reasons(lines(), 1.0, START, END) == ()


@pytest.mark.parametrize(("delay_ms", "late_us", "reasons"), [(1.0, 140, 0), (1.0, 160, 1), (5.0, 700, 0)])
def test_lateness_is_measured_against_the_delay(delay_ms: float, late_us: float, reasons: int) -> None:
    """15 % or 0.15 ms a crossing, the larger."""
    assert len(delay_line_reasons(lines(late_us), delay_ms, START, END)) == reasons


def test_a_late_line_is_named_with_its_figure() -> None:
    """What a report shows first."""
    (reason,) = delay_line_reasons(lines(2000.0), 1.0, START, END)
    assert reason == "zones: the delay line was late: p99 1.99 ms over the delay of 1 ms (limit 0.15 ms)"


def test_lost_packets_are_named() -> None:
    """A full queue is loss that nobody configured."""
    (reason,) = delay_line_reasons(lines(dropped=2), 1.0, START, END)
    assert reason == "zones: the delay line lost 62 packets for want of room"


@pytest.mark.parametrize("told", [[], lines(without=range(10, 20)), lines(without=range(20, 31))])
def test_a_silent_line_proves_nothing(told: list[dict[str, Any]]) -> None:
    """Never, for a while, or at the end."""
    (reason,) = delay_line_reasons(told, 1.0, START, END)
    assert reason.startswith("zones: the delay line told nothing for ")
