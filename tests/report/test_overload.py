"""What a report shows of an overload, from a run folder with a search, a trigger and a sweep."""

import json

import pytest
import synthetic

from meshverdict.report.build import build
from meshverdict.report.files import read_run
from meshverdict.report.render import render


def _contents(folder):
    return read_run(folder)


@pytest.fixture
def troubled(tmp_path):
    """A run whose phases say that something was triggered, with a sweep in its measures."""
    folder = synthetic.write_run(tmp_path / "run")
    run = json.loads((folder / "run.json").read_text())
    first, *others = run["phases"]
    middle = (first["start"] + first["end"]) / 2
    run["phases"] = [
        {"name": "before the trigger", "start": first["start"], "end": middle},
        {"name": "trigger", "start": middle, "end": middle + 2},
        {"name": "aftermath", "start": middle + 2, "end": first["end"]},
        *others,
    ]
    points = [
        {"limit": 40.0, "goodput": 40.0, "queue": 0.0, "limited": 0.5, "sustained": True},
        {"limit": 80.0, "goodput": 5.0, "queue": 90.0, "limited": 0.0, "sustained": False},
    ]
    run["measures"] |= {
        "capacity": {"per_s": 44.0, "reached_at": 50.0, "folder": "capacity"},
        "sweep": {"value": 40.0, "goodput": 40.0, "points": points},
        "limit_per_s": 40.0,
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "capacity").mkdir()
    (folder / "capacity" / "load.jsonl").write_text((folder / "load.jsonl").read_text())
    return folder


def test_the_page_tells_trigger_capacity_and_sweep(troubled):
    """In a sentence, in charts, and the sweep as a table."""
    report = build(_contents(troubled))
    assert report.overload.story.words
    assert report.overload.ramp.capacity == 44.0
    assert [step.sustained for step in report.overload.steps] == [True, False]
    page = render(report)
    for words in (
        "The capacity was 44.0",
        "Offered load and goodput",
        "The search for the capacity",
        "the queue grows",
    ):
        assert words in page
    assert 'id="overload"' in page


def test_a_run_without_overload_has_no_such_section(tmp_path):
    """Nothing was searched, triggered or turned away."""
    report = build(_contents(synthetic.write_run(tmp_path / "run")))
    assert report.overload is None
    assert 'id="overload"' not in render(report)


@pytest.mark.parametrize("folder", ["../elsewhere", "", 7, "missing"])
def test_a_search_that_is_not_there_is_left_out(troubled, folder):
    """A folder's name out of a file is not followed out of the run."""
    run = json.loads((troubled / "run.json").read_text())
    run["measures"]["capacity"]["folder"] = folder
    (troubled / "run.json").write_text(json.dumps(run))
    assert build(_contents(troubled)).overload.ramp is None
