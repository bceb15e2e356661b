"""The commands about results: what they print, where they write, how they exit."""

import json

import pytest
import synthetic

from meshverdict.cli import main
from meshverdict.model.paths import data_folder
from meshverdict.report.claims import CLAIMS


@pytest.fixture
def two_runs(tmp_path):
    """A run that holds and one whose policy was not enforced."""
    good = synthetic.write_run(tmp_path / "good")
    bad = synthetic.write_run(tmp_path / "bad", synthetic.Shape(enforced=False, seed=2))
    return str(good), str(bad)


def test_compare_html_writes_a_file_and_prints_its_path(two_runs, tmp_path, monkeypatch, capsys):
    """In this folder, named after both, unless --out says where."""
    monkeypatch.chdir(tmp_path)
    assert main(["compare", two_runs[0], two_runs[0], "-o", "html"]) == 0
    assert capsys.readouterr().out == "compare-good-good.html\n"
    assert (tmp_path / "compare-good-good.html").read_text().startswith("<!doctype html>")
    assert main(["compare", two_runs[0], two_runs[0], "-o", "md", "--out", str(tmp_path / "c.md")]) == 0
    assert "two runs side by side" in (tmp_path / "c.md").read_text()


def test_compare_refuses_a_file_in_no_folder(two_runs, capsys):
    """Exit 2, with the folder's name."""
    assert main(["compare", *two_runs, "--out", "/nowhere/at/all.html"]) == 2
    assert "no folder /nowhere/at" in capsys.readouterr().err


def test_fail_on_differs_asks_for_the_answer_and_not_for_the_figures(two_runs, tmp_path, capsys):
    """HOLDS beside DEVIATES fails; two runs that both hold do not, though their figures are not the same."""
    other = str(synthetic.write_run(tmp_path / "other", synthetic.Shape(seed=9, speed=1.5)))
    assert main(["compare", *two_runs]) == 0
    assert main(["compare", *two_runs, "--fail-on", "differs"]) == 1
    assert main(["compare", two_runs[0], other, "--fail-on", "differs"]) == 0
    capsys.readouterr()


def test_report_says_what_a_folder_must_hold(tmp_path, capsys):
    """Neither a run nor a campaign."""
    assert main(["report", str(tmp_path)]) == 2
    assert "neither a run folder" in capsys.readouterr().err


def test_verdict_prints_the_page_as_json(tmp_path, capsys):
    """A row per claim, and the sentence that concludes."""
    synthetic.write_run(tmp_path / "reports" / "isolate-redis" / "20260101T000000Z")
    code = main(["verdict", "--page-only", "--reports", str(tmp_path / "reports"), "-o", "json"])
    page = json.loads(capsys.readouterr().out)
    assert (code, page["format"], len(page["claims"])) == (0, "verdict/1", len(CLAIMS))
    assert page["claims"][0]["verdict"] == "holds"
    assert page["conclusion"].startswith(f"Of {len(CLAIMS)} claims, ")


def test_a_page_of_nothing_is_no_success(tmp_path, capsys):
    """An empty folder of reports measures nothing: exit 3; one that is not there is a mistake: exit 2."""
    (tmp_path / "reports").mkdir()
    assert main(["verdict", "--page-only", "--reports", str(tmp_path / "reports")]) == 3
    assert "Nothing can be concluded yet" in capsys.readouterr().out
    assert main(["verdict", "--page-only", "--reports", str(tmp_path / "nope")]) == 2
    assert "nope: no such folder" in capsys.readouterr().err


def test_a_comparison_is_not_written_over_a_folder(two_runs, tmp_path, capsys):
    """The message names the option."""
    assert main(["compare", *two_runs, "--out", str(tmp_path)]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["run", "EXPERIMENT"], ["verdict"], ["sweep"]])
@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_reports_that_cannot_be_written_are_refused_before_a_lab_starts(command, below, tmp_path, capsys):
    """The message names the option that was typed, and what is in its way."""
    file = tmp_path / "file"
    file.touch()
    experiment = str(data_folder("experiments") / "isolate-redis.json")
    words = [experiment if word == "EXPERIMENT" else word for word in command]
    assert main([*words, "--reports", str(file / below)]) == 2
    assert f"{file} is no folder" in capsys.readouterr().err
