"""The suite's plan: in the order of the claims, what fits into ten minutes, and a word on what does not."""

import json

import pytest

from meshverdict.chaos import suite
from meshverdict.chaos.campaign import run_once
from meshverdict.chaos.suite import QUICK_S, run_suite, suite_plan
from meshverdict.model.errors import LabError, UsageError


@pytest.fixture
def folder(tmp_path):
    """Experiments of 20, 30 and 40 s and more; the quick form of the last takes 5 s."""

    def write(name, seconds, **declaration):
        experiment = {
            "configuration": {"baseline_s": 0, "hold_s": seconds},
            "extensions": [{"name": "meshverdict", **declaration}],
            "method": [{"name": "hold", "provider": {"arguments": {"seconds": "${hold_s}"}}}],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(experiment))

    write("zebra", 40, quick={"hold_s": 5})
    write("isolate-redis", 20)
    write("canary", 30, paired=False)
    return tmp_path


def plan(folder, **options):
    return suite_plan(folder, seed=1, reports=folder / "reports", **options)


def test_claims_come_first_and_the_price_is_known(folder):
    """In the order of the page; the full form has eight pairs, and one run where a run compares within itself."""
    found = plan(folder, quick=False)
    assert [p.file.stem for p in found.parts] == ["isolate-redis", "canary", "zebra"]
    assert [p.pairs for p in found.parts] == [8, 0, 8]
    assert found.budget_s is None
    assert found.words == "3 experiments, 8 pairs each (one run of 1): about 22 minutes"


def test_quick_form_takes_the_declared_values_and_as_many_pairs_as_fit(folder):
    """30 and 15 s a run, pairs of both in what the single run leaves."""
    found = plan(folder, quick=True)
    assert {p.file.stem: p.values for p in found.parts}["zebra"] == {"hold_s": "5"}
    assert found.budget_s == QUICK_S
    assert sum(p.seconds for p in found.parts) <= QUICK_S
    assert {p.pairs for p in found.parts} == {0, 5}


def test_one_pair_is_not_made_where_two_do_not_fit(folder):
    """One run says as much, in half the time."""
    for number in range(8):
        (folder / f"more-{number}.json").write_text((folder / "isolate-redis.json").read_text())
    assert {p.pairs for p in plan(folder, quick=True).parts} == {0}


def test_what_does_not_fit_is_not_begun_and_says_so(folder, monkeypatch):
    """Every run takes 275 s here: what needs 300 finds too little left, and what needs less is still made."""
    now, ran = [0.0], []

    def run(part, *_, left, **__):
        ran.append((part.file.stem, left))
        now[0] += 275

    monkeypatch.setattr(suite, "_run", run)
    failed = run_suite(
        plan(folder, quick=True), seed=1, reports=folder, progress=lambda _: None, clock=lambda: now[0]
    )
    assert ran == [("canary", QUICK_S), ("zebra", QUICK_S - 275)]
    assert failed == {"isolate-redis": "not begun: 285 s were left, and it takes about 300 s"}


def test_failure_of_one_does_not_keep_the_others_from_being_measured(folder, monkeypatch):
    """And its reason is told."""
    ran = []

    def run(part, *_, **__):
        ran.append(part.file.stem)
        if part.file.stem == "canary":
            raise LabError("no Envoy")

    monkeypatch.setattr(suite, "_run", run)
    failed = run_suite(plan(folder, quick=False), seed=1, reports=folder, progress=lambda _: None)
    assert (ran, failed) == (["isolate-redis", "canary", "zebra"], {"canary": "no Envoy"})


def test_folder_without_experiments_is_refused(tmp_path):
    """Not an empty page."""
    with pytest.raises(UsageError, match="no experiment"):
        suite_plan(tmp_path, quick=True, seed=1, reports=tmp_path)


def test_quick_form_begins_with_what_is_short(folder):
    """Of the claims' experiments; others follow, however short they are."""
    for number in range(8):
        (folder / f"more-{number}.json").write_text((folder / "isolate-redis.json").read_text())
    (folder / "ratelimit.json").write_text((folder / "zebra.json").read_text())
    names = [p.file.stem for p in plan(folder, quick=True).parts]
    assert names[:4] == ["ratelimit", "isolate-redis", "canary", "zebra"]


def test_a_run_that_was_cut_short_before_it_began_says_so(folder, monkeypatch):
    """Its row names the time, not an exit status: a real `chaos run`, interrupted while it is still starting."""
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    with pytest.raises(LabError, match=r"^interrupted after 0 s, when the time was over"):
        run_once(folder / "canary.json", {}, reports=folder / "reports", lab="cut-short", seconds=0.1)
    assert not (folder / "reports").exists()
