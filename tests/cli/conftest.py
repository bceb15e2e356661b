"""The command in a process of its own, and an experiment that needs no lab."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "report"))


@pytest.fixture
def pretend(tmp_path):
    """An experiment whose method waits, and whose rollback leaves a file; the control writes the run folder."""

    def process(name, code):
        provider = {"type": "process", "path": sys.executable, "arguments": ["-c", code]}
        return {"type": "action", "name": name, "provider": provider}

    state = str(tmp_path / "treated")
    provider = {"type": "python", "module": "pretend_lab"}
    experiment = {
        "title": "Only the application may reach redis",
        "description": "A run that is pretended.",
        "controls": [{"name": "pretend", "provider": provider}],
        "runtime": {"rollbacks": {"strategy": "always"}},
        "method": [
            process("treat", f"open({state!r}, 'w').close()"),
            process("wait", "import os, time; time.sleep(float(os.environ.get('PRETEND_S', '0')))"),
        ],
        "rollbacks": [process("undo", f"import os; os.unlink({state!r})")],
    }
    file = tmp_path / "pretend.json"
    file.write_text(json.dumps(experiment))
    return file


@pytest.fixture
def environment(tmp_path):
    """Of the command, as a mapping that tests may change."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("MESHVERDICT_")},
        "PYTHONPATH": str(HERE),
        "MESHVERDICT_REPORTS": str(tmp_path / "reports"),
    }


@pytest.fixture
def command(environment, tmp_path):
    """Start `meshverdict` with arguments, as a shell would: in a process group of its own."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "meshverdict", *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def finish(command):
    """Run it to its end: exit code, standard output, standard error."""

    def run(*arguments):
        process = command(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    return run


@pytest.fixture
def wait_until():
    """Poll a condition."""

    def wait(condition, timeout=30.0):
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)

    return wait
