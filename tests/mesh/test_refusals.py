"""What is refused, by whom and in which words; what is accepted with a warning."""

from __future__ import annotations

import copy
import time

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
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: CLUSTER, patch: {operation: ADD, value: {type: STATIC}}}]}",
            "spec.configPatches[0].patch.value.name",
        ),
        (
            "EnvoyFilter",
            "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: INSERT_FIRST, value: {a: 1}}}]}",
            "spec.configPatches[0].patch.value.name",
        ),
        (
            "ServiceEntry",
            "{hosts: [x.com], resolution: STATIC, ports: [{number: 1, name: tcp, protocol: TCP}]}",
            "spec.addresses",
        ),
        (
            "ServiceEntry",
            "{hosts: [x.com], resolution: DNS, ports: [{number: 1, name: tcp, protocol: TCP}]}",
            "spec.addresses",
        ),
        ("Sidecar", "{}", "kind"),
    ],
)
def test_what_is_not_enforced_is_refused_by_name(kind, spec, field):
    """Istio would take it; the lab names the field and the way out."""
    with pytest.raises(UnsupportedError) as refusal:
        check(_manifest(kind, spec))
    assert refusal.value.field == field


def _route(**rule):
    return {"hosts": ["b"], "http": [{"route": [{"destination": {"host": "b"}}], **rule}]}


def _set(name, value, side="request"):
    return _route(headers={side: {"set": {name: value}}})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (_set("x", "100%"), 'headers.request.set["x"]: in \'100%\' a "%" begins no command'),
        (_set("x", "a\nb", "response"), 'headers.response.set["x"]: value'),
        (_set("x\0", "a"), "headers.request.set: name"),
        (_set("x", "a" * 16385), "longer than 16384 bytes"),
        (_route(headers={"request": {"remove": ["a\rb"]}}), "headers.request.remove: name"),
        (_route(match=[{"headers": {"a\n": {"exact": "x"}}}]), "headers: name"),
        (_route(match=[{"queryParams": {"": {"exact": "x"}}}]), "queryParams: name cannot be empty"),
        (_route(rewrite={"authority": "a\nb"}), "rewrite.authority"),
        (_route(rewrite={"uri": "/a\0"}), "rewrite.uri"),
        ({"hosts": ["b"], "http": [{"redirect": {"uri": "/a\r\nx: y"}}]}, "redirect.uri"),
        (
            {"hosts": ["b"], "http": [{"directResponse": {"status": 200, "body": {"string": "x" * 2**21}}}]},
            "must be less than 1MB",
        ),
    ],
)
def test_texts_that_no_proxy_takes_are_refused(spec, words):
    """Envoy would refuse the whole configuration for them: the field is named before anything is stored."""
    manifest = _manifest("VirtualService", "{}") | {"spec": spec}
    with pytest.raises(InvalidResourceError) as refusal:
        check(manifest)
    assert words in str(refusal.value)


def test_a_large_answer_of_the_proxy_is_taken_with_a_warning():
    """As Istio does up to 1 MB."""
    spec = {"hosts": ["b"], "http": [{"directResponse": {"status": 200, "body": {"string": "x" * 200_000}}}]}
    manifest = _manifest("VirtualService", "{}") | {"spec": spec}
    check(manifest)
    assert "large direct_responses may impact control plane performance" in warnings(manifest)[0]


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


ENTRY = "hosts: [x.com], ports: [{number: 80, name: http, protocol: HTTP}]"
HASH = "{host: b, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: %s}}}}}"
POOL = "{host: b, trafficPolicy: {connectionPool: {tcp: {%s}}}}"
FROM = "{rules: [{from: [{source: {ipBlocks: [%s]}}]}]}"
WHEN = "{rules: [{when: [{key: %s, values: ['%s']}]}]}"
TWO = "{hosts: [b], http: [{route: [%s]}]}"
HALF = "{destination: {host: b}, weight: 2147483647}"


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("AuthorizationPolicy", FROM % "10.0.0.0/255.0.0.0", "bad CIDR range 10.0.0.0/255.0.0.0"),
        ("AuthorizationPolicy", FROM % "10.0.0.0/²", "bad CIDR range"),
        ("AuthorizationPolicy", WHEN % ("source.ip", "10.0.0.0/0.0.0.255"), "bad CIDR range"),
        ("AuthorizationPolicy", WHEN % ("source.ip", "fe80::1"), "IPv4 only"),
        ("AuthorizationPolicy", WHEN % ("destination.port", "²"), "invalid port ²"),
        ("AuthorizationPolicy", "{rules: [{to: [{operation: {ports: ['²']}}]}]}", "invalid port ²"),
        ("PeerAuthentication", "{selector: {matchLabels: {a: b}}, portLevelMtls: {'²': {mode: STRICT}}}", "1..65535"),
        ("EnvoyFilter", "{configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: foo}}]}", "type object"),
        ("ServiceEntry", f"{{{ENTRY}, resolution: STATIC, addresses: [nonsense]}}", "nonsense is not a valid IP address"),
        ("ServiceEntry", f"{{{ENTRY}, resolution: STATIC, addresses: [1.2.3.0/99]}}", "is not a valid CIDR block"),
        ("ServiceEntry", "{" + ENTRY.replace("x.com", "'*.x.com'") + ", resolution: DNS}", "hosts must be FQDN"),
        ("ServiceEntry", "{" + ENTRY.replace("HTTP", "HTPT") + ", resolution: DNS}", "unsupported protocol: HTPT"),
        ("DestinationRule", HASH % -1, "minimumRingSize -1"),
        ("DestinationRule", HASH % 9000000, "minimumRingSize 9000000"),
        ("DestinationRule", POOL % "tcpKeepalive: {probes: -1}", "probes -1"),
        ("DestinationRule", POOL % "maxConnections: 5000000000", "maxConnections 5000000000"),
        ("VirtualService", TWO % ", ".join([HALF] * 3), "total destination weight 6442450941"),
        ("VirtualService", TWO.replace("%s", "{destination: {host: b}}").replace("route:", "retries: {attempts: 1, retryOn: '²'}, route:"), "not a valid retryOn policy"),
        ("VirtualService", TWO.replace("%s", "{destination: {host: b}}").replace("route:", f"retries: {{attempts: 1, retryOn: '{'5' * 5000}'}}, route:"), "not a valid retryOn policy"),
    ],
)  # fmt: skip
def test_a_value_that_the_proxies_could_not_take_is_refused(kind, spec, words):
    """At admission, before it stands in the way of every sidecar's configuration."""
    group = "security" if kind in {"AuthorizationPolicy", "PeerAuthentication"} else "networking"
    with pytest.raises(InvalidResourceError) as refusal:
        check(_manifest(kind, spec, f"{group}.istio.io/v1"))
    assert words in str(refusal.value)


def test_hosts_that_overlap_are_told_without_comparing_all():
    """Each overlapping pair once, as written; thousands of exact hosts are no work."""
    route = "http: [{route: [{destination: {host: b}}]}]"
    with pytest.raises(InvalidResourceError) as refusal:
        check(_manifest("VirtualService", f"{{hosts: [a.x.com, '*.x.com', c, c, '*.a.x.com'], {route}}}"))
    for pair in ("a.x.com & *.x.com", "c & c", "*.x.com & *.a.x.com"):
        assert str(refusal.value).count(f": {pair}\n") == 1
    many = _manifest("VirtualService", f"{{hosts: [], {route}}}")
    many["spec"]["hosts"] = [f"h{i}.x.com" for i in range(8000)]
    start = time.process_time()
    check(many)
    assert time.process_time() - start < 2.0  # 32 million comparisons take longer


@pytest.mark.parametrize("places", [["r/z", "r/*"], ["r", "r/z/s"], ["*", "r"], ["r", "*"], ["r/z", "r/z"]])
def test_places_that_overlap_are_refused(places):
    """In whatever order they are written."""
    rules = [{"from": place, "to": {"r/z": 100}} for place in places]
    spec = {"host": "b", "trafficPolicy": {"loadBalancer": {"localityLbSetting": {"distribute": rules}}}}
    with pytest.raises(InvalidResourceError, match=r"overlap with previous"):
        check(_manifest("DestinationRule", "{}") | {"spec": spec})
