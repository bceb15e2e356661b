"""Plans as functions: one whole list of changes compared."""

import pytest
from pretend_views import NOW, THEN, node, pod, view

from meshverdict.cluster.controllers import endpoints, job_pods, namespace, rollout
from meshverdict.cluster.controllers.changes import Create, Delete, Emit, Requeue, Update, UpdateStatus
from meshverdict.cluster.controllers.meta import matches, scaled, seconds, stamp
from meshverdict.cluster.controllers.replicaset import deletion_order, plan


def replicaset(replicas, **spec):
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "web-1", "namespace": "x", "uid": "uid-web-1", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}},
            **spec,
        },
    }


def running(name, **fields):
    return pod(name, owner="web-1", phase="Running", ready=True, **{"on": "a", **fields})


def status(**counters):
    return {**counters, "terminatingReplicas": 0, "observedGeneration": 1}


def test_a_new_replicaset_creates_its_pods_and_reports_none_yet():
    """The first status is that of the recording `rollout-03`: replicas 0, terminatingReplicas 0."""
    rs = replicaset(1)
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "web-1",
        "uid": "uid-web-1",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "x",
            "generateName": "web-1-",
            "labels": {"app": "web"},
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "c"}]},
    }
    assert plan(view(), rs, NOW) == [
        Create("pods", made, Emit(rs, "Normal", "SuccessfulCreate", "Created pod: {name}")),
        UpdateStatus("replicasets.apps", {**rs, "status": status(replicas=0)}),
    ]


def test_a_satisfied_replicaset_has_nothing_to_do():
    """No change when the status says what is there."""
    counts = dict.fromkeys(("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"), 1)
    rs = {**replicaset(1), "status": status(**counts)}
    assert plan(view(pods=[running("p")]), rs, NOW) == []


def test_a_surplus_pod_goes_with_an_event():
    """The pod that is not ready goes first."""
    pods = [running("good"), pod("bad", owner="web-1", on="a", phase="Running")]
    rs = replicaset(1)
    counts = {"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 1, "availableReplicas": 1}
    assert plan(view(pods=pods), rs, NOW) == [
        Delete("pods", "x", "bad", "uid-bad"),
        Emit(rs, "Normal", "SuccessfulDelete", "Deleted pod: bad"),
        UpdateStatus("replicasets.apps", {**rs, "status": status(**counts)}),
    ]


def test_min_ready_seconds_delays_availability():
    """Ready is not available yet; the plan asks to be woken when it will be."""
    *_, last, requeue = plan(view(pods=[running("p")]), replicaset(1, minReadySeconds=5), NOW + 2)
    assert "availableReplicas" not in last.obj["status"]
    assert requeue == Requeue(3.0)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pod("z"), running("a")),
        (pod("z", on="a"), running("a")),
        (pod("z", on="a", phase="Running"), running("a")),
        (
            running("z", meta={"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1"}}),
            running("a"),
        ),
        (running("z", meta={"creationTimestamp": "2027-01-15T09:00:00Z"}), running("a")),
    ],
    ids=["no node", "pending", "not ready", "cheaper", "younger"],
)
def test_which_pod_is_given_up_first(first, second):
    """Kubernetes' ranking, one rule a row; by name alone it would be the other."""
    stored = view(pods=[first, second]).list("pods", "x")
    assert [p["metadata"]["name"] for p in deletion_order(stored, [])] == ["z", "a"]


def test_the_more_crowded_node_gives_up_a_pod_first():
    """Two pods on node a, one on b: one of a goes."""
    stored = view(pods=[running("1", on="b"), running("2"), running("3")]).list("pods", "x")
    assert deletion_order(stored, stored)[0]["spec"]["nodeName"] == "a"


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25%", "25%", 2, (1, 0)),
        ("25%", "25%", 4, (1, 1)),
        ("25%", "25%", 10, (3, 2)),
        (0, 0, 3, (0, 1)),
        ("0%", "10%", 3, (0, 1)),
        (2, "100%", 3, (2, 3)),
    ],
)
def test_bounds_of_a_rolling_update(surge, unavailable, replicas, expected):
    """Surge rounds up, unavailability down; both zero means one unavailable."""
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    assert rollout.bounds({"spec": {"replicas": replicas, "strategy": strategy}}) == expected


@pytest.mark.parametrize(
    ("distribution", "hints"),
    [
        (None, None),
        ("PreferClose", {"forZones": [{"name": "zone-a"}]}),
        ("PreferSameZone", {"forZones": [{"name": "zone-a"}]}),
        ("PreferSameNode", {"forZones": [{"name": "zone-a"}], "forNodes": [{"name": "a"}]}),
    ],
)
def test_hints_of_traffic_distribution(distribution, hints):
    """Each endpoint is for its own zone, with PreferSameNode for its own node too."""
    (endpoint,) = slices(running("p"), trafficDistribution=distribution)[0]["endpoints"]
    assert endpoint.get("hints") == hints


def slices(*pods, ports=({"port": 80, "targetPort": 8080},), **spec):
    given = [{**p, "status": {**p["status"], "podIP": f"10.244.1.{i}"}} for i, p in enumerate(pods, 1)]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "x", "uid": "uid-web"},
        "spec": {"selector": {"app": "web"}, "ports": list(ports), **spec},
    }
    changes = endpoints.plan_slices(view(pods=given, nodes=[node("a")]), service, NOW)
    return [c.obj for c in changes if isinstance(c, Create)]


@pytest.mark.parametrize(
    ("fields", "spec", "conditions"),
    [
        ({"ready": True}, {}, (True, True, False)),
        ({}, {}, (False, False, False)),
        ({}, {"publishNotReadyAddresses": True}, (True, False, False)),
        ({"ready": True, "meta": {"deletionTimestamp": THEN}}, {}, (False, True, True)),
    ],
    ids=["ready", "not ready", "published", "terminating"],
)
def test_conditions_of_an_endpoint(fields, spec, conditions):
    """(ready, serving, terminating) of a pod in each state."""
    (endpoint,) = slices(pod("p", on="a", phase="Running", **fields), **spec)[0]["endpoints"]
    assert tuple(endpoint["conditions"].values()) == conditions


def test_named_ports_split_the_slices_by_number():
    """Two pods that give one name to different ports are in two slices."""
    pods = []
    for name, number in (("p", 8080), ("q", 9090)):
        one = running(name)
        one["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": number}]
        pods.append(one)
    found = slices(*pods, ports=[{"name": "web", "port": 80, "targetPort": "http"}])
    assert [s["ports"] for s in found] == [
        [{"name": "web", "protocol": "TCP", "port": 8080}],
        [{"name": "web", "protocol": "TCP", "port": 9090}],
    ]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "b", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["0"]}]}, True),
    ],
)
def test_label_selectors(selector, expected):
    """None selects nothing, an empty selector everything."""
    assert matches(selector, {"a": "1"}) is expected


@pytest.mark.parametrize(
    ("indexes", "text"), [((), ""), ((0,), "0"), ((0, 1), "0,1"), ((0, 1, 2, 4), "0-2,4")]
)
def test_completed_indexes(indexes, text):
    """Written short, and read back."""
    assert job_pods.format_indexes(indexes) == text
    assert job_pods.parse_indexes(text) == set(indexes)


def test_failures_back_off():
    """10 s after one failure, 20 s after two in a row, none after a success."""
    bad = [pod(f"p{i}", phase="Failed", meta={"creationTimestamp": THEN}) for i in range(2)]
    good = pod("ok", phase="Succeeded", meta={"creationTimestamp": stamp(NOW + 1)})
    waits = [job_pods.backoff(pods, NOW) for pods in ([], bad[:1], bad, [*bad, good])]
    assert waits == [0.0, 10.0, 20.0, 0.0]


@pytest.mark.parametrize(
    ("value", "up", "expected"), [(3, True, 3), ("34%", True, 4), ("34%", False, 3), (None, True, 0)]
)
def test_counts_in_percent(value, up, expected):
    """Of ten, rounded either way."""
    assert scaled(value, 10, up=up) == expected


def test_times_are_read_as_they_are_written():
    """Seconds survive the way to text and back."""
    assert (stamp(NOW), seconds(stamp(NOW))) == (THEN, NOW)


def test_stale_counts_do_not_take_down_more_than_allowed():
    """The old ReplicaSet was cut to 3 but still reports 4 available: only one more may go."""
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "x", "uid": "uid-web"},
        "spec": {"replicas": 4, "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}},
    }
    notes = rollout.scale_annotations(deployment)

    def sized(name, replicas, available):
        return {
            "metadata": {"name": name, "namespace": "x", "uid": name, "annotations": notes},
            "spec": {"replicas": replicas},
            "status": {"availableReplicas": available},
        }

    changes = rollout.rolling(deployment, sized("new", 2, 1), [sized("old", 3, 4)])
    assert [c.obj["spec"]["replicas"] for c in changes if isinstance(c, Update)] == [2]


def test_a_namespace_keeps_its_contents_for_a_grace():
    """Nothing is deleted before it is over: `kubectl delete -f FOLDER` names the contents after the namespace."""
    going = {
        "metadata": {"name": "x", "deletionTimestamp": stamp(NOW)},
        "spec": {"finalizers": ["kubernetes"]},
    }
    plan_namespace = namespace.planner("ca")
    (wait,) = plan_namespace(view(pods=[running("p")]), going, NOW)
    assert wait == Requeue(seconds(stamp(NOW)) + namespace.GRACE_S - NOW)
    later = plan_namespace(view(pods=[running("p")]), going, NOW + namespace.GRACE_S)
    assert [type(change) for change in later] == [Delete]


def test_ports_stand_in_the_order_of_a_real_controller():
    """By the hash of the port as Go prints it: seen in recordings, http before redis and web before admin."""
    for wanted in (("http", 7379), ("redis", 6379)), (("web", 80), ("admin", 8080)):
        for order in wanted, wanted[::-1]:
            ports = [{"name": n, "port": p, "targetPort": p, "protocol": "TCP"} for n, p in order]
            found = endpoints._ports({"spec": {"ports": ports}}, running("p"))
            assert [(name, number) for name, _, number, _ in found] == list(wanted)
