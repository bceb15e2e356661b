"""What is refused, by field, and what is accepted with a warning."""

import pytest

from meshverdict.model.errors import UnsupportedError
from meshverdict.network import policy, services


def ingress(**rule):
    return {"metadata": {"name": "p", "namespace": "x"}, "spec": {"podSelector": {}, "ingress": [rule]}}


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        (ingress(ports=[{"port": "web", "endPort": 90}]), "spec.ingress[0].ports[0].endPort"),
        (ingress(ports=[{"port": 80, "endPort": 79}]), "spec.ingress[0].ports[0].endPort"),
        (ingress(ports=[{"port": 0}]), "spec.ingress[0].ports[0].port"),
        (ingress(ports=[{"protocol": "ICMP"}]), "spec.ingress[0].ports[0].protocol"),
        (ingress(**{"from": [{}]}), "spec.ingress[0].from[0]"),
        (ingress(**{"from": [{"ipBlock": {"cidr": "10.0.0.1"}}]}), "spec.ingress[0].from[0].ipBlock.cidr"),
        (
            ingress(**{"from": [{"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.1.0/28"]}}]}),
            "spec.ingress[0].from[0].ipBlock.except[0]",
        ),
        (
            ingress(**{"from": [{"ipBlock": {"cidr": "10.0.0.0/24"}, "podSelector": {}}]}),
            "spec.ingress[0].from[0].ipBlock",
        ),
        (ingress(**{"from": [{"serviceAccount": "a"}]}), "spec.ingress[0].from[0].serviceAccount"),
        (ingress(to=[{"podSelector": {}}]), "spec.ingress[0].to"),
        (
            ingress(**{"from": [{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}}]}),
            "spec.ingress[0].from[0].podSelector.matchExpressions[0].operator",
        ),
        (
            {"metadata": {"name": "p"}, "spec": {"policyTypes": ["Both"]}},
            "spec.policyTypes[0]",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_policy_that_cannot_be_enforced_is_refused_by_field(manifest, field):
    """Nothing is accepted and then not enforced."""
    with pytest.raises(UnsupportedError) as refusal:
        policy.check(manifest)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"externalIPs": ["1.2.3.4"]}, "spec.externalIPs"),
        ({"loadBalancerSourceRanges": ["10.0.0.0/8"]}, "spec.loadBalancerSourceRanges"),
        ({"ipFamilies": ["IPv6"]}, "spec.ipFamilies"),
        ({"ports": [{"port": 1, "protocol": "ICMP"}]}, "spec.ports[0].protocol"),
    ],
)
def test_a_service_that_cannot_be_served_is_refused_by_field(spec, field):
    """The author learns what to write instead."""
    with pytest.raises(UnsupportedError) as refusal:
        services.check({"spec": spec})
    assert refusal.value.field == field


def test_an_ipv6_block_is_accepted_with_a_warning_and_selects_nothing():
    """Dual-stack policies are common; without IPv6 there is nothing that the block could match."""
    manifest = ingress(**{"from": [{"ipBlock": {"cidr": "::/0"}}]})
    policy.check(manifest)
    assert len(policy.warnings(manifest)) == 1
    assert policy.warnings(ingress(**{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]})) == []


def test_node_port_services_are_accepted_with_a_warning():
    """They work on their ClusterIP; no node port is opened."""
    services.check({"spec": {"type": "NodePort"}})
    assert len(services.warnings({"spec": {"type": "NodePort"}})) == 1
    assert services.warnings({"spec": {"type": "ClusterIP"}}) == []
