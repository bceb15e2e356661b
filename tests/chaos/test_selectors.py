"""Whom a policy selects."""

import pytest

from meshverdict.chaos.selectors import endpoints, matches, policy_types, selected


def pod(namespace, name, **labels):
    """A pod of that name."""
    return {
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "status": {"podIP": "10.0.0.1"},
    }


def policy(namespace, selector, **spec):
    """A NetworkPolicy."""
    return {"metadata": {"namespace": namespace, "name": "p"}, "spec": {"podSelector": selector, **spec}}


REDIS = pod("d-redis", "redis-1", app="redis")
APP = pod("c-app", "app-1", app="app")


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ({}, True),
        (None, True),
        ({"matchLabels": {"app": "redis"}}, True),
        ({"matchLabels": {"app": "nobody"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["redis", "x"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["redis"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Gt", "values": ["1"]}]}, False),
    ],
)
def test_selector_matches_as_kubernetes_does(selector, found):
    """All forms of a label selector; an operator that does not exist matches nothing."""
    assert matches(selector, {"app": "redis"}) is found


def test_policy_selects_only_in_its_own_namespace():
    """An empty selector means all pods of the policy's namespace, not of the cluster."""
    assert selected(policy("d-redis", {}), [REDIS, APP], "d-redis") == [REDIS]


def test_directions_default_as_kubernetes_does():
    """Without policyTypes: ingress always, egress when there are egress rules."""
    assert policy_types(policy("d", {})) == {"Ingress"}
    assert policy_types(policy("d", {}, egress=[{}])) == {"Ingress", "Egress"}
    assert policy_types(policy("d", {}, policyTypes=["Egress"])) == {"Egress"}


def test_table_of_endpoints_shows_enforcement_by_direction():
    """What `cilium endpoint list` shows: enabled where some policy selects the pod."""
    rows = endpoints([REDIS, APP], [policy("d-redis", {}, policyTypes=["Egress"])])
    assert [(r["pod"], r["ingress"], r["egress"]) for r in rows] == [
        ("c-app/app-1", "Disabled", "Disabled"),
        ("d-redis/redis-1", "Disabled", "Enabled"),
    ]
