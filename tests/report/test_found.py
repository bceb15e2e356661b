"""Versions, ways round a firewall and blamed tiers, from made-up records, in the report."""

import pytest

from meshverdict.analysis.load_table import load_table
from meshverdict.analysis.windows import Window
from meshverdict.model.histogram import Histogram
from meshverdict.model.record import Second
from meshverdict.report.build import build
from meshverdict.report.contents import RunContents
from meshverdict.report.files import read_run
from meshverdict.report.found import Found, found_in
from meshverdict.report.render import render

WINDOW = Window("90/10", "during", 100, 110)
TRIES = [
    {
        "situation": "STRICT",
        "intruder": "b with sidecar",
        "to": "redis:1",
        "found": "denied",
        "how": "<reset>",
    },
    {"situation": "none", "intruder": "b with sidecar", "to": "redis:1", "found": "reached", "how": "+PONG"},
]
FAULT = {"tier": "c/app", "start": 1.0, "end": 2.0, "stall_ms": 90.0}
BLAME = {"tier": "c/app", "mesh": "c/app", "clients": ["b/apache", "c/app"], "apps": []}


def second(name, n, outcome="ok"):
    return Second(105, 0, name, outcome, 200, n, Histogram(counts={760: n}))


def test_versions_are_told_apart_by_kind_of_request():
    """Shares within a kind; what a version answered late counts as not good."""
    table = load_table(
        [
            second("/v 1", 60),
            second("/v 2", 20),
            second("/v 2", 10, "late"),
            second("/v?x 2", 7),
            second("/v", 3, "refused"),
        ]
    )
    rows = found_in(table, [WINDOW], {}).versions
    assert [(r.endpoint, r.version, r.n, r.share, r.errors) for r in rows] == [
        ("/v", "1", 60, pytest.approx(2 / 3), 0),
        ("/v", "2", 30, pytest.approx(1 / 3), 10),
        ("/v?x", "2", 7, 1.0, 0),
    ]


def test_run_that_looked_for_something_else_has_none_of_it(make_run):
    """No empty sections."""
    contents = read_run(make_run())
    assert build(contents).found == Found()
    page = render(build(contents))
    assert not any(f'id="{part}"' in page for part in ("versions", "tries", "blames"))


def test_damaged_measures_are_left_out():
    """Of another version, or cut."""
    found = found_in(None, [], {"tries": ["x", {}], "faults": None, "diagnoses": [BLAME]})
    assert (len(found.tries), found.blames) == (1, ())


def test_all_of_it_is_on_the_page_and_escaped(make_run):
    """Tables with a word for each outcome, not its colour alone."""
    contents = read_run(make_run())
    measures = {**contents.section("measures"), "tries": TRIES, "faults": [FAULT], "diagnoses": [BLAME]}
    changed = {**contents.run, "measures": measures}
    fields = {name: getattr(contents, name) for name in RunContents.__dataclass_fields__}
    page = render(build(RunContents(**{**fields, "run": changed})))
    for words in ("✗ got through", "✓ denied", "&lt;reset&gt;", "✓ app", "apache, app", "nobody"):
        assert words in page
