"""The value of a rate limit, from a sweep that was run: printed, written into a policy, checked in a pipeline."""

import json
from pathlib import Path

import pytest
import synthetic

from meshverdict.chaos.limit_file import read_limits
from meshverdict.cli import main
from meshverdict.model.paths import data_folder

POLICY = data_folder("manifests") / "policies" / "ratelimit" / "app.yaml"
SWEEP = {
    "value": 76.0,
    "goodput": 75.0,
    "goodput_at_half": 38.0,
    "goodput_at_double": 3.0,
    "points": [
        {"limit": 38.0, "goodput": 38.0, "queue": 0, "limited": 0.76, "sustained": True},
        {"limit": 76.0, "goodput": 75.0, "queue": 2, "limited": 0.52, "sustained": True},
        {"limit": 152.0, "goodput": 3.0, "queue": 400, "limited": 0.05, "sustained": False},
    ],
}


@pytest.fixture
def swept(tmp_path):
    """The run folder of a sweep."""
    folder = synthetic.write_run(tmp_path / "swept")
    run = json.loads((folder / "run.json").read_text())
    run["measures"] |= {"sweep": SWEEP, "capacity": {"per_s": 77.0, "reached_at": 90.0}}
    (folder / "run.json").write_text(json.dumps(run))
    return str(folder)


@pytest.fixture
def policy(tmp_path):
    """A policy with 70 requests a second, of one's own."""
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.read_text())
    return file


def test_the_value_is_printed_with_what_a_wrong_one_costs(swept, capsys):
    """Half of it loses half, twice of it nearly all."""
    assert main(["sweep", "--from", swept]) == 0
    text = capsys.readouterr().out
    assert "limit 76.0 requests a second: goodput 75.0" in text
    assert "half of it: goodput 38.0, 49% of it lost" in text
    assert "twice of it: goodput 3.0, 96% of it lost" in text
    assert "its queue grows" in text


def test_a_value_that_is_still_right_passes_the_check(swept, policy, capsys):
    """70 against 76: within a fifth."""
    assert main(["sweep", "--from", swept, "--check", str(policy)]) == 0
    assert "70.0 is still right (-8%)" in capsys.readouterr().out


def test_a_stale_value_fails_the_check(swept, policy, capsys):
    """The pipeline stops: exit 1. Four proxies with 70 each let through far too much."""
    assert main(["sweep", "--from", swept, "--check", str(policy), "--replicas", "4", "-o", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["checked"] == [{"file": str(policy), "limit": 70.0, "stale": True}]
    assert said["per_proxy"] == 19.0
    assert main(["sweep", "--from", swept, "--check", str(policy), "--tolerance", "0.05"]) == 1


def test_writing_changes_the_value_and_nothing_else(swept, policy):
    """Remarks and order stay; afterwards the check passes."""
    before = policy.read_text().splitlines()
    assert main(["sweep", "--from", swept, "--write", str(policy)]) == 0
    assert read_limits(policy) == pytest.approx((76.0,), rel=1e-3)
    changed = [(a, b) for a, b in zip(before, policy.read_text().splitlines(), strict=True) if a != b]
    names = {a.strip().partition(":")[0] for a, _ in changed}
    assert names <= {"max_tokens", "tokens_per_fill", "fill_interval"}
    assert main(["sweep", "--from", swept, "--check", str(policy), "--tolerance", "0.01"]) == 0


def test_what_cannot_be_done_is_said_before_anything_runs(swept, tmp_path, capsys):
    """A file without a limit, a share that is none, a run without a sweep, a bucket on one line."""
    bare = tmp_path / "bare.yaml"
    bare.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    assert main(["sweep", "--from", swept, "--check", str(bare)]) == 2
    assert "no token_bucket" in capsys.readouterr().err
    assert main(["sweep", "--from", swept, "--tolerance", "3"]) == 2
    assert main(["sweep", "--from", str(tmp_path)]) == 2
    other = str(synthetic.write_run(tmp_path / "other"))
    assert main(["sweep", "--from", other]) == 3
    assert "swept nothing" in capsys.readouterr().out
    flow = tmp_path / "flow.yaml"
    flow.write_text(
        "apiVersion: v1\nkind: E\nmetadata: {name: a}\n"
        "spec: {token_bucket: {max_tokens: 7, tokens_per_fill: 7, fill_interval: 0.1s}}\n"
    )
    text = flow.read_text()
    assert main(["sweep", "--from", swept, "--write", str(flow)]) == 2
    assert flow.read_text() == text


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("[]", "not a run description"),
        ('{"format": "run/1", "measures": 5}', "swept nothing"),
        ('{"format": "run/1", "measures": {"sweep": {"value": 5}}}', "says nothing of: goodput, points"),
    ],
)
def test_a_run_that_says_nothing_of_a_sweep_is_no_value(swept, run, words, capsys):
    """Whatever its run.json holds."""
    file = Path(swept) / "run.json"
    if run.startswith("{"):
        run = json.dumps(json.loads(file.read_text()) | json.loads(run))
    file.write_text(run)
    assert main(["sweep", "--from", swept]) == 3
    assert words in "".join(capsys.readouterr())


def test_an_experiment_of_ones_own_is_announced_before_it_runs(tmp_path, monkeypatch, capsys):
    """It is code: what it calls is shown, as `meshverdict run` does."""
    own = tmp_path / "own.json"
    provider = {"type": "process", "path": "/bin/echo", "arguments": "hello"}
    own.write_text(json.dumps({"method": [{"type": "action", "name": "x", "provider": provider}]}))
    said = []
    monkeypatch.setattr("meshverdict.chaos.campaign.run_once", lambda *_, **__: said.append(1) or tmp_path)
    main(["sweep", "--experiment", str(own)])
    assert said
    assert "process /bin/echo hello" in capsys.readouterr().err
