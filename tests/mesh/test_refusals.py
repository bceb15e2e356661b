"""What is refused, by whom and in which words; what is accepted with a warning."""

from __future__ import annotations

import copy

import pytest
import yaml

from meshverdict.mesh import check, warnings
from meshverdict.mesh.admission import check_identities
from meshverdict.mesh.validation import InvalidResourceError
from meshverdict.mesh.values import Mesh, Resource, Workload
from meshverdict.model.errors import UnsupportedError

from . import cases

needs_yardsticks = pytest.mark.skipif(
    not cases.invalid()["invalid"],
    reason="needs the yardsticks beside the repository: istio_invalid_open.yaml",
)


@needs_yardsticks
@pytest.mark.parametrize("case", cases.invalid()["invalid"], ids=lambda c: c["id"])
def test_an_invalid_resource_is_refused_in_istios_words(case):
    """The same one refuses it as on a real cluster, with the message's key words."""
    with pytest.raises(InvalidResourceError) as refusal:
        check(case["resource"])
    assert case["message_contains"] in str(refusal.value)
    assert refusal.value.answer == case["rejected_by"]


@needs_yardsticks
@pytest.mark.parametrize("case", cases.invalid()["accepted_with_warning"], ids=lambda c: c["id"])
def test_an_odd_resource_is_accepted_with_istios_warning(case):
    """It is stored, and its author reads the webhook's words."""
    check(case["resource"])
    assert any(case["warning_contains"] in text for text in warnings(case["resource"]))


def _manifest(kind, spec, group="networking.istio.io/v1"):
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "ns1"},
        "spec": yaml.safe_load(spec),
    }


BY_ROUTE = (
    "{hosts: [b], http: [{match: [{statPrefix: x, uri: {prefix: /}}], route: [{destination: {host: b}}]}]}"
)


@pytest.mark.parametrize(
    ("kind", "spec", "field"),
    [
        ("VirtualService", "{hosts: [b], http: [{delegate: {name: x}}]}", "spec.http[0].delegate"),
        (
            "VirtualService",
            "{hosts: [b], gateways: [gw], http: [{route: [{destination: {host: b}}]}]}",
            "spec.gateways[0]",
        ),
        (
            "VirtualService",
            "{hosts: [b], tls: [{match: [{sniHosts: [b]}], route: [{destination: {host: b}}]}]}",
            "spec.tls",
        ),
        (
            "VirtualService",
            BY_ROUTE,
            "spec.http[0].match[0].statPrefix",
        ),
        ("DestinationRule", "{host: b, workloadSelector: {matchLabels: {a: b}}}", "spec.workloadSelector"),
        ("DestinationRule", "{host: b, trafficPolicy: {tls: {mode: SIMPLE}}}", "spec.trafficPolicy.tls.mode"),
        (
            "DestinationRule",
            "{host: b, subsets: [{name: v1, trafficPolicy: {loadBalancer: {warmup: {duration: 10s}}}}]}",
            "spec.subsets[0].trafficPolicy.loadBalancer.warmup",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {a: 1}}}]}",
            "spec.configPatches[0].applyTo",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: CLUSTER, patch: {operation: INSERT_FIRST, value: {a: 1}}}]}",
            "spec.configPatches[0].patch.operation",
        ),
        ("Sidecar", "{}", "kind"),
    ],
)
def test_what_is_not_enforced_is_refused_by_name(kind, spec, field):
    """Istio would take it; the lab names the field and the way out."""
    with pytest.raises(UnsupportedError) as refusal:
        check(_manifest(kind, spec))
    assert refusal.value.field == field


@pytest.mark.parametrize("action", ["AUDIT", "CUSTOM"])
def test_actions_that_need_more_than_a_proxy_are_refused(action):
    """AUDIT and CUSTOM are refused at spec.action, or at the provider they need."""
    provider = ", provider: {name: x}" if action == "CUSTOM" else ""
    spec = f"{{action: {action}, rules: [{{}}]{provider}}}"
    with pytest.raises(UnsupportedError) as refusal:
        check(_manifest("AuthorizationPolicy", spec, "security.istio.io/v1"))
    assert refusal.value.field in {"spec.action", "spec.provider"}


POLICY = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "x", "namespace": "ns1"},
    "spec": {"rules": [{"from": [{"source": {"namespaces": ["ns2"]}}]}]},
}


def test_a_namespace_rule_needs_a_sidecar():
    """A pod without a sidecar cannot tell who its client is: refused, naming field and pod."""
    mesh = Mesh(workloads=(Workload("ns1", "b", "10.0.0.1", sidecar=False),))
    with pytest.raises(UnsupportedError, match="no sidecar") as refusal:
        check_identities(POLICY, mesh)
    assert refusal.value.field == "spec.rules[0].from[0].source.namespaces"


def test_a_namespace_rule_needs_mutual_tls():
    """Where a PeerAuthentication disables mutual TLS nobody has an identity."""
    off = Resource("PeerAuthentication", "ns1", "default", {"mtls": {"mode": "DISABLE"}})
    mesh = Mesh(workloads=(Workload("ns1", "b", "10.0.0.1"),), resources=(off,))
    with pytest.raises(UnsupportedError, match="disables mutual TLS"):
        check_identities(POLICY, mesh)
    check_identities(POLICY, Mesh(workloads=(Workload("ns1", "b", "10.0.0.1"),)))


def test_a_rule_by_address_needs_neither():
    """IpBlocks are seen without identities."""
    policy = copy.deepcopy(POLICY)
    policy["spec"] = {"rules": [{"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}]}
    check_identities(policy, Mesh(workloads=(Workload("ns1", "b", "10.0.0.1", sidecar=False),)))
