"""`--context`, against the embedded API as if it were a foreign cluster: its kubeconfig, and nothing else of it."""

from __future__ import annotations

import json

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from meshverdict.chaos.cluster import KubeAccess
from meshverdict.chaos.manifests import until_account
from meshverdict.chaos.prepare import refuse_outside
from meshverdict.model.errors import UsageError

from .foreign import Foreign

LABEL = "meshverdict.io/lab"


def test_a_named_context_gets_the_lab_and_loses_it_again(foreign):
    """All objects applied and Ready; afterwards the cluster is as before."""
    before = foreign.kubectl("get", "ns,deploy,ingressclass,clusterrole", "-A", "-o", "name")
    made = foreign.answer("up", "--context", "far-away")
    assert made["context"] == "far-away"
    assert made["pods"] == 4
    assert set(made["namespaces"]) == {"a-ingress-traefik", "b-apacherr", "c-app-count", "d-redis", "load"}
    removed = foreign.answer("down", "--context", "far-away")
    assert removed["removed"] == made["objects"]
    assert foreign.kubectl("get", "ns,deploy,ingressclass,clusterrole", "-A", "-o", "name") == before


def test_somebody_elses_namespace_is_refused_before_the_first_write(foreign):
    """A namespace of the lab's name without the label: nothing is applied anywhere."""
    foreign.kubectl("create", "namespace", "d-redis")
    done = foreign.meshverdict("up", "--context", "far-away")
    assert done.returncode == 2
    assert "namespace d-redis is on the cluster already" in done.stderr
    assert f"kubectl label namespace d-redis {LABEL}=true" in done.stderr
    assert "a-ingress-traefik" not in foreign.kubectl("get", "ns", "-o", "name")


def test_somebody_elses_cluster_role_is_neither_written_over_nor_removed(foreign):
    """Many clusters have a Traefik of their own, whose ClusterRole has the name of the lab's."""
    theirs = ("clusterrole", "traefik-ingress-controller")
    foreign.kubectl("create", *theirs, "--verb=get", "--resource=secrets")
    before = foreign.objects()
    done = foreign.meshverdict("up", "--context", "far-away")
    assert done.returncode == 2
    assert "ClusterRole traefik-ingress-controller is on the cluster already" in done.stderr
    done = foreign.meshverdict("down", "--context", "far-away")
    assert done.returncode == 0
    assert "ClusterRole traefik-ingress-controller is not the lab's" in done.stderr
    assert foreign.objects() == before
    assert "secrets" in foreign.kubectl("get", *theirs, "-o", "yaml")


def test_an_unknown_context_is_refused(foreign):
    """The message lists the contexts that there are; KUBECONFIG's current context is not used instead."""
    done = foreign.meshverdict("up", "--context", "nope")
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
            "it is never written to, whatever its labels",
            id="an object in a system namespace",
        ),
        pytest.param(
            {"kind": "EnvoyFilter", "metadata": {"name": "x", "namespace": "istio-system"}},
            "Istio's root namespace, where it would concern everybody",
            id="an EnvoyFilter for the whole mesh",
        ),
        pytest.param(
            {"kind": "EnvoyFilter", "metadata": {"name": "x", "namespace": "mesh-root"}},
            "Istio's root namespace",
            id="the same where the root namespace has another name",
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
        refuse_outside(
            [manifest], {"kube-system": {LABEL: "true"}, "mesh-root": {LABEL: "true"}}, "mesh-root"
        )


def test_the_preflight_says_what_is_missing_and_how_to_get_it(foreign):
    """Istio, Cilium, zones and images are named with their way out; nothing is written to a cluster without a lab."""
    before = foreign.objects()
    done = foreign.meshverdict("doctor", "--context", "far-away")
    assert done.returncode == 0
    for line in (
        "MISS Istio: no istiod",
        "istioctl install",
        "?    network plug-in",
        "ok   memory",
        "MISS zones",
    ):
        assert line in done.stdout
    assert foreign.objects() == before


def test_a_cluster_that_enforces_policies_is_told_from_one_that_does_not(foreign):
    """The canary: denied within a second and allowed again, and nothing of it is left."""
    made = foreign.answer("up", "--context", "far-away")
    found = made["findings"][-1]
    assert (found["what"], found["ok"]) == ("network policy", True)
    assert "enforced" in found["detail"]
    assert "meshverdict-canary" not in foreign.kubectl("get", "pods,networkpolicies", "-A", "-o", "name")


def test_policies_that_are_accepted_and_not_enforced_are_found(command, tmp_path):
    """As on a default minikube: said with the way out, and `doctor --context` exits 3."""
    cluster = Foreign(command, tmp_path, "--network-policy", "off")
    try:
        cluster.kubectl("create", "namespace", "mine")
        cluster.kubectl("label", "namespace", "mine", f"{LABEL}=true")
        done = cluster.meshverdict("doctor", "--context", "far-away")
        assert done.returncode == 3
        assert "MISS network policy: accepted and not enforced" in done.stdout
        assert "minikube start --cni=cilium" in done.stdout
        assert "meshverdict-canary" not in cluster.kubectl("get", "pods,networkpolicies", "-A", "-o", "name")
    finally:
        cluster.close()


def test_istios_root_namespace_is_never_the_labs_whatever_its_label(foreign):
    """Its name is read from the mesh configuration; the label that somebody gave it by mistake does not count."""
    mesh = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 'rootNamespace: mesh-root'}\n"
    for name in ("istio-system", "mesh-root", "mine"):
        foreign.kubectl("create", "namespace", name)
        foreign.kubectl("label", "namespace", name, f"{LABEL}=true")
    foreign.kubectl("apply", "-f", "-", text=mesh)
    assert set(KubeAccess.open(foreign.kubeconfig, kind="real").lab_namespaces()) == {"mine"}


def test_a_pod_waits_for_its_namespaces_service_account():
    """The refusal of a namespace made a moment ago is about the moment; any other refusal is final."""
    early = 'pods "x" is forbidden: error looking up service account ns/default: serviceaccount "default" not found'
    refusals = [early, early]

    def create():
        if refusals:
            error = ApiException(status=403)
            error.body = json.dumps({"message": refusals.pop()})
            raise error
        return "made"

    assert until_account(create) == "made"
    refusals.append('pods "x" is forbidden: exceeded quota')
    with pytest.raises(ApiException):
        until_account(create)


def test_a_pod_right_after_its_namespace_is_made(foreign):
    """On a real API, whose default ServiceAccount comes a moment after the namespace."""
    access = KubeAccess.open(foreign.kubeconfig, kind="real")
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "first"},
        "spec": {"containers": [{"name": "c", "image": "pause"}]},
    }
    for number in range(5):
        space = {"metadata": {"name": f"fresh-{number}"}}
        access.json(access.core.create_namespace, space)
        made = until_account(
            lambda n=number: access.json(access.core.create_namespaced_pod, f"fresh-{n}", body)
        )
        assert made["spec"]["serviceAccountName"] == "default"


def test_a_runner_has_the_rights_of_a_run_and_no_others(foreign):
    """As the account that `meshverdict access` prints: the lab is examined, policies are tried; Secrets stay closed."""
    foreign.answer("up", "--context", "far-away")
    foreign.kubectl("apply", "-f", "-", text=foreign.meshverdict("access", "--also", "flows-lab").stdout)
    token = foreign.kubectl("create", "token", "meshverdict-runner", "-n", "load", "--duration", "1h").strip()
    config = yaml.safe_load(foreign.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    admin = foreign.kubeconfig.read_text()
    foreign.write(config)
    found = {f["what"]: f["ok"] for f in foreign.answer("doctor", "--context", "far-away")}
    assert (found["rights"], found["network policy"]) == (True, True)
    for verb, what, where in (
        ("list", "secrets", "d-redis"),
        ("create", "pods", "kube-system"),
        ("create", "envoyfilters.networking.istio.io", "istio-system"),
        ("patch", "namespace/kube-system", "default"),
    ):
        said = foreign.kubectl_says("auth", "can-i", verb, what, "-n", where)
        assert said.startswith("no"), (verb, what, where)
    foreign.kubeconfig.write_text(admin)
