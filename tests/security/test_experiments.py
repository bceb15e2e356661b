"""An experiment is code: nothing fetches one, and what an unknown one would run is shown before it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from meshverdict.chaos.announced import announced, code_of, known
from meshverdict.model.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = {
    "title": "t",
    "description": "d",
    "configuration": {"c": {"type": "probe", "name": "n", "provider": {"type": "python", "module": "os", "func": "getcwd"}}},
    "controls": [{"name": "x", "provider": {"type": "python", "module": "evil.control"}}],
    "steady-state-hypothesis": {
        "title": "h",
        "probes": [{"type": "probe", "name": "p", "tolerance": 200, "provider": {"type": "http", "url": "http://a.b/"}}],
    },
    "method": [
        {"type": "action", "name": "a", "provider": {"type": "process", "path": "rm", "arguments": ["-rf", "/nothing"]}}
    ],
}  # fmt: skip
CALLS = [
    "python os.getcwd",
    "python evil.control",
    "http GET http://a.b/",
    'process rm ["-rf", "/nothing"]',
]


def meshverdict(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command."""
    return subprocess.run(
        [sys.executable, "-m", "meshverdict", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def test_an_address_is_no_experiment():
    """Run and lint take files; an address is refused, and nothing is fetched."""
    for command in ("run", "lint"):
        done = meshverdict(command, "http://127.0.0.1:9/experiment.json")
        assert (
            done.returncode,
            "http://127.0.0.1:9/experiment.json" in done.stderr.replace("http:/1", "http://1"),
        ) == (
            2,
            True,
        )


def test_all_that_a_file_calls_is_listed():
    """Module and function, program and arguments, address: in configuration, controls, probes, actions, rollbacks."""
    assert sorted(code_of(FOREIGN)) == sorted(CALLS)


def test_the_projects_own_experiments_need_no_words(tmp_path):
    """Our own files are known as long as they are unchanged."""
    own = ROOT / "experiments/isolate-redis.json"
    assert known(own)
    changed = tmp_path / own.name
    changed.write_text(own.read_text().replace("isolate", "isolated", 1))
    assert not known(changed)


def test_what_would_run_is_shown_before_anything_runs(tmp_path):
    """The list is on the screen although the run then fails, and the program that it names was not started."""
    mark = tmp_path / "mark"
    file = tmp_path / "foreign.json"
    action = {
        "type": "action",
        "name": "a",
        "provider": {"type": "process", "path": "touch", "arguments": str(mark)},
    }
    file.write_text(
        json.dumps({"title": "t", "method": [action]})
    )  # no description: Chaos Toolkit refuses it
    done = meshverdict("run", str(file), "--reports", str(tmp_path / "reports"))
    assert f"{file} runs this on your machine:\n  process touch {mark}" in done.stderr
    assert done.returncode != 0
    assert not mark.exists()


@pytest.mark.parametrize("text", ["[", "[]", "a: &a [*a]", "\ufeff{}", '{"a": ' * 3000])
def test_a_file_that_cannot_be_read_is_said_to_be_so(tmp_path, text):
    """No traceback, whatever is in it."""
    for name in ("e.json", "e.yaml"):
        file = tmp_path / name
        file.write_text(text)
        try:
            assert announced(file)
        except UsageError as error:
            assert str(file) in str(error)  # noqa: PT017 - either is right
