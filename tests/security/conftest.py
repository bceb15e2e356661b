"""A lab to attack: a pod without a token that runs what it likes, one with its account's token, and a victim."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = """
apiVersion: v1
kind: Namespace
metadata: {name: foe}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: foe}
spec:
  automountServiceAccountToken: false
  containers: [{name: c, image: python, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Pod
metadata: {name: account, namespace: foe}
spec:
  containers: [{name: c, image: python, command: [sleep, infinity]}]
---
apiVersion: v1
kind: Pod
metadata: {name: victim, namespace: default, labels: {app: victim}}
spec:
  containers: [{name: c, image: redis}]
"""


@dataclass
class Lab:
    """A running lab, its lab.json, and the environment that its commands need."""

    info: dict[str, Any]
    environment: dict[str, str]

    @property
    def state(self) -> Path:
        """The lab's folder."""
        return Path(self.info["kubeconfig"]).parent

    @property
    def token(self) -> str:
        """The administrator's token."""
        lines = Path(self.info["kubeconfig"]).read_text().splitlines()
        return next(line.split()[1] for line in lines if line.strip().startswith("token:"))

    def kubectl(self, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """The real kubectl, whatever it says; skips where there is none."""
        if shutil.which("kubectl") is None:
            pytest.skip("kubectl is not on PATH")
        return subprocess.run(
            ["kubectl", "--kubeconfig", self.info["kubeconfig"], *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def inside(self, pod: str, program: str, *arguments: str) -> str:
        """What a Python program prints in a pod of the namespace ``foe``."""
        done = self.kubectl("exec", "-n", "foe", pod, "--", "python", "-c", program, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for all attacks of a module."""
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "pods.yaml").write_text(MANIFESTS)
    environment = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "MESHVERDICT_CONTEXT")}
    environment["XDG_STATE_HOME"] = str(folder / "state")
    command = [sys.executable, "-m", "meshverdict"]
    up = subprocess.run(
        [*command, "up", "-o", "json", "--manifests", str(folder / "pods.yaml")],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert up.returncode == 0, up.stdout + up.stderr
    yield Lab(json.loads(up.stdout), environment)
    subprocess.run([*command, "down"], env=environment, cwd=ROOT, capture_output=True, timeout=60, check=True)
