"""A campaign's folder turned into a verdict and a page."""

import json
import random
import shutil

import pytest
import synthetic

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
