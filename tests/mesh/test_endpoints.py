"""Which endpoints a client gets, and in which order it tries them."""

from __future__ import annotations

import pytest

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
