"""What must never be touched is refused before the first write, with the reason; each of our commands is tried."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .foreign import Foreign

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = ROOT / "experiments" / "isolate-redis.json"


@pytest.fixture(scope="module")
def cluster(module_command, tmp_path_factory):
    """A foreign cluster that has the lab's namespaces, without the label."""
    made = Foreign(module_command, tmp_path_factory.mktemp("cluster"))
    for name in ("a-ingress-traefik", "b-apacherr", "c-app-count", "d-redis", "load"):
        made.kubectl("create", "namespace", name)
    yield made
    made.close()


@pytest.fixture
def decoy(decoy_home):
    """A home whose ~/.kube/config leads to a server; answers the environment and the requests that came."""
    return {"HOME": str(decoy_home.path)}, decoy_home.reached


def run(cluster, *words, **environ):
    """One of our commands, or `chaos`, as somebody who only has the kubeconfig; exit status and all it said."""
    program = Path(sys.executable).parent / words[0]
    env = {**cluster.env, **environ}
    done = subprocess.run(
        [program, *words[1:]], env=env, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("up",), "is not labelled meshverdict.io/lab=true, so it is not touched"),
        (("down",), "is not labelled meshverdict.io/lab=true, so it is not touched"),
        (("run", str(EXPERIMENT)), "no namespace of this cluster"),
    ],
    ids=["up", "down", "run"],
)
def test_namespaces_without_the_label_are_refused(cluster, words, expected, tmp_path):
    """They are called as the lab's are, and are somebody else's."""
    before = cluster.objects()
    code, said = run(
        cluster, "meshverdict", *words, "--context", "far-away", MESHVERDICT_REPORTS=str(tmp_path / "reports")
    )
    assert code in {2, 3}
    assert expected in said
    assert cluster.objects() == before


def test_an_experiment_that_acts_outside_the_label_is_refused(cluster, tmp_path):
    """One labelled namespace does not open the others."""
    cluster.kubectl("create", "namespace", "mine")
    cluster.kubectl("label", "namespace", "mine", "meshverdict.io/lab=true")
    try:
        before = cluster.objects()
        code, said = run(
            cluster,
            *("chaos", "--no-version-check", "run", str(EXPERIMENT)),
            MESHVERDICT_CONTEXT="far-away",
            MESHVERDICT_REPORTS=str(tmp_path / "reports"),
        )
        assert code == 1
        assert (
            "acts in namespace 'd-redis', which is not labelled meshverdict.io/lab=true (these are: mine)"
            in said
        )
        assert cluster.objects() == before
    finally:
        cluster.kubectl("delete", "namespace", "mine")


@pytest.mark.parametrize("words", [("clean",), ("status",), ("kubeconfig",)], ids=" ".join)
def test_kubeconfig_alone_selects_nothing(cluster, decoy, words):
    """Neither KUBECONFIG nor ~/.kube/config is a choice: without an embedded lab there is nothing to act upon."""
    environ, reached = decoy
    before = cluster.objects()
    code, said = run(cluster, "meshverdict", *words, **environ)
    assert code == 3
    assert "no lab 'default' is running" in said
    assert (cluster.objects(), reached) == (before, [])


@pytest.mark.parametrize(
    "words",
    [("up",), ("down",), ("doctor",), ("clean",), ("run", str(EXPERIMENT)), ("verdict", "--quick")],
    ids=lambda w: w[0],
)
def test_a_context_that_is_not_there_is_not_looked_for_elsewhere(cluster, decoy, words, tmp_path):
    """With KUBECONFIG set, ~/.kube/config does not count; the contexts that there are, are named."""
    environ, reached = decoy
    environ = {**environ, "MESHVERDICT_REPORTS": str(tmp_path / "reports")}
    code, said = run(cluster, "meshverdict", *words, "--context", "production", **environ)
    assert code == 2
    assert "no such context" in said
    assert "(known: far-away)" in said
    assert reached == []


def test_a_kubeconfig_that_is_not_there_is_an_empty_one(cluster, decoy):
    """No default steps in for it."""
    environ, reached = decoy
    code, said = run(
        cluster, "meshverdict", "up", "--context", "production", **environ, KUBECONFIG="/nonexistent"
    )
    assert code == 2
    assert "no such context in /nonexistent (known: none)" in said
    assert reached == []


@pytest.mark.parametrize(
    "words", [("up",), ("down",), ("doctor",), ("clean",), ("run", str(EXPERIMENT))], ids=lambda w: w[0]
)
def test_a_kubeconfig_that_leads_nowhere_is_said_to(cluster, kubeconfig_of, tmp_path, words):
    """The server that does not answer is named; no other is tried."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    path = tmp_path / "config"
    path.write_text(kubeconfig_of(f"https://127.0.0.1:{port}"))
    environ = {"KUBECONFIG": str(path), "MESHVERDICT_REPORTS": str(tmp_path / "reports")}
    code, said = run(cluster, "meshverdict", *words, "--context", "production", **environ)
    assert code in {2, 3}
    assert f"127.0.0.1:{port}" in said or f"port={port}" in said
    assert "Traceback" not in said


def test_a_refused_run_leaves_no_folder(cluster, tmp_path):
    """A run that was refused wrote nothing that could be taken for a result."""
    words = ("run", str(EXPERIMENT), "--context", "nope", "--reports", str(tmp_path / "r"))
    code, said = run(cluster, "meshverdict", *words)
    assert code == 2
    assert "nope: no such context" in said
    left = [str(p) for p in (tmp_path / "r").rglob("*")] if (tmp_path / "r").exists() else []
    assert left == []
