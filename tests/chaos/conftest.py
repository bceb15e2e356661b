"""Experiments that are run in this process, and a decoy that notices whoever reaches for the wrong cluster."""

import copy
import json
import sys
from pathlib import Path

import pytest
from chaoslib.experiment import run_experiment
from kubernetes.config import kube_config

sys.path.insert(0, str(Path(__file__).parent))
from lab import running_lab

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"runtime": {"rollbacks": {"strategy": "always"}}}


@pytest.fixture
def isolate_redis():
    """The experiment that ships, as a value of its own."""
    return copy.deepcopy(json.loads((ROOT / "experiments" / "isolate-redis.json").read_text()))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs an experiment in this process, as its file would be run, and answers the journal."""
    monkeypatch.setenv("MESHVERDICT_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MESHVERDICT_CONTEXT", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)

    def run(experiment, **variables):
        file = tmp_path / "experiments" / "isolate-redis.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(experiment, default=str))
        monkeypatch.setenv("MESHVERDICT_EXPERIMENT", str(file))
        return run_experiment(experiment, settings=copy.deepcopy(SETTINGS), experiment_vars=(variables, {}))

    return run


@pytest.fixture
def decoy(decoy_home, monkeypatch):
    """A cluster that the default kubeconfig leads to; answers the list of requests that reached it."""
    monkeypatch.setenv("HOME", str(decoy_home.path))
    monkeypatch.setattr(
        kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(decoy_home.path / ".kube" / "config")
    )
    return decoy_home.reached


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A real lab, for all tests of this folder."""
    with running_lab(tmp_path_factory.mktemp("lab"), "--port", "18391") as lab:
        yield lab


@pytest.fixture(scope="session")
def access(lab):
    """A client of the lab's API."""
    access = lab.access()
    yield access
    access.api.rest_client.pool_manager.clear()
