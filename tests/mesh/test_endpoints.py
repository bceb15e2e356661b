"""Which endpoints a client gets, and in which order it tries them."""

from __future__ import annotations

import dataclasses

import pytest

from meshverdict.mesh.inputs import service
from meshverdict.mesh.locality import groups
from meshverdict.mesh.sidecar import translate
from meshverdict.mesh.values import Endpoint, Locality, Mesh, Port, Resource, Service, Workload

CLIENT = Workload("n", "a", "10.0.0.1", {"app": "a"}, "a", Locality("lab", "a"))


def _assignment(policy):
    ends = (Endpoint("10.0.0.2", {"http": 80}), Endpoint("10.0.0.3", {"http": 80}, ready=False))
    service = Service("n", "b", (Port(80, "http", "HTTP"),), ends, "10.96.0.5")
    rule = Resource("DestinationRule", "n", "d", {"host": "b", "trafficPolicy": policy})
    (found,) = translate(Mesh((service,), (CLIENT,), (rule,)), CLIENT, "/f").endpoints
    return [e["health_status"] for place in found["endpoints"] for e in place["lb_endpoints"]]


def test_what_is_not_ready_gets_nothing():
    """Left out, or marked where the panic threshold is 0: never a request."""
    assert _assignment({"connectionPool": {"tcp": {"maxConnections": 1}}}) == ["HEALTHY"]
    assert _assignment({"outlierDetection": {}}) == ["HEALTHY", "UNHEALTHY"]


@pytest.mark.parametrize(
    ("setting", "outlier", "expected"),
    [
        ({}, False, {"a": (0, 1), "b": (0, 1), "c": (0, 1), "d": (0, 1)}),
        ({}, True, {"a": (0, 1), "b": (1, 1), "c": (2, 1), "d": (2, 1)}),
        ({"enabled": False}, True, {"a": (0, 1), "b": (0, 1), "c": (0, 1), "d": (0, 1)}),
        (
            {"failover": [{"from": "lab", "to": "other"}]},
            True,
            {"a": (0, 1), "b": (1, 1), "c": (3, 1), "d": (2, 1)},
        ),
        (
            {"failoverPriority": ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"]},
            True,
            {"a": (0, 1), "b": (1, 1), "c": (2, 1), "d": (2, 1)},
        ),
        (
            {"distribute": [{"from": "lab/*", "to": {"lab/*": 70, "far": 30}}]},
            False,
            {"a": (0, 35), "b": (0, 35), "c": (0, 30), "d": (0, 0)},
        ),
    ],
)
def test_localities_have_istios_priorities_and_weights(setting, outlier, expected):
    """Without outlierDetection nothing is preferred, except by distribute."""
    places = {
        "a": Locality("lab", "a"),
        "b": Locality("lab", "b"),
        "c": Locality("far", "c"),
        "d": Locality("other", "d"),
    }
    ends = [Endpoint(f"10.0.0.{i}", {"http": 80}, locality=place) for i, place in enumerate(places.values())]
    policy = {"loadBalancer": {"localityLbSetting": setting}} | ({"outlierDetection": {}} if outlier else {})
    found = groups(ends, policy, CLIENT.locality, CLIENT.labels)
    seen = {g.locality.zone: (g.priority, g.weight if g.endpoints else 0) for g in found}
    assert seen == expected


ZONE_A, ZONE_B = Locality("lab", "a"), Locality("lab", "b")
SPREAD = (
    Endpoint("10.0.0.2", {"http": 80}, locality=ZONE_A, node="one"),
    Endpoint("10.0.0.3", {"http": 80}, locality=ZONE_A, node="two"),
    Endpoint("10.0.0.4", {"http": 80}, locality=ZONE_B, node="three"),
)


def _seen(wishes, policy=None, ends=SPREAD, annotations=None):
    """Last digit of each endpoint's address -> its priority, and whether weights of localities count."""
    client = Workload("n", "a", "10.0.0.1", {"app": "a"}, "a", ZONE_A, node="two")
    manifest = {
        "metadata": {"namespace": "n", "name": "b", "annotations": annotations or {}},
        "spec": {"clusterIP": "10.96.0.5", "ports": [{"name": "http", "port": 80}], **wishes},
    }
    bare = service(manifest, (), {})
    rules = (
        ()
        if policy is None
        else (Resource("DestinationRule", "n", "d", {"host": "b", "trafficPolicy": policy}),)
    )
    found = translate(Mesh((dataclasses.replace(bare, endpoints=ends),), (client,), rules), client, "/f")
    (cluster,) = (c for c in found.clusters if c["name"] == "outbound|80||b.n.svc.cluster.local")
    (assignment,) = found.endpoints
    priorities = {
        int(e["endpoint"]["address"]["socket_address"]["address"][-1]): place["priority"]
        for place in assignment["endpoints"]
        for e in place["lb_endpoints"]
    }
    return priorities, "locality_weighted_lb_config" in cluster.get("common_lb_config", {})


OFF = {"loadBalancer": {"localityLbSetting": {"enabled": False}}}


@pytest.mark.parametrize(
    ("wishes", "policy", "expected"),
    [
        ({}, None, ({2: 0, 3: 0, 4: 0}, False)),
        ({"trafficDistribution": "PreferClose"}, None, ({2: 0, 3: 0, 4: 1}, True)),
        ({"trafficDistribution": "PreferSameZone"}, None, ({2: 0, 3: 0, 4: 1}, True)),
        ({"trafficDistribution": "PreferSameNode"}, None, ({2: 1, 3: 0, 4: 2}, True)),
        ({"trafficDistribution": "PreferSameZone"}, OFF, ({2: 0, 3: 0, 4: 0}, False)),
        ({"trafficDistribution": "PreferSameZone"}, {"outlierDetection": {}}, ({2: 0, 3: 0, 4: 1}, True)),
        ({"internalTrafficPolicy": "Cluster"}, None, ({2: 0, 3: 0, 4: 0}, False)),
        ({"internalTrafficPolicy": "Local"}, None, ({3: 0}, False)),
    ],
)
def test_what_a_service_prefers_holds_in_sidecars_too(wishes, policy, expected):
    """As in Istio: with no outlierDetection, and unless a DestinationRule has a locality setting of its own."""
    assert _seen(wishes, policy) == expected


def test_a_preference_is_no_wall_and_a_local_service_is_one():
    """Nobody near: the preference leads elsewhere, and a local Service leads nowhere."""
    far = SPREAD[2:]
    assert _seen({"trafficDistribution": "PreferSameZone"}, ends=far) == ({4: 0}, True)
    assert _seen({"internalTrafficPolicy": "Local"}, ends=far) == ({}, False)


def test_istios_annotation_says_the_same_and_the_field_comes_first():
    """The annotation is read in any case, as Istio does."""
    node = {"networking.istio.io/traffic-distribution": "preferSameNode"}
    assert _seen({}, annotations=node)[0] == {2: 1, 3: 0, 4: 2}
    assert _seen({"trafficDistribution": "PreferSameZone"}, annotations=node)[0] == {2: 0, 3: 0, 4: 1}
