"""Kubernetes manifests and Istio's labels, as the mesh room reads them."""

from __future__ import annotations

import pytest

from meshverdict.mesh.clusters import outbound
from meshverdict.mesh.inbound import served_ports
from meshverdict.mesh.inputs import protocol, service, workload
from meshverdict.mesh.values import Locality, Mesh

NODE = {"topology.kubernetes.io/zone": "zone-a", "topology.kubernetes.io/region": "lab"}
POD = {
    "metadata": {"name": "p", "namespace": "n", "labels": {"app": "x", "security.istio.io/tlsMode": "istio"}},
    "spec": {"serviceAccountName": "sa", "containers": []},
    "status": {"podIP": "10.244.1.5", "phase": "Running"},
}


@pytest.mark.parametrize(
    ("name", "app_protocol", "expected"),
    [
        ("http", "", "HTTP"),
        ("http-web", "", "HTTP"),
        ("web", "http", "HTTP"),
        ("http", "tcp", "TCP"),
        ("grpc-api", "", "HTTP2"),
        ("http2", "", "HTTP2"),
        ("h2", "kubernetes.io/h2c", "HTTP2"),
        ("https", "", "TCP"),
        ("tcp-redis", "", "TCP"),
        ("", "", "TCP"),
    ],
)
def test_a_port_speaks_what_its_name_says(name, app_protocol, expected):
    """AppProtocol first, then the name up to the first dash."""
    assert protocol(name, app_protocol) == expected


def test_a_pod_is_known_with_its_identity_and_place():
    """Labels, ServiceAccount, zone and whether it has a sidecar."""
    found = workload(POD, NODE)
    assert found is not None
    assert (found.key, found.ip, found.service_account) == ("n/p", "10.244.1.5", "sa")
    assert found.locality == Locality("lab", "zone-a")
    assert found.sidecar


def test_a_pod_without_an_address_is_not_known():
    """Pending, ended and host network pods are not in the mesh."""
    assert workload(POD | {"status": {}}, NODE) is None
    assert workload(POD | {"status": {"podIP": "1.2.3.4", "phase": "Failed"}}, NODE) is None


def test_a_service_knows_what_is_behind_it():
    """Ready or not; a terminating endpoint is gone; UDP ports are not the mesh's."""
    pod = workload(POD, NODE)
    manifest = {
        "metadata": {"name": "s", "namespace": "n"},
        "spec": {
            "clusterIP": "10.96.0.9",
            "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        },
    }
    piece = {
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {"addresses": ["10.244.1.5"], "conditions": {"ready": False}},
            {"addresses": ["10.244.1.6"], "conditions": {"ready": True, "terminating": True}},
            {"addresses": ["10.244.1.7"]},
        ],
    }
    found = service(manifest, [piece], {pod.ip: pod})
    assert [p.number for p in found.ports] == [80]
    assert [(e.address, e.ready, e.workload) for e in found.endpoints] == [
        ("10.244.1.5", False, "n/p"),
        ("10.244.1.7", True, ""),
    ]
    assert [e.address for e in found.leaving] == ["10.244.1.6"]
    assert found.host == "s.n.svc.cluster.local"


def test_a_pod_that_ends_serves_what_still_comes():
    """Nobody is sent to it any more, and its own sidecar keeps the way in: its clients know later than it does."""
    pod = workload(POD, NODE)
    spec = {"clusterIP": "10.96.0.9", "ports": [{"name": "http", "port": 80}]}
    leaving = {"addresses": [pod.ip], "conditions": {"ready": False, "serving": True, "terminating": True}}
    piece = {"ports": [{"name": "http", "port": 8080}], "endpoints": [leaving]}
    found = service({"metadata": {"name": "s", "namespace": "n"}, "spec": spec}, [piece], {pod.ip: pod})
    mesh = Mesh(services=(found,), workloads=(pod,))
    assert [served.number for served in served_ports(mesh, pod)] == [8080]
    (reached,) = (c for c in outbound(mesh, pod, "/x") if c.cluster["name"].startswith("outbound|80|"))
    assert reached.assignment["endpoints"] == []
