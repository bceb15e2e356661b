"""Which endpoints a node uses, and how they are found."""

from meshverdict.network.services import Endpoint, ServicePort, compile_services
from meshverdict.network.values import NodeNet

A, B = NodeNet("node-a", "zone-a"), NodeNet("node-b", "zone-b")


def service(**spec):
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    return {
        "metadata": {"namespace": "x", "name": "s"},
        "spec": {"clusterIP": "10.96.1.1", "ports": ports, **spec},
    }


def piece(*endpoints, **more):
    return {
        "metadata": {"namespace": "x", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": list(endpoints),
        **more,
    }


def entry(ip, *, zone=None, node=None, at="node-a", **conditions):
    hints = {}
    if zone:
        hints["forZones"] = [{"name": zone}]
    if node:
        hints["forNodes"] = [{"name": node}]
    return {"addresses": [ip], "nodeName": at, "conditions": conditions, "hints": hints}


def used(node, *endpoints, **spec):
    (port,) = compile_services([service(**spec)], [piece(*endpoints)])
    return [endpoint.ip for endpoint in port.endpoints_on(node)]


def test_only_ready_endpoints_are_used():
    """Not given means ready."""
    assert used(A, entry("10.0.0.1", ready=False), entry("10.0.0.2", ready=True), entry("10.0.0.3")) == [
        "10.0.0.2",
        "10.0.0.3",
    ]


def test_ending_endpoints_that_still_serve_are_the_last_resort():
    """A rollout that takes all pods at once still answers, as with kube-proxy."""
    ending = entry("10.0.0.1", ready=False, serving=True, terminating=True)
    starting = entry("10.0.0.2", ready=False, serving=False)
    assert used(A, ending, starting) == ["10.0.0.1"]
    assert used(A, ending, starting, entry("10.0.0.3", ready=True)) == ["10.0.0.3"]


def test_unready_endpoints_are_used_where_the_service_publishes_them():
    """With publishNotReadyAddresses."""
    assert used(A, entry("10.0.0.1", ready=False), publishNotReadyAddresses=True) == ["10.0.0.1"]


def test_zone_hints_count_when_every_ready_endpoint_has_them():
    """One endpoint without a hint, or none for this zone, and all are used."""
    near, far = entry("10.0.0.1", zone="zone-a"), entry("10.0.0.2", zone="zone-b")
    assert (used(A, near, far), used(B, near, far)) == (["10.0.0.1"], ["10.0.0.2"])
    assert used(A, near, entry("10.0.0.2")) == ["10.0.0.1", "10.0.0.2"]
    assert used(B, near, entry("10.0.0.2", zone="zone-a")) == ["10.0.0.1", "10.0.0.2"]
    assert used(A, near, far, entry("10.0.0.3", ready=False)) == ["10.0.0.1"]


def test_node_hints_come_before_zone_hints():
    """With trafficDistribution PreferSameNode; a node without an endpoint falls back to its zone."""
    one, two = (
        entry("10.0.0.1", zone="zone-a", node="node-a"),
        entry("10.0.0.2", zone="zone-a", node="node-c"),
    )
    other = entry("10.0.0.3", zone="zone-b", node="node-d")
    assert used(A, one, two, other) == ["10.0.0.1"]
    assert used(B, one, two, other) == ["10.0.0.3"]


def test_internal_traffic_policy_local_stays_on_the_node():
    """Even when that leaves no endpoint."""
    assert used(A, entry("10.0.0.1", at="node-b"), internalTrafficPolicy="Local") == []
    assert used(B, entry("10.0.0.1", at="node-b"), internalTrafficPolicy="Local") == ["10.0.0.1"]


def test_ports_are_matched_by_name_and_protocol():
    """The slice's number is the target; the Service's own number is the virtual one."""
    assert compile_services([service(sessionAffinity="ClientIP")], [piece(entry("10.0.0.1"))]) == (
        ServicePort(
            "x/s", "http", "10.96.1.1", "TCP", 80, (Endpoint("10.0.0.1", 8080, node="node-a"),), sticky=True
        ),
    )
    other = piece(entry("10.0.0.1"), ports=[{"name": "http", "port": 8080, "protocol": "UDP"}])
    assert compile_services([service()], [other])[0].endpoints == ()


def test_headless_and_external_services_have_no_virtual_address():
    """DNS answers for them."""
    assert compile_services([service(clusterIP="None"), service(type="ExternalName", clusterIP="")], []) == ()
