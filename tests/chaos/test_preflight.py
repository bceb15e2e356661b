"""What a cluster lacks is found from what can be read of it, and said with the way out."""

import pytest

from meshverdict.chaos.canary import Canary
from meshverdict.chaos.lab import Wanted
from meshverdict.chaos.manifests import read_manifests
from meshverdict.chaos.preflight import (
    build_commands,
    enforcement,
    findings,
    obstacles,
    refuse_unfit,
    refuse_unlike,
    render,
)
from meshverdict.chaos.survey import Node, Survey, quantity, wanted_memory
from meshverdict.model.errors import LabError
from meshverdict.model.paths import data_folder

GIB = 2**30
MANIFESTS = [
    m for folder in ("00-traefik", "03-app") for m in read_manifests(data_folder("manifests") / folder)
]
NODES = (
    Node("one", "eu-1a", 4 * GIB, ("docker.io/meshverdict/app:0.1", "docker.io/meshverdict/load:latest")),
    Node("two", "eu-1b", 4 * GIB, ()),
)
WHOLE = Survey(
    version="v1.35.1",
    plugins=("Cilium v1.19.0",),
    istio="1.29.0",
    classes={"nginx": "k8s.io/ingress-nginx"},
    nodes=NODES,
    requested=GIB,
)


def found(survey, what):
    """The finding about something."""
    return next(f for f in findings(survey, MANIFESTS, context="minikube") if f.what.startswith(what))


def test_a_cluster_that_has_everything_has_no_finding_that_is_not_ok():
    """Images, zones, memory, plug-in, mesh."""
    assert [f.what for f in findings(WHOLE, MANIFESTS, context="minikube") if f.ok is not True] == []


@pytest.mark.parametrize(
    ("change", "what", "ok", "words"),
    [
        ({"plugins": ("flannel",)}, "network plug-in", False, "docs/kind.md"),
        ({"plugins": None}, "network plug-in", None, "may not be looked at"),
        ({"istio": ""}, "Istio", False, "istioctl install"),
        ({"istio": None}, "Istio", None, "may not be looked at"),
        ({"classes": {"traefik-lab": "somebody.else/x"}}, "ingress class", False, "rename the class"),
        ({"nodes": (Node("one", None, 4 * GIB, ()),)}, "image meshverdict/app", None, "images --build"),
        ({"nodes": (Node("one", None, 4 * GIB, ()),)}, "zones", False, "kubectl label node"),
        ({"requested": 8 * GIB}, "memory", False, "--memory 6g"),
        ({"nodes": None}, "memory", None, "may not be looked at"),
    ],
)
def test_what_is_missing_is_said_with_its_way_out(change, what, ok, words):
    """What may not be looked at is never called missing."""
    survey = Survey(**{name: getattr(WHOLE, name) for name in Survey.__slots__} | change)
    finding = found(survey, what)
    assert finding.ok is ok
    assert words in f"{finding.detail} {finding.remedy}"
    assert finding.detail in render([finding])


def test_only_what_the_lab_cannot_be_without_keeps_it_away():
    """Too little memory does; no Istio does not."""
    poor = Survey(version="v1.35.1", plugins=(), istio="", classes={}, nodes=NODES, requested=8 * GIB)
    every = findings(poor, MANIFESTS, context="minikube")
    assert [line.split(":")[0] for line in obstacles(every)] == ["memory"]
    with pytest.raises(LabError, match="nothing was written, because of what this cluster lacks: memory"):
        refuse_unfit(every)
    refuse_unfit(findings(WHOLE, MANIFESTS, context="minikube"))


@pytest.mark.parametrize(
    ("canary", "ok", "words"),
    [
        (Canary(enforced=True, to_denied_ms=12.0, to_allowed_ms=8.0), True, "enforced 12 ms after"),
        (Canary(enforced=False, why="accepted and not enforced: ..."), False, "enableNetworkPolicy"),
        (Canary(None, why="no image"), None, "could not be tried: no image"),
        (None, None, "not tried"),
    ],
)
def test_what_the_canary_found_is_the_finding(canary, ok, words):
    """A canary that could not sing is neither yes nor no."""
    finding = enforcement(canary)
    assert finding.ok is ok
    assert words in f"{finding.detail} {finding.remedy}"


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ("minikube", "minikube image load meshverdict/app:0.1 -p minikube"),
        ("kind-lab", "kind load docker-image meshverdict/load --name lab"),
        ("arn:aws:eks:eu-west-1:1:cluster/c", "docker push REGISTRY/meshverdict/app:0.1"),
    ],
)
def test_images_get_into_each_kind_of_cluster_in_its_own_way(context, words):
    """The first two commands build both images."""
    commands = build_commands(context)
    assert [c.split()[:2] for c in commands[:2]] == [["docker", "build"]] * 2
    assert any(words in command for command in commands)


def pod(namespace, *containers):
    """A pod with these containers."""
    return {
        "metadata": {"namespace": namespace, "name": "p"},
        "spec": {"containers": [{"name": c} for c in containers]},
    }


@pytest.mark.parametrize(
    ("wanted", "pods", "zones", "words"),
    [
        (Wanted(zones=2), [], ("zone-a",), "needs 2 zones, context c has 1"),
        (
            Wanted(sidecars=True),
            [pod("d-redis", "redis")],
            (),
            "label namespace d-redis istio-injection=enabled",
        ),
        (Wanted(sidecars=False), [pod("d-redis", "redis", "istio-proxy")], (), "istio-injection-"),
    ],
)
def test_a_cluster_that_is_not_what_an_experiment_needs_is_refused(wanted, pods, zones, words):
    """With the command that makes it so."""
    with pytest.raises(LabError, match=words):
        refuse_unlike(wanted, pods, zones, "c")


def test_a_cluster_that_is_what_an_experiment_needs_is_taken():
    """Delays and denials are what they are there."""
    meshed = [pod("d-redis", "redis", "istio-proxy")]
    refuse_unlike(Wanted(zones=2, zone_delay_ms=1.0, denied="drop", sidecars=True), meshed, ("a", "b"), "c")


def test_memory_is_counted_as_kubernetes_writes_it():
    """Requests times replicas, over all containers."""
    assert quantity("1Gi") == GIB
    template = {"spec": {"containers": [{"resources": {"requests": {"memory": "64Mi"}}}, {}]}}
    assert (
        wanted_memory([{"kind": "Deployment", "spec": {"replicas": 3, "template": template}}]) == 192 * 2**20
    )


def test_a_lab_that_is_there_already_needs_no_second_place():
    """`up` again, or `doctor` on a lab that is up: what its own pods have asked for counts once."""
    wanted = wanted_memory(MANIFESTS) + 256 * 2**20
    full = {"requested": sum(n.memory for n in NODES) - 256 * 2**20}
    kept = {name: getattr(WHOLE, name) for name in Survey.__slots__} | full
    assert found(Survey(**kept), "memory").ok is False
    again = Survey(**kept | {"requested_in": {"c-app-count": wanted, "somebody-elses": wanted}})
    assert found(again, "memory").ok is True
    other = Survey(**kept | {"requested_in": {"somebody-elses": wanted}})
    assert found(other, "memory").ok is False
