"""The report's chapter about zones: what stayed, what crossed, and the formula beside the measurement."""

import pytest

from meshverdict.analysis.windows import Window, Windows
from meshverdict.analysis.zones import Passed, ZoneLoad
from meshverdict.report.render.zones import conversations, zone_map
from meshverdict.report.zone_facts import zone_report

WINDOWS = Windows((Window("anywhere", "before", 10, 20), Window("measured", "during", 30, 40)), ())
PASSED = (
    Passed(12, "pippo/a", "paperino/0", "zone-a", "zone-a", 30, 3000),
    Passed(12, "paperino/1", "pippo/a", "zone-b", "zone-a", 50, 5000),
    Passed(32, "pippo/a", "paperino/0", "zone-a", "zone-a", 80, 8000),
)
SAVING = {
    "connection": "fresh",
    "round_trips": 6,
    "rtt_ms": 2.0,
    "saved_ms": 5.5,
    "formula_ms": 6.0,
    "price_per_gb": 0.02,
    "cost_per_month": {"with": 0.0, "without": 1.5},
    "with": {"mean_ms": 4.0, "crossing": 0.0},
    "without": {"mean_ms": 9.5, "crossing": 0.5},
}


def test_a_run_in_one_zone_has_no_such_chapter():
    """Neither traffic nor findings."""
    assert zone_report((), WINDOWS, {}) is None


def test_maps_are_by_window():
    """Both directions of a conversation are one line; what crosses is told apart in words, too."""
    found = zone_report(PASSED, WINDOWS, {})
    assert [one.window for one in found.maps] == ["anywhere", "measured"]
    talk = conversations(found.maps[0].edges)
    assert sorted((pair, values[0]) for pair, values in talk.items()) == [
        ((("paperino", "zone-a"), ("pippo", "zone-a")), 3.0),
        ((("paperino", "zone-b"), ("pippo", "zone-a")), 5.0),
    ]
    picture = zone_map(found.maps[0], 5.0)
    assert 'class="edge failing"' in picture
    assert "paperino in zone-b and pippo in zone-a: 5.0 packets a second" in picture
    assert 'class="edge failing"' not in zone_map(found.maps[1], 5.0)


def test_saving_stands_beside_its_formula():
    """As run.json has it: first without affinity, then with it."""
    saving = zone_report((), WINDOWS, {"saving": SAVING}).saving
    assert (saving.saved_ms, saving.formula_ms) == (5.5, 6.0)
    assert saving.mean_ms == (9.5, 4.0)
    assert saving.cost == (1.5, 0.0)


@pytest.mark.parametrize("missing", sorted(SAVING))
def test_half_a_saving_is_not_shown(missing):
    """A record that lacks a figure shows none of them; only the word for the connection may be missing."""
    told = {key: value for key, value in SAVING.items() if key != missing}
    saving = zone_report((), WINDOWS, {"saving": told}).saving
    assert (saving is None) is (missing != "connection")


def test_load_of_each_zone_is_told_and_half_of_it_is_not():
    """As the probe load_by_zone wrote it."""
    whole = {"zone": "zone-b", "pods": 3, "share": 0.5, "overload": 1.67}
    told = {"load_by_zone": {"measured": {"pippo/": [whole, {"zone": "zone-a", "pods": 7}]}}}
    found = zone_report((), WINDOWS, told)
    assert found.loads == (("measured", "pippo/", ZoneLoad("zone-b", 3, 0.5, 1.67)),)
