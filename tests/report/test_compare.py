"""Two runs side by side: a description with a way to a verdict, or a refusal with a reason."""

import json
from pathlib import Path

import jsonschema
import pytest

from meshverdict.model.errors import RecordError, UsageError
from meshverdict.report.compare import compare_paths

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "compare.json").read_text())


def test_every_probe_and_measure_is_put_side_by_side(make_run):
    """Tolerance, before, after, met or not; goodput, errors and latency of every case and window."""
    comparison = compare_paths(make_run("a"), make_run("b", seed=2, speed=1.5))
    assert comparison.comparable
    assert len(comparison.probes) == 3
    assert comparison.probes[0].tolerance == "between 0.99 and 1.0"
    p50 = next(
        m
        for m in comparison.measures
        if m.case.startswith("Case 1") and (m.window, m.name) == ("policy", "p50")
    )
    assert 1.4 < p50.ratio < 1.6
    assert {m.window for m in comparison.measures} == {"baseline", "policy", "removed"}


@pytest.mark.parametrize("output", ["text", "md", "html", "json"])
def test_every_form_says_that_it_is_no_verdict_and_how_to_get_one(make_run, output):
    """The command to type is part of the answer."""
    text = compare_paths(make_run("a"), make_run("b", seed=2)).render(output)
    assert "meshverdict run experiments/isolate-redis.json --pairs 8" in text
    assert "description" in text.lower()


def test_another_output_is_refused(make_run):
    """The message lists those there are."""
    with pytest.raises(UsageError, match="text, md, json, html"):
        compare_paths(make_run("a"), make_run("b")).render("pdf")


def test_the_json_follows_the_published_schema(make_run, journals):
    """With and without a record, comparable or not."""
    pairs = [
        (make_run("a"), make_run("b", seed=2)),
        (journals / "J-ok.json", journals / "J-ok.json"),
        (journals / "J-ok.json", journals / "J-sigterm.json"),
        (make_run("c", enforced=False), journals / "J-http.json"),
    ]
    for a, b in pairs:
        jsonschema.validate(json.loads(compare_paths(a, b).render("json")), SCHEMA)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("J-before-fails", "not met before the method"),
        ("J-action-exception", "failed"),
        ("J-action-nonzero", "status 3"),
        ("J-http-refused", "failed"),
        ("J-rollback-fails", "rollback"),
        ("J-sigterm", "interrupted"),
    ],
)
def test_journals_of_runs_that_failed_are_refused(journals, name, reason):
    """Most of them say `completed`."""
    comparison = compare_paths(journals / f"{name}.json", journals / f"{name}.json")
    assert not comparison.comparable
    assert any(reason in text for text in comparison.refusals)
    assert comparison.probes == comparison.measures == ()


def test_different_experiments_are_refused(journals):
    """Their probes ask different questions."""
    comparison = compare_paths(journals / "J-ok.json", journals / "J-http.json")
    assert "different experiments" in comparison.refusals[0]
    assert "Not comparable" in comparison.render("text")
    assert "Not comparable" in comparison.render("md")
    assert "cannot be compared" in comparison.render("html")


def test_plain_journals_are_compared_by_their_probes(journals):
    """A Chaos Toolkit user needs none of our files."""
    comparison = compare_paths(journals / "J-ok.json", journals / "J-ok.json")
    assert comparison.comparable
    assert comparison.probes
    assert "A has no load record" in comparison.warnings


def test_a_run_with_an_untrustworthy_load_is_refused(make_run):
    """A late generator measured itself."""
    comparison = compare_paths(make_run("a"), make_run("b", lag_us=30_000.0))
    assert comparison.refusals[0].startswith("B: load: the generator was late")


def test_other_settings_machines_and_versions_are_warned_of(make_run):
    """They may be the whole difference."""
    b = make_run("b", denied="reject")
    run = json.loads((b / "run.json").read_text())
    run["machine"]["cores"] = 16
    run["software"]["redis"] = "8.0.0"
    (b / "run.json").write_text(json.dumps(run))
    warnings = " ".join(compare_paths(make_run("a"), b).warnings)
    for words in ("denied drop → reject", "cores 2 → 16", "redis 7.0.15 → 8.0.0"):
        assert words in warnings


def test_markdown_cannot_be_broken_by_names(make_run):
    """A probe named like markup stays text in a pull-request comment."""
    a = make_run("a")
    text = (
        (a / "journal.json").read_text().replace("Case 1 answers", "| <img src=x> `x` **b** | Case 1 answers")
    )
    (a / "journal.json").write_text(text)
    shown = compare_paths(a, a).render("md")
    assert "<img" not in shown.replace("\\<img", "")
    row = next(line for line in shown.splitlines() if "Case 1 answers" in line)
    assert row.replace("\\|", "").count("|") == 7


def test_what_does_not_exist_is_named(tmp_path):
    """Not a traceback."""
    with pytest.raises(RecordError, match="no such run folder"):
        compare_paths(tmp_path / "x", tmp_path / "y")
