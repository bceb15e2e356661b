"""Shares by packets, the formula, and what cannot be told."""

import pytest

from meshverdict.analysis.windows import Window
from meshverdict.analysis.zones import (
    cost_per_month,
    edges,
    load_of_pods,
    load_of_zones,
    outage,
    parse_traffic,
    round_trips,
    saved_ms,
    share,
)


def line(t, *pairs):
    return {
        "t": t,
        "traffic": [
            {"from": a, "to": b, "from_zone": az, "to_zone": bz, "packets": n, "bytes": 100 * n}
            for a, az, b, bz, n in pairs
        ],
    }


LINES = (
    line(10.5, ("pippo/1", "a", "paperino/0", "a", 1000)),  # half of this second is before the window
    line(11.5, ("pippo/1", "a", "paperino/0", "a", 30), ("paperino/0", "a", "pippo/1", "a", 20)),
    line(12.5, ("pippo/2", "b", "paperino/0", "a", 6), ("paperino/0", "a", "pippo/2", "b", 4)),
    line(12.5, ("paperino/0", "a", "paperino/5", "b", 500), ("10.0.0.9", None, "paperino/0", "a", 7)),
    {"t": 13.0, "machine": {"busy": 0.5}},
)


def test_share_counts_both_directions_of_one_conversation():
    """Replication between caches, strangers and seconds that the window cuts are not part of it."""
    found = share(parse_traffic(LINES), "pippo/", "paperino/", 10, 20)
    assert (found.local_packets, found.cross_packets) == (50, 10)
    assert found.cross_bytes == 1000
    assert found.local == pytest.approx(50 / 60)
    assert found.crossing == pytest.approx(10 / 60)


def test_share_of_silence_is_unknown():
    """Neither 0 nor 1."""
    found = share(parse_traffic(LINES), "nobody/", "paperino/", 0, 20)
    assert found.local is None
    assert found.crossing is None


def test_map_is_per_second_of_the_windows():
    """By namespace and zone, what is no pod left out."""
    found = edges(parse_traffic(LINES), [Window("w", "before", 10, 20)])
    assert {(e.source, e.from_zone, e.destination, e.to_zone): e.packets for e in found} == {
        ("paperino", "a", "paperino", "b"): 50.0,
        ("paperino", "a", "pippo", "a"): 2.0,
        ("paperino", "a", "pippo", "b"): 0.4,
        ("pippo", "a", "paperino", "a"): 3.0,
        ("pippo", "b", "paperino", "a"): 0.6,
    }


def test_load_is_told_for_each_called_pod():
    """What the callers sent to it."""
    assert load_of_pods(parse_traffic(LINES), "pippo/", "paperino/", 10, 20) == {"paperino/0": 36}


@pytest.mark.parametrize(
    ("connection", "mtls", "turns"),
    [("pooled", False, 1), ("pooled", True, 1), ("fresh", False, 6), ("fresh", True, 7)],
)
def test_formula(connection, mtls, turns):
    """TLS between sidecars adds a round trip to new connections alone."""
    assert round_trips(connection, mtls=mtls) == turns
    assert saved_ms(turns, 0.5, 0.0, 2.0) == turns


def test_money():
    """1 MB a second for 730 hours is 2,628 GB."""
    assert cost_per_month(1e6, 0.01) == pytest.approx(26.28)


@pytest.mark.parametrize("broken", [{"t": "x", "traffic": []}, {"t": 1, "traffic": [3, {"from": 1}]}, {}])
def test_broken_lines_are_left_out(broken):
    """A record that was cut, or written by others, is no reason to fail."""
    assert parse_traffic([broken]) == ()


@pytest.mark.parametrize(
    ("errors", "over", "left"),
    [
        pytest.param({}, 0.0, 0.0, id="nothing was lost"),
        pytest.param({100: 3, 101: 2}, 1.5, 0.0, id="over with the last error"),
        pytest.param({100: 3, 108: 5}, None, 5 / 30, id="not over while the last seconds have errors"),
    ],
)
def test_outage_is_over_when_the_last_seconds_are_good(errors, over, left):
    """Counted from the moment of the failure, in the middle of second 100."""
    seconds = [(t, 10, errors.get(t, 0)) for t in range(95, 110)]
    found = outage(seconds, 100.5, 110)
    assert found.over_after_s == over
    assert found.share_left == pytest.approx(left)
    assert (found.requests, found.errors) == (100, sum(errors.values()))


def test_small_zone_carries_more_for_each_pod():
    """7 and 3 pods that share the packets of two halves: 5/7 and 5/3 of an even share; silent pods count."""
    zones = {f"pippo/{n}": "a" if n < 7 else "b" for n in range(10)}
    found = load_of_zones({"pippo/0": 50, "pippo/7": 30, "pippo/8": 20, "stranger/1": 900}, zones)
    assert [(one.zone, one.pods, one.share) for one in found] == [("a", 7, 0.5), ("b", 3, 0.5)]
    assert [one.overload for one in found] == [pytest.approx(5 / 7), pytest.approx(5 / 3)]


def test_shares_of_silence_are_unknown():
    """Not an even share of nothing."""
    assert load_of_zones({}, {"pippo/0": "a"}) == ()
