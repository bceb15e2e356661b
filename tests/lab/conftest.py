"""A real lab for these tests: started by the real command, under a state folder and ports of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .foreign import Foreign
from .machine import Footprint, Process, free_port, tree, wait_nothing_left

ROOT = Path(__file__).resolve().parents[2]


class Command:
    """The `meshverdict` command with a state folder of the test's own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.env = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "MESHVERDICT_CONTEXT")}
        self.env["XDG_STATE_HOME"] = str(state)
        self.seen: list[Process] = []

    def run(self, *arguments: str, timeout: float = 90, **more: object) -> subprocess.CompletedProcess[str]:
        """Run it; the caller looks at the exit status."""
        return subprocess.run(
            [sys.executable, "-m", "meshverdict", *arguments],
            env=more.pop("env", self.env),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **more,  # type: ignore[call-overload]
        )

    def up(self, *arguments: str) -> dict:
        """Start a lab; its lab.json."""
        port = [] if "--port" in arguments else ["--port", str(free_port())]
        done = self.run("up", "-o", "json", *port, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        info = json.loads(done.stdout)
        self.seen += tree(info["pid"])
        return info


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """The command, and afterwards nothing of a lab on the machine."""
    before = Footprint.now()
    made = Command(tmp_path / "state")
    yield made
    made.run("down")
    assert wait_nothing_left(made.seen, before) == []


@pytest.fixture(scope="module")
def module_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command for all tests of a module, and afterwards nothing of a lab on the machine."""
    before = Footprint.now()
    made = Command(tmp_path_factory.mktemp("labs") / "state")
    yield made
    made.run("down", "--name", "elsewhere")
    assert wait_nothing_left(made.seen, before) == []


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict]:
    """One running lab for all tests of a module."""
    before = Footprint.now()
    made = Command(tmp_path_factory.mktemp("lab") / "state")
    info = made.up()
    yield {**info, "command": made}
    made.run("down")
    assert wait_nothing_left(made.seen, before) == []


@pytest.fixture
def foreign(command: Command, tmp_path: Path) -> Iterator[Foreign]:
    """A cluster with nothing of a lab in it."""
    made = Foreign(command, tmp_path)
    yield made
    made.close()
