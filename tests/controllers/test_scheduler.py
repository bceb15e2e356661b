"""The scheduler as a function: nodes and pods in, bindings or reasons out."""

import pytest
from pretend_views import NOW, node, pod, view

from meshverdict.cluster.controllers import scheduler
from meshverdict.cluster.controllers.changes import Emit, Update
from meshverdict.cluster.controllers.demand import thousandths

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
WEB = {"labelSelector": {"matchLabels": {"app": "web"}}}
TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}


def bound(*pods, nodes):
    """Which node each waiting pod goes to."""
    changes = scheduler.plan(view(pods=pods, nodes=nodes), {}, NOW)
    return {c.obj["metadata"]["name"]: c.obj["spec"]["nodeName"] for c in changes if isinstance(c, Update)}


def refused(*pods, nodes):
    """The FailedScheduling messages, without the words on preemption."""
    changes = scheduler.plan(view(pods=pods, nodes=nodes), {}, NOW)
    failures = [c for c in changes if isinstance(c, Emit) and c.reason == "FailedScheduling"]
    return [c.message.partition(". no new claims")[0] for c in failures]


def node_affinity(kind, key, operator, *values):
    expression = {"key": key, "operator": operator, "values": list(values)}
    if kind == PREFERRED:
        return {"nodeAffinity": {kind: [{"weight": 1, "preference": {"matchExpressions": [expression]}}]}}
    return {"nodeAffinity": {kind: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}


def spread(key, when="DoNotSchedule", **more):
    return [{"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when, **WEB, **more}]


A, B = node("a", "zone-a"), node("b", "zone-b")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"nodeSelector": {HOST: "b"}}, "b"),
        ({"affinity": node_affinity(REQUIRED, ZONE, "In", "zone-b")}, "b"),
        ({"affinity": node_affinity(REQUIRED, ZONE, "NotIn", "zone-a")}, "b"),
        ({"affinity": node_affinity(REQUIRED, "disk", "DoesNotExist")}, "a"),
        ({"affinity": node_affinity(PREFERRED, ZONE, "In", "zone-b")}, "b"),
        ({"affinity": {"podAffinity": {REQUIRED: [{**WEB, "topologyKey": ZONE}]}}}, "b"),
        ({"affinity": {"podAntiAffinity": {REQUIRED: [{**WEB, "topologyKey": HOST}]}}}, "a"),
        (
            {
                "affinity": {
                    "podAffinity": {
                        PREFERRED: [{"weight": 9, "podAffinityTerm": {**WEB, "topologyKey": ZONE}}]
                    }
                }
            },
            "b",
        ),
        ({"topologySpreadConstraints": spread(ZONE)}, "a"),
        ({"topologySpreadConstraints": spread(ZONE, "ScheduleAnyway")}, "a"),
        ({}, "a"),
    ],
)
def test_a_pod_goes_where_its_spec_wants_it(spec, expected):
    """One pod of the same kind runs on b already."""
    there = pod("there", on="b", phase="Running", ready=True)
    assert bound(there, pod("new", **spec), nodes=[A, B]) == {"new": expected}


@pytest.mark.parametrize(
    ("spec", "nodes", "reason"),
    [
        ({}, [], "no nodes available to schedule pods"),
        ({}, [node("a", unschedulable=True)], "1 node(s) were unschedulable"),
        ({}, [node("a", taints=[TAINT])], "1 node(s) had untolerated taint {gpu: yes}"),
        ({"requests": {"cpu": "5"}}, [A], "1 Insufficient cpu"),
        (
            {"requests": {"cpu": "5", "memory": "9Gi"}},
            [A, B],
            "2 Insufficient cpu, 2 Insufficient memory",
        ),
        ({}, [node("a", pods="0")], "1 Too many pods"),
        (
            {"affinity": {"podAffinity": {REQUIRED: [{"labelSelector": {}, "topologyKey": "rack"}]}}},
            [A],
            "1 node(s) didn't match pod affinity rules",
        ),
        (
            {"topologySpreadConstraints": spread("rack")},
            [A],
            "1 node(s) didn't match pod topology spread constraints (missing required label)",
        ),
        (
            {"nodeSelector": {"no": "where"}},
            [A, node("b", taints=[TAINT])],
            "1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint {gpu: yes}",
        ),
    ],
)
def test_the_reason_is_in_kubernetes_words(spec, nodes, reason):
    """FailedScheduling counts nodes by reason, in alphabetical order."""
    head = f"0/{len(nodes)} nodes are available: " if nodes else ""
    assert refused(pod("new", **spec), nodes=nodes) == [head + reason]


def test_tolerations_open_tainted_nodes():
    """By key and value, by key alone, and with an empty key all of them."""
    for toleration in (
        {"key": "gpu", "value": "yes", "effect": "NoSchedule"},
        {"key": "gpu", "operator": "Exists"},
        {"operator": "Exists"},
    ):
        assert bound(pod("p", tolerations=[toleration]), nodes=[node("a", taints=[TAINT])]) == {"p": "a"}


def test_replicas_spread_over_zones_before_nodes():
    """Four pods of one ReplicaSet on two nodes of zone a and one of zone b: two in each zone."""
    nodes = [node("a1", "zone-a"), node("a2", "zone-a"), node("b1", "zone-b")]
    found = bound(*(pod(f"p{i}", owner="web-1") for i in range(4)), nodes=nodes)
    assert sorted(found.values()) == ["a1", "a2", "b1", "b1"]


def test_anti_affinity_counts_pods_of_the_same_plan():
    """Three pods that avoid each other, two nodes: the third waits, and is told why."""
    affinity = {"podAntiAffinity": {REQUIRED: [{**WEB, "topologyKey": HOST}]}}
    pods = [pod(f"p{i}", affinity=affinity) for i in range(3)]
    assert sorted(bound(*pods, nodes=[A, B]).values()) == ["a", "b"]
    assert refused(*pods, nodes=[A, B]) == [
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules"
    ]


def test_skew_is_never_exceeded():
    """With maxSkew 1 over two zones, one of them full: the second pod fits nowhere."""
    nodes = [A, node("b", "zone-b", pods="0")]
    pods = [pod(f"p{i}", topologySpreadConstraints=spread(ZONE)) for i in range(2)]
    assert bound(*pods, nodes=nodes) == {"p0": "a"}
    assert refused(*pods, nodes=nodes) == [
        "0/2 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints"
    ]


def test_the_zone_of_the_node_is_copied_onto_the_pod():
    """As a real server does at binding."""
    changes = scheduler.plan(view(pods=[pod("p")], nodes=[A]), {}, NOW)
    assert changes[0].obj["metadata"]["labels"] == {"app": "web", ZONE: "zone-a"}


@pytest.mark.parametrize("odd", [{"schedulerName": "mine"}, {"schedulingGates": [{"name": "wait"}]}])
def test_other_peoples_pods_are_left_alone(odd):
    """Another scheduler's pod, or one behind a gate."""
    assert scheduler.plan(view(pods=[pod("p", **odd)], nodes=[A]), {}, NOW) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("250m", 0.25), ("1", 1), (2, 2), ("128Mi", 128 * 2**20), ("1e3", 1000), ("1.5k", 1500)],
)
def test_demand_is_exact(text, value):
    """Suffixes of both kinds, exponents and numbers."""
    assert thousandths({"cpu": text}) == {"cpu": value * 1000}


def test_a_pod_that_cannot_be_read_keeps_no_other_from_its_node():
    """Whatever got past admission: it is refused by itself, with what is wrong, and the others are bound."""
    odd = [
        pod("a", affinity=node_affinity(REQUIRED, "cpu", "Gt")),
        pod("b", affinity=node_affinity(REQUIRED, "cpu", "exists")),
        pod("c", topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": HOST}]),
    ]
    there = [node("n1")]
    assert bound(*odd, pod("z"), nodes=there) == {"z": "n1"}
    said = refused(*odd, pod("z"), nodes=there)
    assert len(said) == 3
    assert all("could not be judged by the pod's spec" in text for text in said)


def test_amounts_without_end():
    """As many as 64 bits hold, as in Kubernetes."""
    most = (2**63 - 1) * 1000
    assert thousandths({"cpu": "1e99999999", "memory": "-1e99999999"}) == {"cpu": most, "memory": -most}
