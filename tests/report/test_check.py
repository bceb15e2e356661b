"""The judgement of one run: what holds, what deviates, and what must not be judged."""

import json

import pytest

from meshverdict.model.errors import RecordError
from meshverdict.report.check import check


def edit(path, change):
    """Change a JSON file in place."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_run_whose_policy_worked_holds(make_run):
    """Case 1 answers throughout, case 2 fails exactly while the policy is in place."""
    judgement = check(make_run())
    assert (judgement.word, judgement.exit_code, judgement.reasons) == ("HOLDS", 0, ())
    assert "policy fails every time" in judgement.lines[1]
    assert "policy answers" in judgement.lines[0]


def test_a_policy_that_selects_nothing_deviates(make_run):
    """An object that was created is no treatment."""
    judgement = check(make_run(enforced=False))
    assert (judgement.word, judgement.exit_code) == ("DEVIATES", 1)
    assert "Case 2" in judgement.reasons[0]


def test_the_control_arm_holds_without_a_treatment(make_run):
    """A campaign's control run has no treatment to prove."""
    assert check(make_run(treated=False, arm="control")).word == "HOLDS"


def test_a_hypothesis_met_without_a_treatment_in_effect_is_not_a_success(make_run):
    """Probes that do not look at the treatment would pass for ever."""
    folder = make_run()
    edit(folder / "run.json", lambda run: run["treatment"].update(in_effect=None))
    assert check(folder).word == "HOLDS", "the flow log proves it"
    (folder / "flows.jsonl").unlink()
    judgement = check(folder)
    assert (judgement.word, judgement.exit_code) == ("INVALID", 3)
    assert "never seen in effect" in judgement.reasons[0]


def cut_record(folder):
    path = folder / "load.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:-20]))


def empty_record(folder):
    (folder / "load.jsonl").write_text("")


def no_record(folder):
    (folder / "load.jsonl").unlink()


def another_runs_record(folder):
    path = folder / "load.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        for key in ("t", "start", "end"):
            if key in line:
                line[key] += 7200
    path.write_text("\n".join(json.dumps(line) for line in lines))


def clock_step(folder):
    path = folder / "load.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    next(line for line in lines if "generator" in line)["generator"]["clock_step_ms"] = 4000
    path.write_text("\n".join(json.dumps(line) for line in lines))


def dropped_arrivals(folder):
    path = folder / "load.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    next(line for line in lines if "generator" in line)["generator"]["dropped"] = 3
    path.write_text("\n".join(json.dumps(line) for line in lines))


def interrupted(folder):
    edit(folder / "journal.json", lambda j: j.update(status="interrupted"))


def not_run(folder):
    def change(journal):
        journal["steady_states"]["before"]["steady_state_met"] = False
        journal["steady_states"]["after"] = None
        journal["run"] = []

    edit(folder / "journal.json", change)


def failed_action(folder):
    edit(
        folder / "journal.json", lambda j: j["run"][0].update(status="failed", exception="Boom: no such file")
    )


def failed_rollback(folder):
    edit(folder / "journal.json", lambda j: j["rollbacks"][0].update(status="failed", exception=["x\n"]))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (cut_record, "cut"),
        (empty_record, "load/1 header"),
        (no_record, "load.jsonl is missing"),
        (another_runs_record, "outside the journal's time"),
        (clock_step, "clock"),
        (dropped_arrivals, "arrivals were dropped"),
        (interrupted, "interrupted"),
        (not_run, "not met before the method"),
        (failed_action, "no such file"),
        (failed_rollback, "rollback"),
    ],
)
def test_a_broken_run_is_never_judged(make_run, broken, reason):
    """Ten prepared broken inputs: each is marked with its reason, none holds or deviates."""
    folder = make_run()
    broken(folder)
    judgement = check(folder)
    assert (judgement.word, judgement.exit_code) == ("INVALID", 3)
    assert any(reason in text for text in judgement.reasons), judgement.reasons


def test_a_late_generator_is_invalid_not_slow(make_run):
    """A send lag of 20 ms would be read as latency of the service."""
    judgement = check(make_run(lag_us=20_000.0))
    assert judgement.word == "INVALID"
    assert "p99 of the send lag" in judgement.reasons[0]


def test_what_run_json_says_against_itself_counts(make_run):
    """The run folder's own validity is not overruled."""
    judgement = check(make_run(valid=False, reasons=["CPU pressure 43 % (limit 20 %)"]))
    assert judgement.word == "INVALID"
    assert "CPU pressure 43 % (limit 20 %)" in judgement.reasons


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("journal.json", None),
        ("journal.json", '{"experiment": {"title"'),
        ("run.json", '{"format": "run/1"'),
        ("run.json", '{"format": "run/2"}'),
        ("run.json", '{"format": "load/1"}'),
        ("run.json", "[]"),
    ],
)
def test_a_folder_that_is_no_run_is_refused_by_name(make_run, name, text):
    """The message names the file."""
    folder = make_run()
    (folder / name).unlink() if text is None else (folder / name).write_text(text)
    with pytest.raises(RecordError, match=name):
        check(folder)


@pytest.mark.parametrize(
    ("name", "code"),
    [("J-ok", 0), ("J-after-fails", 1), ("J-before-fails", 3), ("J-action-nonzero", 3), ("J-sigterm", 3)],
)
def test_a_plain_chaos_toolkit_journal_is_judged_too(journals, name, code):
    """`chaos run` exits 0 for most of these."""
    assert check(journals / f"{name}.json").exit_code == code


@pytest.mark.parametrize(
    ("status", "met", "word"),
    [("succeeded", None, "HOLDS"), ("succeeded", True, "HOLDS"), ("succeeded", False, "INVALID")],
)
def test_a_treatment_may_name_the_activity_that_shows_it(make_run, status, met, word):
    """Not every treatment shows in connections; one whose own check fails was not in effect."""
    folder = make_run()
    edit(folder / "run.json", lambda run: run["treatment"].update(in_effect=None))

    def declare(journal):
        step = journal["run"][0]
        step.update(status=status, tolerance_met=met)
        extension = {"name": "meshverdict", "treatment": ["t"], "in_effect": step["activity"]["name"]}
        journal["experiment"]["extensions"] = [extension]

    edit(folder / "journal.json", declare)
    assert check(folder).word == word


def test_a_treatment_whose_check_was_not_run_is_not_shown(make_run):
    """It names an activity that the run does not have."""
    folder = make_run()
    extension = {"name": "meshverdict", "treatment": ["t"], "in_effect": "nobody"}
    edit(folder / "journal.json", lambda journal: journal["experiment"].update(extensions=[extension]))
    assert "'nobody', which would show that it works, was not run" in check(folder).reasons[0]


def test_a_crowded_machine_makes_a_run_invalid(make_run):
    """The generator was on time all the same: it runs ahead of everybody."""
    folder = make_run()
    start = int(json.loads((folder / "load.jsonl").read_text().splitlines()[1])["t"])
    shares = {"busy": 1.0, "steal": 0.0, "pressure": 0.97}
    lines = [json.dumps({"t": start + i, "machine": shares}) for i in range(40)]
    (folder / "telemetry.jsonl").write_text("\n".join(lines))
    judgement = check(folder)
    assert judgement.word == "INVALID"
    assert "CPU pressure 97%" in judgement.reasons[0]


@pytest.mark.parametrize("probes", ["none", "unanswered"])
def test_a_hypothesis_whose_probes_were_not_checked_proves_nothing(make_run, probes):
    """`steady_state_met` is true of an empty list of probes, too."""
    folder = make_run()

    def change(journal):
        after = journal["steady_states"]["after"]
        after["steady_state_met"] = True
        if probes == "none":
            after["probes"] = []
        else:
            after["probes"][0]["tolerance_met"] = None

    edit(folder / "journal.json", change)
    judgement = check(folder)
    assert judgement.word == "INVALID"
    assert "of the hypothesis was not checked after the method" in judgement.reasons[0]


def test_a_run_that_asked_nothing_has_no_answer(make_run, tmp_path):
    """Neither a completed journal without a hypothesis, nor one that holds nothing at all."""
    folder = make_run()
    edit(folder / "journal.json", lambda j: j["experiment"].pop("steady-state-hypothesis"))
    edit(folder / "journal.json", lambda j: j.update(steady_states=None))
    empty = tmp_path / "journal.json"
    empty.write_text('{"experiment": {}, "status": "completed"}')
    for path in (folder, empty):
        judgement = check(path)
        assert (judgement.word, judgement.exit_code) == ("INVALID", 3)
        assert "no steady-state hypothesis" in judgement.reasons[0]


@pytest.mark.parametrize("name", ["flows.jsonl", "telemetry.jsonl"])
def test_a_record_that_cannot_be_read_is_named(make_run, name):
    """A folder in a file's place, say."""
    folder = make_run()
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    with pytest.raises(RecordError, match=f"{name}: cannot be read"):
        check(folder)
