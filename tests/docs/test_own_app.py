"""docs/own-app.md is all that one needs: its commands are typed here as they stand there."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "own-app.md"
EXAMPLE = ROOT / "examples" / "own-app"


def commands():
    """What the document says to type, in its order."""
    blocks = re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


@pytest.fixture(scope="module")
def typed(tmp_path_factory):
    """Everything typed, with the answers, and the folder of the reports."""
    folder = tmp_path_factory.mktemp("own-app")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("MESHVERDICT", "KUBECONFIG"))}
    environ |= {"XDG_STATE_HOME": str(folder / "state"), "MESHVERDICT_REPORTS": str(folder / "reports")}
    said = {}
    try:
        for command in commands():
            words = [sys.executable, "-m", *shlex.split(command)]
            done = subprocess.run(
                words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=110, check=False
            )
            said[command] = (done.returncode, done.stdout + done.stderr)
    finally:
        down = [sys.executable, "-m", "meshverdict", "down"]
        subprocess.run(down, env=environ, capture_output=True, timeout=60, check=False)
    return said, folder / "reports"


def test_the_document_has_commands():
    """Up, images, run, down: otherwise nothing is tested here."""
    words = [shlex.split(command)[:2] for command in commands()]
    assert [w[1] for w in words] == ["up", "images", "status", "run", "down"]
    assert {w[0] for w in words} == {"meshverdict"}


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.measures
def test_the_commands_work_as_they_stand(typed):
    """Each exits 0, but for a run that the machine's own noise may spoil, and that then says so."""
    said, _ = typed
    for command, (code, text) in said.items():
        spoiled = command.startswith("meshverdict run") and code == 3 and "INVALID" in text
        assert code == 0 or spoiled, f"{command}\n{text}"


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.measures
def test_the_report_speaks_of_the_apps_own_names(typed):
    """Its endpoints, its pods, who was denied; nothing of the lab's app."""
    _, reports = typed
    (folder,) = (reports / "isolate-store").iterdir()
    page = (folder / "report.html").read_text()
    for name in ("/basket", "/basket/add", "shop-data/store", "back-office", "store.shop-data:6379"):
        assert name in page
    assert "pythonapp" not in page
    measured = json.loads((folder / "run.json").read_text())["measures"]["connections"]
    denied = {c["from"]: c["apply_to_denied_ms"] is not None for c in measured}
    assert denied == {"back-office": True, "shop": False}


def test_the_variables_are_the_experiments():
    """Every one is a variable of the form, and the table of the document has all of them."""
    declared = json.loads((ROOT / "experiments" / "isolate-store.json").read_text())["configuration"]
    given = yaml.safe_load((EXAMPLE / "variables.yaml").read_text())
    assert set(given) <= set(declared)
    text = DOCUMENT.read_text()
    assert [name for name in declared if f"`{name}`" not in text] == []
