"""Patches: where they take hold, how often, and what is said of those that do nothing."""

from __future__ import annotations

import pytest
import yaml

from meshverdict.mesh.envoy_filter import merge
from meshverdict.mesh.sidecar import translate, useless_patches
from meshverdict.mesh.translation_error import TranslationError
from meshverdict.mesh.values import Endpoint, Mesh, Port, Resource, Service, Workload

SERVER = Workload("n", "b", "10.0.0.2", {"app": "b"}, "b")
CLIENT = Workload("n", "a", "10.0.0.1", {"app": "a"}, "a")
ENDPOINT = Endpoint(SERVER.ip, {"http": 8080, "tcp": 9000}, SERVER.labels, workload=SERVER.key, sidecar=True)
SERVICE = Service("n", "b", (Port(80, "http", "HTTP"), Port(9000, "tcp")), (ENDPOINT,), "10.96.0.5")
LUA = "{name: lua, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}"


def _translated(patch, proxy=SERVER, namespace="n", **spec):
    rule = Resource("EnvoyFilter", namespace, "f", {"configPatches": [yaml.safe_load(patch)], **spec})
    return translate(Mesh((SERVICE,), (CLIENT, SERVER), (rule,)), proxy, "/f")


def _hits(patch, proxy=SERVER, **more):
    return [h.counts for h in _translated(patch, proxy, **more).hits]


@pytest.mark.parametrize(
    ("patch", "proxy", "expected"),
    [
        # The inbound listener: two chains of the HTTP port and two that catch all.
        (f"{{applyTo: HTTP_FILTER, match: {{context: SIDECAR_INBOUND}}, patch: {{operation: INSERT_FIRST, value: {LUA}}}}}", SERVER, 4),
        (f"{{applyTo: HTTP_FILTER, match: {{context: SIDECAR_INBOUND, listener: {{portNumber: 8080}}}}, patch: {{operation: ADD, value: {LUA}}}}}", SERVER, 2),
        (f"{{applyTo: HTTP_FILTER, match: {{context: SIDECAR_OUTBOUND, listener: {{portNumber: 80}}}}, patch: {{operation: ADD, value: {LUA}}}}}", SERVER, 1),
        (f"{{applyTo: HTTP_FILTER, match: {{context: GATEWAY}}, patch: {{operation: ADD, value: {LUA}}}}}", SERVER, 0),
        ("{applyTo: CLUSTER, match: {cluster: {service: b.n.svc.cluster.local, portNumber: 80}}, patch: {operation: MERGE, value: {connectTimeout: 1s}}}", CLIENT, 1),
        ("{applyTo: CLUSTER, match: {context: SIDECAR_OUTBOUND, cluster: {name: 'outbound|9000||b.n.svc.cluster.local'}}, patch: {operation: REMOVE}}", CLIENT, 1),
        ("{applyTo: CLUSTER, match: {context: SIDECAR_OUTBOUND}, patch: {operation: ADD, value: {name: rls, type: STATIC}}}", CLIENT, 1),
        ("{applyTo: VIRTUAL_HOST, match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: 'b.n.svc.cluster.local:80'}}}, patch: {operation: MERGE, value: {rate_limits: []}}}", CLIENT, 1),
        ("{applyTo: VIRTUAL_HOST, match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: nobody}}}, patch: {operation: MERGE, value: {rate_limits: []}}}", CLIENT, 0),
        ("{applyTo: HTTP_ROUTE, match: {context: SIDECAR_INBOUND, routeConfiguration: {vhost: {name: 'inbound|http|80', route: {action: ROUTE}}}}, patch: {operation: MERGE, value: {route: {timeout: 1s}}}}", SERVER, 2),
        ("{applyTo: NETWORK_FILTER, match: {context: SIDECAR_OUTBOUND, listener: {portNumber: 9000, filterChain: {filter: {name: envoy.filters.network.tcp_proxy}}}}, patch: {operation: REMOVE}}", CLIENT, 1),
        ("{applyTo: LISTENER, match: {context: SIDECAR_INBOUND}, patch: {operation: MERGE, value: {perConnectionBufferLimitBytes: 1024}}}", SERVER, 1),
        ("{applyTo: ROUTE_CONFIGURATION, match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: '80'}}, patch: {operation: MERGE, value: {vhds: {}}}}", CLIENT, 1),
    ],
)  # fmt: skip
def test_a_patch_is_counted_where_it_takes_hold(patch, proxy, expected):
    """The count reaches the resource's status; 0 is a patch that does nothing."""
    assert _hits(patch, proxy) == [(expected,)]


def test_a_patch_that_does_nothing_anywhere_is_named():
    """By EnvoyFilter and position."""
    nobody = "{applyTo: CLUSTER, match: {cluster: {service: x.y}}, patch: {operation: MERGE, value: {a: 1}}}"
    assert useless_patches([_translated(nobody), _translated(nobody, CLIENT)]) == {("n", "f"): [0]}


def test_the_root_namespace_reaches_all_and_others_their_own():
    """A filter of another namespace is not applied; istio-system's is, where its labels select."""
    patch = f"{{applyTo: HTTP_FILTER, patch: {{operation: INSERT_FIRST, value: {LUA}}}}}"
    assert _hits(patch, namespace="other") == []
    assert _hits(patch, namespace="istio-system") != []
    assert _hits(patch, namespace="istio-system", workloadSelector={"labels": {"app": "a"}}) == []


def test_the_router_stays_last():
    """ADD comes before it, because Envoy refuses anything after it."""
    ours = _translated(f"{{applyTo: HTTP_FILTER, patch: {{operation: ADD, value: {LUA}}}}}")
    inbound = next(item for item in ours.listeners if item["name"] == "virtualInbound")
    (chain,) = [c for c in inbound["filter_chains"] if c["filter_chain_match"] == _PLAIN]
    names = [f["name"] for f in chain["filters"][-1]["typed_config"]["http_filters"]]
    assert names[-2:] == ["lua", "envoy.filters.http.router"]
    assert names.count("lua") == 1


_PLAIN = {"destination_port": 8080, "transport_protocol": "raw_buffer"}


def test_merging_is_protobufs():
    """Messages field by field, lists appended, values replaced; camel case means the same field."""
    target = {"a": {"b": 1, "c": 2}, "items": [1], "connect_timeout": "10s"}
    merge(target, {"a": {"b": 3}, "items": [2], "connectTimeout": "1s"})
    assert target == {"a": {"b": 3, "c": 2}, "items": [1, 2], "connect_timeout": "1s"}


@pytest.mark.parametrize(
    ("added", "patched"),
    [
        ("CLUSTER, patch: {operation: ADD, value: {type: STATIC}}", "CLUSTER, patch: {operation: MERGE, value: {a: 1}}"),
        ("CLUSTER, patch: {operation: ADD, value: {name: 'a|b|c|d'}}", "CLUSTER, match: {cluster: {portNumber: 80}}, patch: {operation: REMOVE}"),
        ("LISTENER, patch: {operation: ADD, value: {name: l, address: {pipe: {path: /x}}, filterChains: [{}]}}", "HTTP_FILTER, patch: {operation: ADD, value: {name: x}}"),
        ("LISTENER, patch: {operation: ADD, value: {name: l, address: {pipe: {path: /x}}}}", "LISTENER, match: {listener: {portNumber: 9}}, patch: {operation: REMOVE}"),
        ("LISTENER, patch: {operation: ADD, value: {address: {socketAddress: {portValue: 9}}, filterChains: [{}]}}", "NETWORK_FILTER, match: {listener: {portNumber: 9}}, patch: {operation: ADD, value: {name: x}}"),
        ("HTTP_FILTER, patch: {operation: INSERT_FIRST, value: {a: 1}}", "HTTP_FILTER, patch: {operation: ADD, value: {name: x}}"),
        ("VIRTUAL_HOST, patch: {operation: ADD, value: {name: v, domains: [v]}}", "HTTP_ROUTE, patch: {operation: ADD, value: {name: x}}"),
    ],
)  # fmt: skip
def test_what_a_patch_added_is_patched_again(added, patched):
    """In whatever form it was written: fields that are not there, in the other spelling, a pipe for an address."""
    patches = [yaml.safe_load(f"{{applyTo: {text}}}") for text in (added, patched)]
    rule = Resource("EnvoyFilter", "n", "f", {"configPatches": patches})
    (hits,) = translate(Mesh((SERVICE,), (CLIENT, SERVER), (rule,)), SERVER, "/f").hits
    assert len(hits.counts) == 2
    assert hits.counts[0] > 0


def test_a_patch_that_fits_nowhere_is_named():
    """By resource and place, so that its author finds it."""
    broken = "{applyTo: LISTENER, patch: {operation: ADD, value: {name: l, filterChains: [x]}}}"
    patch = f"{{applyTo: HTTP_FILTER, patch: {{operation: ADD, value: {LUA}}}}}"
    patches = [yaml.safe_load(text) for text in (broken, patch)]
    rule = Resource("EnvoyFilter", "n", "f", {"configPatches": patches})
    with pytest.raises(TranslationError, match=r"EnvoyFilter n/f: spec\.configPatches\[1\]"):
        translate(Mesh((SERVICE,), (CLIENT, SERVER), (rule,)), SERVER, "/f")


def test_a_redirect_code_of_zero_is_the_default():
    """Istio's zero is not set."""
    spec = {"hosts": ["b"], "http": [{"redirect": {"uri": "/a", "redirectCode": 0}}]}
    (route,) = _routes(spec)["b.n.svc.cluster.local:80"]
    assert route["redirect"] == {"path_redirect": "/a"}


def test_hosts_in_other_letters_are_the_same_host():
    """Envoy refuses the second, and with it the whole table."""
    spec = {"hosts": ["Foo.com", "foo.com"], "http": [{"redirect": {"uri": "/a"}}]}
    assert [name for name in _routes(spec) if name.lower() == "foo.com:80"] == ["Foo.com:80"]


def _routes(spec):
    rule = Resource("VirtualService", "n", "v", spec)
    (table,) = translate(Mesh((SERVICE,), (CLIENT, SERVER), (rule,)), CLIENT, "/f").routes
    return {host["name"]: host["routes"] for host in table["virtual_hosts"]}
