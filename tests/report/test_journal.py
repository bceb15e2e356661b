"""Journals as Chaos Toolkit really writes them."""

import pytest

from meshverdict.model.errors import RecordError
from meshverdict.report.journal import read_journal
from meshverdict.report.journal_words import timestamp, tolerance_words


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("J-ok", None),
        ("J-http", None),
        ("J-bg", None),
        ("J-after-fails", None),
        ("J-action-exception", "No such file or directory"),
        ("J-action-nonzero", "ended with status 3"),
        ("J-before-fails", "not met before the method"),
        ("J-http-refused", "failed: "),
        ("J-rollback-fails", "rollback "),
        ("J-sigterm", "interrupted, not completed"),
    ],
)
def test_what_a_journal_really_says(journals, name, problem):
    """Nine of ten say `completed` or exit 0; what happened is read from the activities."""
    path = journals / f"{name}.json"
    journal = read_journal(path.read_text(), origin=name)
    if problem is None:
        assert journal.problems == ()
    else:
        assert any(problem in text for text in journal.problems), journal.problems


def test_an_interrupted_activity_has_no_status(journals):
    """SIGTERM leaves an activity without its `status`, and no rollback."""
    journal = read_journal((journals / "J-sigterm.json").read_text(), origin="J")
    assert [a.failure for a in journal.run] == ["was cut off before it ended"]
    assert journal.rollbacks == ()


def test_a_failed_hypothesis_after_the_method_is_a_deviation_not_a_problem(journals):
    """It says something about the claim."""
    journal = read_journal((journals / "J-after-fails.json").read_text(), origin="J")
    assert (journal.deviated, journal.before.met, journal.after.met) == (True, True, False)


@pytest.mark.parametrize("text", ["", '{"experiment": {', "[]", "{}", '{"experiment": []}', "null"])
def test_what_is_not_a_journal_is_refused_by_name(text):
    """A truncated file is named, not traced back."""
    with pytest.raises(RecordError, match=r"somewhere/journal\.json"):
        read_journal(text, origin="somewhere/journal.json")


@pytest.mark.parametrize(
    "text",
    [
        '{"experiment": {}}',
        '{"experiment": {"method": "x", "rollbacks": {}}, "run": {}, "rollbacks": null}',
        '{"experiment": {"title": 3}, "steady_states": {"before": {"probes": [1, {}]}}, "run": [{}, 7]}',
        '{"experiment": {"extensions": [{"name": "meshverdict"}, 3]}, "steady_states": [], "start": 5}',
    ],
)
def test_odd_shapes_are_read_as_far_as_they_go(text):
    """Journals of other versions lack keys or carry other types."""
    assert read_journal(text, origin="J").status == ""


@pytest.mark.parametrize(
    ("tolerance", "words"),
    [
        (0, "0"),
        (True, "true"),
        ([200, 302], "one of 200, 302"),
        ({"type": "range", "range": [0, 5]}, "between 0 and 5"),
        ({"type": "regex", "pattern": "^a"}, "matches ^a"),
        ({"type": "jsonpath", "path": "$.x", "expect": [1]}, "$.x = [1]"),
        ({"type": "probe", "name": "other"}, "probe other agrees"),
        (None, ""),
    ],
)
def test_tolerances_in_words(tolerance, words):
    """Each kind of tolerance that Chaos Toolkit knows."""
    assert tolerance_words(tolerance) == words


def test_times_without_a_zone_are_utc():
    """Older versions of chaoslib write none."""
    assert timestamp("2020-01-01T00:00:00") == timestamp("2020-01-01T00:00:00+00:00") == 1577836800
