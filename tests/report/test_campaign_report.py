"""A campaign's folder turned into a verdict and a page."""

import json
import random
import shutil

import pytest
import synthetic

from meshverdict.analysis.campaign import Done, plan, remaining
from meshverdict.model.errors import RecordError, UsageError
from meshverdict.report.campaign import assess
from meshverdict.report.compare import compare_paths
from meshverdict.report.files import is_campaign, read_campaign, write_report
from meshverdict.report.judge import INVALID


@pytest.fixture(scope="module")
def eight_pairs(tmp_path_factory):
    """Eight pairs; the treatment makes case 1 8 % slower."""
    folder = tmp_path_factory.mktemp("campaign")
    make(folder, 8, effect=1.08)
    return folder


def make(folder, pairs, *, effect=1.0, seed=4):
    """Write the runs of a campaign."""
    rng = random.Random(seed)
    for pair in range(1, pairs + 1):
        base = rng.lognormvariate(0, 0.05)
        for place, arm in enumerate(rng.sample(["treatment", "control"], 2)):
            treated = arm == "treatment"
            speed = base * rng.lognormvariate(0, 0.01) * (effect if treated else 1.0)
            start = synthetic.START + pair * 1000 + place * 200
            shape = synthetic.Shape(arm=arm, pair=pair, seed=pair, start=start, treated=treated, speed=speed)
            synthetic.write_run(folder / f"20261101T{pair:02d}{place}000Z-pair{pair:02d}-{arm}", shape)


def judged(folder):
    return assess(read_campaign(folder), origin=str(folder))


def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_a_shift_of_8_percent_is_found_and_its_interval_holds_it(eight_pairs):
    """The primary metric first; case 2, which fails with the policy, shows in its errors."""
    campaign = judged(eight_pairs)
    first = campaign.effects[0]
    assert (campaign.verdict, campaign.exit_code, campaign.pairs) == ("differs", 1, 8)
    assert first.metric == "case-1 p50"
    assert first.low < 1.08 < first.high
    assert campaign.held == (8, 8)
    assert next(e for e in campaign.effects if e.metric == "case-2 error share").word == "differs"
    assert "case-1 error share: no run had any" in campaign.left_out


def test_a_ratio_with_nothing_has_a_direction_and_no_size(eight_pairs, tmp_path):
    """Case 2 never fails without the policy and always with it: the page says so beside the ratio that this makes."""
    campaign = judged(eight_pairs)
    assert dict(campaign.none) == {"case-2 goodput": (0, 8), "case-2 error share": (8, 0)}
    assert campaign.as_dict()["none"]["case-2 goodput"] == {"control": 0, "treatment": 8}
    folder = copy(eight_pairs, tmp_path)
    for path in folder.glob("*/journal.json"):
        value = json.loads(path.read_text())
        value["experiment"]["extensions"][0] |= {"primary": "case-2 goodput"}
        path.write_text(json.dumps(value))
    page = write_report(folder).read_text()
    assert "none at all in 8 of 8 runs with the treatment" in page
    assert "a direction, not a size" in page


def test_identical_arms_are_not_called_different(tmp_path):
    """Seed 4, fixed beforehand; the answer is one of the other verdicts, with its number."""
    make(tmp_path, 6)
    campaign = judged(tmp_path)
    assert campaign.effects[0].word in {"undecided", "equivalent"}
    assert campaign.exit_code == 0


def test_the_page_says_verdict_interval_and_method(eight_pairs, tmp_path):
    """Made again by the same call as a run's report; it stands alone."""
    folder = copy(eight_pairs, tmp_path)
    assert is_campaign(folder)
    text = write_report(folder).read_text()
    for words in (
        "differs",
        "case-1 p50",
        "Effect on each metric",
        "95 % interval",
        "could have seen",
        "max-T",
    ):
        assert words in text
    assert "20261101T011000Z-pair01-" in text
    assert "default-src" in text


def test_the_json_has_every_number(eight_pairs):
    """For a pipeline: verdict, bounds, pairs, exit code."""
    value = json.loads(json.dumps(judged(eight_pairs).as_dict(), allow_nan=False))
    assert (value["format"], value["verdict"], value["exit"], value["pairs"]) == (
        "campaign/1",
        "differs",
        1,
        8,
    )
    assert len(value["effects"][0]["pairs"]) == 8


def test_fewer_than_six_pairs_are_described(eight_pairs, tmp_path):
    """Their ratios are on the page, a verdict is not."""
    folder = copy(eight_pairs, tmp_path)
    for run in [*folder.glob("*-pair07-*"), *folder.glob("*-pair08-*"), *folder.glob("*-pair06-*")]:
        shutil.rmtree(run)
    campaign = judged(folder)
    assert (campaign.verdict, campaign.exit_code) == ("invalid", 3)
    assert "described, not judged" in campaign.invalid
    assert len(campaign.effects[0].ratios) == 5
    assert "cannot be judged" in write_report(folder).read_text()


def spoil(run, change):
    path = run / "run.json"
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_runs_that_cannot_be_used_are_left_out_with_their_pair_and_reason(eight_pairs, tmp_path):
    """A treatment that was never in effect, an unreadable journal: the rest is judged."""
    folder = copy(eight_pairs, tmp_path)
    (next(folder.glob("*-pair02-treatment")) / "flows.jsonl").unlink()
    spoil(next(folder.glob("*-pair02-treatment")), lambda run: run["treatment"].update(in_effect=None))
    (next(folder.glob("*-pair05-control")) / "journal.json").write_text('{"experiment"')
    campaign = judged(folder)
    assert campaign.pairs == 6
    assert campaign.verdict == "differs"
    assert any(
        "pair 2, treatment: the treatment was applied but was never seen" in r for r in campaign.left_out
    )
    assert any("pair 5, control" in r and "not JSON" in r for r in campaign.left_out)
    assert [run.word for run in campaign.runs].count(INVALID) == 2


def test_a_run_whose_hypothesis_failed_early_still_counts(eight_pairs, tmp_path):
    """Chaos Toolkit asks no further than the first probe that misses: to leave such runs out would flatter the treatment."""
    folder = copy(eight_pairs, tmp_path)
    path = next(folder.glob("*-pair03-treatment")) / "journal.json"
    journal = json.loads(path.read_text())
    after = journal["steady_states"]["after"]
    after["steady_state_met"] = False
    after["probes"] = [{**after["probes"][0], "tolerance_met": False}]
    path.write_text(json.dumps(journal | {"deviated": True}))
    campaign = judged(folder)
    assert (campaign.pairs, campaign.held) == (8, (7, 8))


@pytest.mark.parametrize("key", ["title", "sha256"])
def test_mixed_experiments_are_never_judged(eight_pairs, tmp_path, key):
    """A campaign whose experiment changed on the way compares two things."""
    folder = copy(eight_pairs, tmp_path)
    run = next(folder.glob("*-pair03-control"))
    if key == "sha256":
        spoil(run, lambda value: value["experiment"].update(sha256="0" * 64))
    else:
        text = (run / "journal.json").read_text()
        (run / "journal.json").write_text(text.replace('"Only the application may reach redis"', '"Another"'))
    assert judged(folder).verdict == "invalid"


def test_a_primary_metric_that_nobody_measured_is_said(eight_pairs, tmp_path):
    """With the names of those there are."""
    folder = copy(eight_pairs, tmp_path)
    for path in folder.glob("*/journal.json"):
        value = json.loads(path.read_text())
        value["experiment"]["extensions"][0] |= {"primary": "case-9 p50", "margin": 0.1}
        path.write_text(json.dumps(value))
    campaign = judged(folder)
    assert (campaign.verdict, campaign.margin) == ("invalid", 0.1)
    assert "'case-9 p50'" in campaign.invalid
    assert "case-1 p50" in campaign.invalid


def test_two_campaigns_are_put_side_by_side(eight_pairs, tmp_path):
    """Each with its own verdict; the same primary metric and experiment, or not at all."""
    make(tmp_path / "other", 6, seed=9)
    comparison = compare_paths(eight_pairs, tmp_path / "other")
    assert comparison.comparable
    assert "differs" in comparison.render("text")
    assert comparison.render("md").count("| case-1 p50 |") == 1
    assert json.loads(comparison.render("json"))["a"]["verdict"] == "differs"
    assert "Two campaigns side by side" in comparison.render("html")
    with pytest.raises(UsageError, match="choose one of"):
        comparison.render("pdf")
    with pytest.raises(UsageError, match="two of a kind"):
        compare_paths(eight_pairs, next(eight_pairs.glob("*-pair01-control")))


def test_a_campaign_without_a_verdict_is_not_compared(eight_pairs, tmp_path):
    """The reason is that campaign's own."""
    make(tmp_path / "small", 2)
    comparison = compare_paths(eight_pairs, tmp_path / "small")
    assert not comparison.comparable
    assert "B: 2 usable pairs" in comparison.refusals[0]
    for output in ("text", "md", "json", "html"):
        assert "described, not judged" in comparison.render(output)


def test_a_folder_without_pairs_is_refused(tmp_path):
    """The message says what such folders are called."""
    with pytest.raises(RecordError, match="pair01-treatment"):
        read_campaign(tmp_path)


def test_a_run_is_linked_where_its_report_is(eight_pairs, tmp_path):
    """The campaign's page leads only to what is there."""
    folder = copy(eight_pairs, tmp_path)
    first, second = sorted(path.name for path in folder.glob("*-pair01-*"))
    write_report(folder / first)
    text = write_report(folder).read_text()
    assert f'href="{first}/report.html"' in text
    assert f'href="{second}/report.html"' not in text
    assert second in text


def test_earlier_campaigns_and_single_runs_are_no_part_of_it(eight_pairs, tmp_path):
    """They lie in the same folder."""
    folder = copy(eight_pairs, tmp_path)
    make(folder / "earlier" / "20261031T000000Z", 3, seed=9)
    synthetic.write_run(folder / "20261102T000000Z")
    assert judged(folder).pairs == 8


def arms(folder, phases, *, treated, trouble=()):
    """A pair whose two arms have the same load record, second for second; only run.json says which had the treatment.

    Args:
        folder: Of the campaign.
        phases: Name and length of each phase of the run.
        treated: Name of the phase that begins with the treatment; in the control arm it is called untreated.
        trouble: Seconds since the start in which case 1 does not answer.
    """
    for place, arm in enumerate(("treatment", "control")):
        start = synthetic.START + 1000 * place
        shape = synthetic.Shape(arm=arm, pair=1, start=start, treated=False, baseline_s=40, policy_s=30)
        run = synthetic.write_run(folder / f"20261101T01{place}000Z-pair01-{arm}", shape)
        lines = [json.loads(line) for line in (run / "load.jsonl").read_text().splitlines()]
        for line in lines:
            if line.get("name", "").startswith("/count") and line["t"] - start in trouble:
                line |= {"outcome": "http", "status": 503}
        (run / "load.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        value, at = json.loads((run / "run.json").read_text()), float(start)
        value["phases"] = []
        for name, length in phases:
            called = "untreated" if arm == "control" and name == treated else name
            value["phases"].append({"name": called, "start": at, "end": at + length})
            if arm == "treatment" and name == treated:
                value["treatment"] = {"applied": at, "in_effect": at + 0.1, "removed": None, "restored": None}
            at += length
        (run / "run.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("phases", "trouble"),
    [
        ([("baseline", 20), ("treated", 30)], range(40, 45)),
        (
            [("baseline", 20), ("treated", 0.2), ("steady", 8), ("trigger", 2), ("aftermath", 30)],
            range(28, 33),
        ),
        ([("baseline", 20), ("treated", 8.3), ("warm-up", 4), ("overload", 30)], range(22, 36)),
    ],
)
def test_the_same_load_in_both_arms_differs_in_nothing(tmp_path, phases, trouble):
    """Both arms are compared over the same seconds of the same phases, wherever trouble lies in them."""
    arms(tmp_path, phases, treated="treated", trouble=trouble)
    campaign = judged(tmp_path)
    assert campaign.pairs == 1, campaign.left_out
    ratios = {effect.metric: effect.ratios for effect in campaign.effects}
    assert {"case-1 goodput", "case-1 p50", "case-1 error share"} <= set(ratios)
    assert {name: ratio for name, (ratio,) in ratios.items() if abs(ratio - 1) > 1e-9} == {}


def declare(folder, **extension):
    """Write into every journal of a campaign what its experiment says of itself."""
    for path in folder.glob("*/journal.json"):
        value = json.loads(path.read_text())
        value["experiment"]["extensions"][0] |= extension
        path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("expect", "code"), [("more", 0), ("less", 1), ("same", 1), ("not less", 0), (None, 1)]
)
def test_a_campaign_ends_as_its_claim_came_out(eight_pairs, tmp_path, expect, code):
    """What the page says and what a pipeline hears are the same: slower by 8 % is what the claim says, or it is not."""
    folder = copy(eight_pairs, tmp_path)
    if expect:
        declare(folder, expect=expect)
    assert judged(folder).exit_code == code


def test_a_claim_that_is_not_decided_is_no_success(tmp_path):
    """Six pairs that cannot tell: neither held nor refuted."""
    make(tmp_path, 6)
    declare(tmp_path, expect="less", margin=0.001)
    campaign = judged(tmp_path)
    assert campaign.effects[0].word == "undecided"
    assert campaign.exit_code == 3


def test_a_treatment_that_was_never_seen_makes_no_pair_and_its_run_is_made_again(tmp_path):
    """Its run deviates, which is an answer about this run; to what the treatment changes there is none."""
    for place, arm in enumerate(("treatment", "control")):
        treated = arm == "treatment"
        shape = synthetic.Shape(
            arm=arm, pair=1, start=synthetic.START + 1000 * place, treated=treated, enforced=False
        )
        synthetic.write_run(tmp_path / f"20261101T01{place}000Z-pair01-{arm}", shape)
    campaign = judged(tmp_path)
    unusable = {line.arm: line.unusable for line in campaign.runs}
    assert unusable["control"] == ()
    assert "never seen in effect" in unusable["treatment"][0]
    done = [Done(line.pair, line.arm, valid=not line.unusable) for line in campaign.runs]
    assert len(remaining(plan(1, seed=1), done)) == 2
    assert campaign.held == (0, 0)


def test_bounds_that_there_are_not_are_null_in_json(tmp_path):
    """With few pairs a metric may have no interval; JSON has no infinity."""
    make(tmp_path, 6)
    value = judged(tmp_path).as_dict()
    text = json.dumps(value, allow_nan=False)
    assert "Infinity" not in text


def test_campaigns_with_opposite_effects_differ(eight_pairs, tmp_path):
    """Both differ from their control arms, one up and one down."""
    folder = tmp_path / "down"
    make(folder, 8, effect=1 / 1.08)
    comparison = compare_paths(eight_pairs, folder)
    assert {comparison.a.effects[0].word, comparison.b.effects[0].word} == {"differs"}
    assert comparison.differs
    assert not compare_paths(eight_pairs, eight_pairs).differs


def test_names_out_of_a_record_are_no_markup_in_markdown(eight_pairs, tmp_path):
    """An endpoint may be called anything."""
    folder = copy(eight_pairs, tmp_path)
    for path in folder.glob("*/load.jsonl"):
        path.write_text(path.read_text().replace('"/redis/GET/time"', '"/x|y<img src=q>"'))
    text = compare_paths(folder, folder).render("md")
    assert text.count("<img") == text.count("\\<img") > 0
    assert {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")} == {4}
