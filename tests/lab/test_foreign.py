"""`--context`, against the embedded API as if it were a foreign cluster: its kubeconfig, and nothing else of it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from meshverdict.chaos.prepare import refuse_outside
from meshverdict.model.errors import UsageError

LABEL = "meshverdict.io/lab"


@pytest.fixture
def foreign(command, tmp_path):
    """A cluster with one ConfigMap, reached by a kubeconfig that calls it far-away."""
    nothing = tmp_path / "nothing.yaml"
    nothing.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nothing, namespace: default}\n")
    info = command.up("--manifests", str(nothing))
    config = yaml.safe_load(Path(info["kubeconfig"]).read_text())
    config["contexts"][0]["name"] = config["current-context"] = "far-away"
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    command.env["KUBECONFIG"] = str(file)
    return command


def kubectl(command, *arguments):
    """Run kubectl with the foreign kubeconfig; its standard output."""
    done = subprocess.run(
        ["kubectl", *arguments], env=command.env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_named_context_gets_the_lab_and_loses_it_again(foreign):
    """All objects applied and Ready; afterwards the cluster is as before."""
    before = kubectl(foreign, "get", "ns,deploy,ingressclass,clusterrole", "-A", "-o", "name")
    done = foreign.run("up", "--context", "far-away", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    made = json.loads(done.stdout)
    assert made["context"] == "far-away"
    assert made["pods"] == 4
    assert set(made["namespaces"]) == {"a-ingress-traefik", "b-apacherr", "c-app-count", "d-redis", "load"}
    removed = json.loads(foreign.run("down", "--context", "far-away", "-o", "json").stdout)
    assert removed["removed"] == made["objects"]
    assert kubectl(foreign, "get", "ns,deploy,ingressclass,clusterrole", "-A", "-o", "name") == before


def test_somebody_elses_namespace_is_refused_before_the_first_write(foreign):
    """A namespace of the lab's name without the label: nothing is applied anywhere."""
    subprocess.run(
        ["kubectl", "apply", "-f", "-"],
        input="apiVersion: v1\nkind: Namespace\nmetadata: {name: d-redis}\n",
        env=foreign.env,
        text=True,
        capture_output=True,
        check=True,
    )
    done = foreign.run("up", "--context", "far-away")
    assert done.returncode == 2
    assert "namespace d-redis is on the cluster already" in done.stderr
    assert f"kubectl label namespace d-redis {LABEL}=true" in done.stderr
    assert "a-ingress-traefik" not in kubectl(foreign, "get", "ns", "-o", "name")


def test_an_unknown_context_is_refused(foreign):
    """The message lists the contexts that there are; KUBECONFIG's current context is not used instead."""
    done = foreign.run("up", "--context", "nope")
    assert done.returncode == 2
    assert "known: far-away" in done.stderr


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(
            {"kind": "Namespace", "metadata": {"name": "x"}},
            "lacks the label",
            id="a namespace without the label",
        ),
        pytest.param(
            {"kind": "ConfigMap", "metadata": {"name": "x", "namespace": "kube-system"}},
            "'kube-system' is not one of the lab's",
            id="an object in a system namespace",
        ),
        pytest.param(
            {"kind": "ConfigMap", "metadata": {"name": "x"}},
            "metadata.namespace is missing",
            id="no namespace",
        ),
    ],
)
def test_what_reaches_outside_the_lab_is_refused(manifest, expected):
    """The blast radius is decided from the manifests and the cluster's labels alone."""
    with pytest.raises(UsageError, match=expected):
        refuse_outside([manifest], {"kube-system": {}})
