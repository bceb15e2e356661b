"""A real embedded lab for tests, and runs of the real `chaos` command against it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshverdict.chaos.cluster import KubeAccess

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = ROOT / "experiments" / "isolate-redis.json"
BIN = Path(sys.executable).parent
SHORT = {"baseline_s": 7, "treated_s": 6, "restored_s": 3, "rate": 40}
IGNORED = (
    "KUBECONFIG",
    "MESHVERDICT_CONTEXT",
    "MESHVERDICT_LAB",
    "MESHVERDICT_ARM",
    "MESHVERDICT_PAIR",
    "MESHVERDICT_REPORTS",
)


def environment(state, **more):
    """A clean environment whose labs live in a folder of the test's."""
    environ = {k: v for k, v in os.environ.items() if k not in IGNORED}
    return environ | {"XDG_STATE_HOME": str(state), **more}


def meshverdict(state, *arguments):
    """One command of ours, with its JSON answer."""
    done = subprocess.run(
        [BIN / "meshverdict", *arguments, "-o", "json"],
        env=environment(state),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {"stderr": done.stderr}


@dataclass
class Run:
    """One run of the `chaos` command."""

    code: int
    text: str
    folder: Path | None
    working: Path

    def read(self, name):
        """A JSON file of the run folder."""
        return json.loads((self.folder / name).read_text())

    def journal(self):
        """Chaos Toolkit's own journal."""
        return json.loads((self.working / "journal.json").read_text())


def command(experiment, **variables):
    """The command line of a run."""
    values = SHORT | variables
    given = [part for key, value in values.items() for part in ("--var", f"{key}={value}")]
    return [BIN / "chaos", "--no-version-check", "run", *given, str(experiment)]


def finished(process, working, reports):
    """What became of a process that ran an experiment."""
    text, _ = process.communicate()
    found = sorted(reports.glob("*/*")) if reports.is_dir() else []
    return Run(process.returncode, text, found[-1] if found else None, working)


def start(state, working, experiment=EXPERIMENT, environ=None, **variables):
    """Start a run; its output is read by `finished`."""
    working.mkdir(exist_ok=True, parents=True)
    return subprocess.Popen(
        command(experiment, **variables),
        cwd=working,
        env=environment(state, MESHVERDICT_REPORTS=str(working / "reports"), **(environ or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def chaos(state, working, experiment=EXPERIMENT, environ=None, **variables):
    """Run an experiment to its end."""
    return finished(start(state, working, experiment, environ, **variables), working, working / "reports")


@dataclass
class Lab:
    """A lab that is up."""

    state: Path
    info: dict

    def access(self):
        """A client of its API."""
        return KubeAccess.open(Path(self.info["kubeconfig"]), kind="embedded")

    def policies(self):
        """Names of all network policies."""
        access = self.access()
        found = access.json(access.networking.list_network_policy_for_all_namespaces)["items"]
        return [p["metadata"]["name"] for p in found]

    def ours(self):
        """Pods that only a run makes."""
        access = self.access()
        found = access.json(access.core.list_pod_for_all_namespaces)["items"]
        labels = ("meshverdict.io/component", "meshverdict.io/load")
        return [p["metadata"]["name"] for p in found if set(labels) & set(p["metadata"].get("labels") or {})]

    def left(self, seconds=10.0):
        """Pods of a run that are still there some seconds after it: those of a deleted Job go a moment after the Job."""
        deadline = time.monotonic() + seconds
        while (found := self.ours()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found


@contextlib.contextmanager
def running_lab(state, *options):
    """A lab of these options in a state folder, for as long as the block lasts; skips where none can run."""
    code, info = meshverdict(state, "up", *options)
    if code != 0 and "cannot run the embedded lab" in str(info):
        pytest.skip(str(info))
    assert code == 0, info
    try:
        yield Lab(state, info)
    finally:
        assert meshverdict(state, "down")[0] == 0
