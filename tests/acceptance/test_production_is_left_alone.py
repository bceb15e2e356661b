"""A person's own cluster is never asked, whatever command is typed and wherever KUBECONFIG leads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--var", "baseline_s=6", "--var", "treated_s=5", "--var", "restored_s=3")


@pytest.fixture(params=["default kubeconfig", "exported KUBECONFIG"])
def variables(request, person):
    """How production is configured."""
    return {} if request.param == "default kubeconfig" else {"KUBECONFIG": str(person.config)}


def test_the_listener_notices_whoever_uses_the_default_kubeconfig(person):
    """The checks below can fail: a client made in the usual way arrives."""
    program = (
        "from kubernetes import client, config; config.load_kube_config();"
        "client.VersionApi().get_code(_request_timeout=2)"
    )
    person.types("python", "-c", program)
    assert person.reached
    person.reached.clear()


def test_no_command_reaches_it(person, variables, tmp_path):
    """Up, looking, a whole run from another folder, its report, down: each works, and none connects there."""
    assert person.types("meshverdict", "up", "--port", "18741", **variables).returncode == 0
    for command in ("status", "kubeconfig", "reach", "doctor", "images"):
        assert person.types("meshverdict", command, **variables).returncode == 0, command
    assert person.types("chaos", "validate", "experiments/isolate-redis.json", **variables).returncode == 0
    folder, file = (
        (".", "experiments/isolate-redis.json") if variables else ("experiments", "isolate-redis.json")
    )
    journal = tmp_path / "journal.json"
    done = person.types(
        *("chaos", "--log-file", str(tmp_path / "log"), "--no-version-check", "run", *SHORT),
        *("--journal-path", str(journal), file),
        cwd=ROOT / folder,
        MESHVERDICT_REPORTS=str(tmp_path / "reports"),
        **variables,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(journal.read_text())["status"] == "completed"
    (run,) = (tmp_path / "reports" / "isolate-redis").iterdir()
    assert person.types("meshverdict", "report", str(run), **variables).returncode == 0
    assert person.types("meshverdict", "compare", str(run), str(run), **variables).returncode == 0
    assert person.types("meshverdict", "down", **variables).returncode == 0
    assert person.reached == []
