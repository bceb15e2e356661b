"""A run on the embedded lab beside one on a real cluster: where they agree, and what may explain where they do not."""

import json
from pathlib import Path

import jsonschema
import pytest

from meshverdict.report.compare import compare_paths
from meshverdict.report.fidelity import KINDS, as_table, differences
from meshverdict.report.files import write_report

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "compare.json").read_text())


@pytest.fixture
def make_real(make_run):
    """Writes a run that says that it was made on a real cluster."""

    def make(name="real", change=None, **shape):
        folder = make_run(name, **shape)
        run = json.loads((folder / "run.json").read_text())
        run["cluster"] = {
            "kind": "real",
            "context": "minikube",
            "version": "v1.35.1",
            "cni": "Cilium v1.19.0",
        }
        if change:
            change(run)
        (folder / "run.json").write_text(json.dumps(run))
        return folder

    return make


def lines(comparison):
    """The lines of an agreement by what they are about."""
    return {line.what: line for line in comparison.agreement.lines}


def test_two_runs_of_one_kind_have_no_agreement(make_run, make_real):
    """It is about the embedded lab's truth, so it needs one of each."""
    assert compare_paths(make_run("a"), make_run("b", seed=2)).agreement is None
    assert compare_paths(make_real("c"), make_real("d", seed=2)).agreement is None


def test_a_lab_that_tells_the_truth_agrees_in_everything(make_run, make_real):
    """Slower throughout, and with the same effects: what counts is what the treatment did."""
    comparison = compare_paths(make_run("a"), make_real(seed=2, speed=3.0))
    assert comparison.agreement.embedded == "a"
    assert [line.what for line in comparison.agreement.lines if line.agree is False] == []
    assert {line.kind for line in comparison.agreement.lines} == set(KINDS)
    assert "agree in" in comparison.agreement.sentence


def test_a_cluster_that_enforces_nothing_differs_and_the_list_says_where_to_look(make_run, make_real):
    """The order of the two does not matter; each line that differs names entries of the list of differences."""
    comparison = compare_paths(make_real(enforced=False), make_run("b"))
    assert comparison.agreement.embedded == "b"
    found = lines(comparison)
    verdict = found["verdict of the run"]
    assert (verdict.embedded, verdict.real, verdict.agree) == ("HOLDS", "DEVIATES", False)
    denied = found["b-apacherr \u2192 redis-svc.d-redis:7379"]
    assert (denied.embedded, denied.real, denied.agree) == ("denied", "never denied", False)
    assert "Network policy" in denied.because
    dropped = [line for line in comparison.agreement.lines if line.kind == "flows"]
    assert dropped
    assert {(line.embedded, line.real) for line in dropped} == {("dropped", "not dropped")}


def test_times_of_enforcement_are_alike_within_a_factor(make_run, make_real):
    """3.4 ms and 9 ms are; 3.4 ms and a second are not."""

    def after(seconds):
        def change(run):
            run["treatment"]["in_effect"] = run["treatment"]["applied"] + seconds

        return change

    first = make_run("a")
    near = lines(compare_paths(first, make_real("near", after(0.009))))["from apply to the first denial"]
    far = lines(compare_paths(first, make_real("far", after(1.0))))["from apply to the first denial"]
    assert (near.agree, far.agree) == (True, False)
    assert "API server and controllers" in far.because


def test_what_one_side_did_not_see_is_not_called_agreement(make_run, make_real):
    """A cluster without a flow log tells nothing about dropped flows."""
    other = make_real()
    (other / "flows.jsonl").unlink()
    comparison = compare_paths(make_run("a"), other)
    dropped = [line for line in comparison.agreement.lines if line.kind == "flows"]
    assert {line.agree for line in dropped} == {None}
    assert "could not be told" in comparison.agreement.sentence


@pytest.mark.parametrize("output", ["text", "md", "json", "html"])
def test_every_form_has_it(make_run, make_real, output):
    """With what differs, why it may, and the page to read."""
    text = compare_paths(make_run("a"), make_real(enforced=False)).render(output)
    assert "agree in" in text
    assert "Network policy" in text
    if output == "json":
        jsonschema.validate(json.loads(text), SCHEMA)
    else:
        assert "docs/fidelity.md" in text


def test_the_documented_list_is_the_one_that_reports_carry():
    """docs/fidelity.md is made from fidelity.json; an entry touches only what a comparison has."""
    assert as_table() in (ROOT / "docs" / "fidelity.md").read_text()
    assert {kind for d in differences() for kind in d.touches} <= set(KINDS)
    assert len({d.key for d in differences()}) == len(differences())


def test_a_report_of_the_embedded_lab_carries_the_list_and_one_of_a_real_cluster_does_not(
    make_run, make_real
):
    """It is about the lab; of a real cluster the box says what was found there."""
    here = write_report(make_run("a")).read_text()
    there = write_report(make_real()).read_text()
    assert all(d.about in here for d in differences())
    assert "docs/fidelity.md" in here
    assert "docs/fidelity.md" not in there
    assert "Network plug-in: Cilium v1.19.0" in there
