"""A campaign survives whatever interrupts it, and looks at its result only when that was planned."""

import json
import os
import signal

import pytest

from meshverdict.chaos.campaign import CampaignPlan, run_campaign, run_once
from meshverdict.model.errors import LabError, UsageError


def runs(tmp_path):
    return sorted((tmp_path / "reports" / "pretend").glob("*-pair*"))


def test_a_campaign_from_its_command_to_its_verdict(finish, pretend, tmp_path):
    """Six pairs of the same thing: not different; the report is there and can be remade and judged again."""
    code, out, err = finish("run", pretend, "--pairs", 6, "-o", "json")
    campaign = json.loads(out)
    assert (code, campaign["pairs"], campaign["verdict"] == "differs") == (0, 6, False), err
    assert len(runs(tmp_path)) == 12
    assert "pair 1 of 6" in err
    assert "runs to make, about" in err
    folder = tmp_path / "reports" / "pretend"
    (folder / "report.html").unlink()
    assert finish("report", folder, "--check")[0] == 0
    assert (folder / "report.html").is_file()
    again = finish("run", pretend, "--pairs", 6)
    assert (again[0], len(runs(tmp_path))) == (0, 12)


def test_ctrl_c_rolls_back_and_the_same_command_goes_on(
    command, finish, environment, pretend, tmp_path, wait_until
):
    """SIGINT to the process group, as a terminal sends it, once a run is under way."""
    environment["PRETEND_S"] = "30"
    process = command("run", pretend, "--pairs", 2)
    wait_until((tmp_path / "treated").exists)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert not (tmp_path / "treated").exists()
    assert "the run under way was rolled back" in err
    assert "type the same command to go on" in err
    environment["PRETEND_S"] = "0"
    _, out, err = finish("run", pretend, "--pairs", 2, "-o", "json")
    assert json.loads(out)["held"]["of"] == 2, err
    assert "going on with the campaign" in err


def test_a_campaign_that_is_killed_leaves_nothing_and_goes_on(
    command, finish, environment, pretend, tmp_path, wait_until
):
    """The run under way outlives `kill -9` of the campaign only until it has rolled back, and the next waits."""
    environment["PRETEND_S"] = "30"
    process = command("run", pretend, "--pairs", 1)
    wait_until((tmp_path / "treated").exists)
    process.kill()
    process.wait()
    environment["PRETEND_S"] = "0"
    code, out, err = finish("run", pretend, "--pairs", 1, "-o", "json")
    assert not (tmp_path / "treated").exists()
    assert json.loads(out)["held"]["of"] == 1, err
    assert code == 3  # one pair is described, not judged


def test_another_campaign_puts_the_old_one_aside(finish, pretend, tmp_path):
    """Pair numbers of two campaigns never mix, and a single run in the same folder is part of neither."""
    finish("run", pretend, "--pairs", 1)
    single = finish("run", pretend, "-o", "json")
    assert "verdict" in json.loads(single[1])
    _, out, err = finish("run", pretend, "--pairs", 2, "-o", "json")
    assert "put aside" in err
    assert json.loads(out)["pairs"] == 2
    assert len(list((tmp_path / "reports" / "pretend" / "earlier").glob("*/*-pair*"))) == 2
    assert len(runs(tmp_path)) == 4


def test_a_look_that_was_planned_ends_a_clear_campaign(finish, environment, pretend, tmp_path):
    """A shift of 30 % shows after 8 of 10 pairs, at the level that the look was given."""
    environment["PRETEND_EFFECT"] = "1.3"
    code, out, err = finish("run", pretend, "--pairs", 10, "--look-after", 8, "-o", "json")
    campaign = json.loads(out)
    assert (code, campaign["verdict"], campaign["stopped_early"], campaign["level"]) == (
        1,
        "differs",
        True,
        0.01,
    )
    assert "stopped after 8 pairs by the rule fixed beforehand" in err
    assert len(runs(tmp_path)) == 16


def test_an_unfinished_campaign_is_not_judged(finish, pretend, tmp_path):
    """Whoever looks before the planned end gets no verdict: that would break the promised error rate."""
    finish("run", pretend, "--pairs", 7)
    for folder in runs(tmp_path)[-2:]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    code, out, _ = finish("report", tmp_path / "reports" / "pretend", "--check")
    assert code == 3
    assert "not finished: 6 of 7 pairs" in out


@pytest.mark.parametrize(
    ("pairs", "look", "words"),
    [(0, None, "--pairs 0"), (12, 6, "--look-after 6: at least 8"), (8, 8, "fewer than --pairs 8")],
)
def test_numbers_that_cannot_be_meant_are_refused(pretend, pairs, look, words):
    """Before anything is run."""
    with pytest.raises(UsageError, match=words):
        CampaignPlan(pretend, pairs, 1, look_after=look).refuse_nonsense()


def test_a_run_whose_time_is_over_is_interrupted_and_rolls_back(pretend, environment, monkeypatch, tmp_path):
    """Four seconds for a method of thirty: nothing is left changed, and the run folder says that it was cut short."""
    for name, value in {**environment, "PRETEND_S": "30"}.items():
        monkeypatch.setenv(name, value)
    folder = run_once(pretend, {}, seconds=4.0)
    assert not (tmp_path / "treated").exists()
    journal = json.loads((folder / "journal.json").read_text())
    assert journal["status"] == "interrupted"
    assert journal["run"][0]["status"] == "succeeded", "it was treated before its time was over"
    assert [a["status"] for a in journal["rollbacks"]] == ["succeeded"]


def test_a_campaign_whose_time_is_over_begins_no_further_run(pretend, environment, monkeypatch, tmp_path):
    """The pairs that are made stay, and the message says how to go on."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wanted = CampaignPlan(pretend, 8, 1, {}, tmp_path / "reports", seconds=6.0)
    with pytest.raises(LabError, match="its time is over"):
        run_campaign(wanted, lambda _: None)
    assert 0 < len(runs(tmp_path)) < 16
