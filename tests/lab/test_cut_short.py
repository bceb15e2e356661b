"""Runs that were cut short, on somebody else's cluster: whatever they left is put back by whoever comes next."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from meshverdict.chaos import ledger
from meshverdict.chaos.cluster import KubeAccess
from meshverdict.chaos.leftovers import sweep
from meshverdict.chaos.manifests import Objects
from meshverdict.chaos.owner import Owner
from meshverdict.model.errors import LabError

from .foreign import Foreign

# In the middle of a test it would be too late: what the test left would meet the next one.
pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

ROOT = Path(__file__).resolve().parents[2]
SHORT = {"baseline_s": 6, "treated_s": 60, "restored_s": 1, "rate": 20}
OTHER = {
    "version": "1.0.0",
    "title": "Another experiment",
    "description": "It has nothing to do with the one that was killed.",
    "controls": [
        {
            "name": "meshverdict",
            "provider": {
                "type": "python",
                "module": "meshverdict.chaos.control",
                "arguments": {"baseline_s": 0, "telemetry": False},
            },
        }
    ],
    "method": [],
}


@pytest.fixture(scope="module")
def cluster(module_command, tmp_path_factory):
    """A foreign cluster with a lab, for all tests here."""
    made = Foreign(module_command, tmp_path_factory.mktemp("cluster"))
    made.answer("up", "--context", "far-away")
    yield made
    made.close()


@pytest.fixture
def access(cluster):
    """The cluster's client; no ledger of a test that failed meets the next one."""
    made = KubeAccess.open(cluster.kubeconfig, kind="real")
    yield made
    ledger._delete(made, "load")


@pytest.fixture
def start(cluster, tmp_path):
    """Begins `chaos run` on the foreign cluster; what still runs at the end of the test is ended."""
    started = []
    environ = cluster.env | {
        "MESHVERDICT_CONTEXT": "far-away",
        "MESHVERDICT_REPORTS": str(tmp_path / "reports"),
    }

    def begin(experiment, **variables):
        given = [word for name, value in variables.items() for word in ("--var", f"{name}={value}")]
        chaos = Path(sys.executable).parent / "chaos"
        process = subprocess.Popen(
            [chaos, "--no-version-check", "run", *given, str(experiment)],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def until_treated(cluster, process):
    """Wait for the policy."""
    deadline = time.monotonic() + 60
    while "isolate-namespace" not in cluster.kubectl("get", "networkpolicies", "-A", "-o", "name"):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.measures
def test_a_killed_run_is_put_right_by_the_next_one_whatever_that_is(cluster, start, tmp_path):
    """SIGKILL under the treatment leaves policy, probers, load and ledger; another experiment's run removes all."""
    before = cluster.objects()
    process = start(ROOT / "experiments" / "isolate-redis.json", **SHORT)
    until_treated(cluster, process)
    process.kill()
    process.communicate()
    left = cluster.objects()
    for name in ("isolate-namespace", "meshverdict-prober", "meshverdict-run", "job.batch/load"):
        assert name in left
    other = tmp_path / "other.json"
    other.write_text(json.dumps(OTHER))
    said = start(other).communicate(timeout=60)[0]
    assert (
        "put back NetworkPolicy d-redis/isolate-namespace as it was before 'Only the app may reach Redis'"
        in said
    )
    assert "removed the load load/load" in said
    assert cluster.objects() == before


@pytest.mark.measures
def test_an_interrupted_run_plays_its_rollbacks(cluster, start):
    """Ctrl-C: nothing is left, and `clean` has nothing to do."""
    before = cluster.objects()
    process = start(ROOT / "experiments" / "isolate-redis.json", **SHORT)
    until_treated(cluster, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert cluster.objects() == before
    assert cluster.answer("clean", "--context", "far-away") == []


def remember(access, tmp_path, manifest, owner=None):
    """A ledger with one object in it, open as if its run had begun."""
    made = ledger.Ledger(access, Objects(access, tmp_path), "load", "a test", owner or Owner.here())
    made.open()
    made.remember([(manifest, None)])
    return made


def dead():
    """The process of a run that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    here = Owner.here()
    return Owner(here.host, here.machine, process.pid, "1")


DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "redis", "namespace": "d-redis"},
}
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "mine", "namespace": "d-redis"},
    "data": {"a": "1"},
}


def test_a_changed_object_becomes_what_it_was(access, cluster, tmp_path):
    """A Deployment that a dead run scaled has its replicas again."""
    remember(access, tmp_path, DEPLOYMENT, dead())._stop.set()
    cluster.kubectl("scale", "deployment", "redis", "-n", "d-redis", "--replicas", "0")
    assert sweep(access, tmp_path, access.lab_namespaces()) == [
        "put back Deployment d-redis/redis as it was before 'a test'"
    ]
    cluster.kubectl("rollout", "status", "deployment", "redis", "-n", "d-redis", "--timeout=20s")
    assert sweep(access, tmp_path, access.lab_namespaces()) == []


def test_an_object_is_put_back_while_others_write_to_it(access, cluster, tmp_path):
    """A controller that writes between the reading and the writing is not the end: both are done anew."""
    cluster.kubectl("apply", "-f", "-", text=json.dumps(CONFIG | {"data": {"a": "2"}}))
    writes = []

    class Interrupted(Objects):
        def get(self, manifest, namespace=None):
            found = super().get(manifest, namespace)
            if len(writes) < 2:
                writes.append(
                    cluster.kubectl("annotate", "configmap", "mine", "-n", "d-redis", f"a{len(writes)}=b")
                )
            return found

    Interrupted(access, tmp_path).restore(CONFIG)
    objects = Objects(access, tmp_path)
    assert (len(writes), objects.get(CONFIG)["data"]) == (2, {"a": "1"})
    objects.delete(CONFIG)


def test_sidecars_of_a_dead_run_go_with_its_label(access, cluster, tmp_path):
    """A namespace's label is put back, and its pods are made anew, since they were made under the other label."""
    space = ledger.address("v1", "Namespace", "c-app-count")
    remember(access, tmp_path, space, dead())._stop.set()
    cluster.kubectl("label", "namespace", "c-app-count", "istio-injection=enabled")
    pods = cluster.kubectl("get", "pods", "-n", "c-app-count", "-o", "name")
    assert sweep(access, tmp_path, access.lab_namespaces()) == [
        "put back Namespace c-app-count as it was before 'a test'"
    ]
    assert "istio-injection" not in access.lab_namespaces()["c-app-count"]
    assert cluster.kubectl("get", "pods", "-n", "c-app-count", "-o", "name") != pods


@pytest.mark.parametrize(
    ("now", "before", "same"),
    [
        ({"a": 1, "b": {}}, {"a": 1}, True),
        ({"annotations": {"kubectl.kubernetes.io/restartedAt": "x"}}, {}, True),
        ({"replicas": 0}, {"replicas": 1}, False),
        ({"replicas": 0}, {}, False),
        ({"on": False}, {}, False),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, False),
        ({"a": "text"}, {"a": {"b": 1}}, False),
    ],
)
def test_what_counts_as_unchanged(now, before, same):
    """Empty fields and restarts do not count as changes; everything else does."""
    assert ledger._same(now, before) is same


def test_a_deleted_object_is_made_again(access, cluster, tmp_path):
    """With its content, and without what the server had added."""
    cluster.kubectl("apply", "-f", "-", text=json.dumps(CONFIG))
    remember(access, tmp_path, CONFIG, dead())._stop.set()
    cluster.kubectl("delete", "configmap", "mine", "-n", "d-redis")
    assert len(sweep(access, tmp_path, access.lab_namespaces())) == 1
    assert Objects(access, tmp_path).get(CONFIG)["data"] == {"a": "1"}
    cluster.kubectl("delete", "configmap", "mine", "-n", "d-redis")


def test_a_run_that_lives_is_left_alone(access, tmp_path):
    """On this machine its process is looked for; the message names it."""
    living = remember(access, tmp_path, CONFIG)
    try:
        with pytest.raises(
            LabError, match=f"another run uses this cluster: 'a test', process {os.getpid()} on"
        ):
            sweep(access, tmp_path, access.lab_namespaces())
    finally:
        living.close()
    assert sweep(access, tmp_path, access.lab_namespaces()) == []


def test_a_run_on_another_machine_lives_as_long_as_its_ledger_is_renewed(access, tmp_path, monkeypatch):
    """Its process cannot be seen, so its ledger is listened to."""
    monkeypatch.setattr(ledger, "BEAT_S", 0.2)
    monkeypatch.setattr(ledger, "SILENCE_S", 1.0)
    far = remember(access, tmp_path, CONFIG, Owner("another", "another boot", 1, "1"))
    with pytest.raises(LabError, match="process 1 on another"):
        sweep(access, tmp_path, access.lab_namespaces())
    far._stop.set()
    time.sleep(0.3)
    sweep(access, tmp_path, access.lab_namespaces())
    assert ledger._read(access, "load") is None


def test_what_a_run_could_not_roll_back_is_left_to_the_next(access, cluster, tmp_path):
    """Its ledger stays although its process lives on."""
    made = remember(access, tmp_path, CONFIG)
    cluster.kubectl("apply", "-f", "-", text=json.dumps(CONFIG))
    made.close()
    assert sweep(access, tmp_path, access.lab_namespaces()) == [
        "put back ConfigMap d-redis/mine as it was before 'a test'"
    ]
    assert Objects(access, tmp_path).get(CONFIG) is None


def test_what_cannot_be_put_back_keeps_nothing_else_from_it(access, cluster, tmp_path):
    """All the rest is put back and removed, the ledger stays, and the message names the object; a kind is forgotten."""
    gone = {
        "apiVersion": "mesh.example/v1",
        "kind": "Gone",
        "metadata": {"name": "x", "namespace": "d-redis"},
    }
    made = remember(access, tmp_path, CONFIG, dead())
    made._stop.set()
    made.changes += [{**gone, "before": None}, {**gone, "before": {**gone, "spec": {"a": 1}}}]
    made._write(ended=True)
    cluster.kubectl("apply", "-f", "-", text=json.dumps(CONFIG))
    cluster.kubectl(
        "run", "stray", "-n", "d-redis", "--image", "pause", "--labels", f"{ledger.LABEL}=intruder"
    )
    with pytest.raises(LabError, match=r"Gone d-redis/x .*ConfigMap load/meshverdict-run says how it was"):
        sweep(access, tmp_path, access.lab_namespaces())
    assert Objects(access, tmp_path).get(CONFIG) is None
    assert "stray" not in cluster.kubectl("get", "pods", "-n", "d-redis", "-o", "name")
    made.changes = made.changes[:2]
    made._write(ended=True)
    assert sweep(access, tmp_path, access.lab_namespaces()) == []
    assert ledger._read(access, "load") is None
