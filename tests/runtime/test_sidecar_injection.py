"""Which pods get a sidecar, and how the kernel tells its connections: Istio's rules, without a lab."""

from __future__ import annotations

import pytest

from meshverdict.mesh.capture import Capture, render
from meshverdict.model.errors import UnsupportedError
from meshverdict.runtime.sidecar_exemption import by_priority, marked
from meshverdict.runtime.sidecar_injection import CONTAINER, capture, injected, wants_sidecar


def pod(labels=None, annotations=None, **spec):
    meta = {"name": "p", "namespace": "n", "labels": labels or {}, "annotations": annotations or {}}
    return {"metadata": meta, "spec": {"containers": [{"name": "app"}], **spec}}


def namespace(name="n", **labels):
    return {"metadata": {"name": name, "labels": {k.replace("_", "-"): v for k, v in labels.items()}}}


LAB = {"metadata": {"name": "n", "labels": {"meshverdict.io/lab": "true"}}}
INJECT = "sidecar.istio.io/inject"


@pytest.mark.parametrize(
    ("given", "where", "everywhere", "expected"),
    [
        (pod(), namespace(istio_injection="enabled"), False, True),
        (pod({INJECT: "false"}), namespace(istio_injection="enabled"), False, False),
        (pod(annotations={INJECT: "false"}), namespace(istio_injection="enabled"), False, False),
        (pod({INJECT: "true"}), namespace(istio_injection="disabled"), False, False),
        (pod({INJECT: "true"}), namespace(), False, True),
        (pod(annotations={INJECT: "true"}), namespace(), False, False),
        (pod(), namespace(), True, False),
        (pod(), LAB, True, True),
        (pod(), LAB, False, False),
        (pod(hostNetwork=True), namespace(istio_injection="enabled"), False, False),
        (pod(), namespace("kube-system", istio_injection="enabled"), True, False),
    ],
)
def test_who_gets_a_sidecar(given, where, everywhere, expected):
    """The pod has the last word where the namespace injects; a namespace that says disabled is left alone."""
    assert wants_sidecar(given, where, everywhere=everywhere) is expected


def test_sidecar_starts_first_and_once():
    """The sidecar is the first restartable init container, and a pod that has one gets no second."""
    made = injected(pod(initContainers=[{"name": "setup"}]))
    assert [c["name"] for c in made["spec"]["initContainers"]] == [CONTAINER, "setup"]
    assert made["spec"]["initContainers"][0]["restartPolicy"] == "Always"
    assert made["metadata"]["labels"]["security.istio.io/tlsMode"] == "istio"
    assert not wants_sidecar(made, namespace(istio_injection="enabled"), everywhere=True)


def test_excluded_traffic_is_left_alone():
    """The exclude annotations become capture rules; what the lab does not follow is refused by name."""
    traffic = "traffic.sidecar.istio.io/"
    found = capture(pod(annotations={f"{traffic}excludeInboundPorts": "9102, 80"}))
    assert found.excluded_inbound_ports == (9102, 80)
    everything = capture(pod(annotations={f"{traffic}excludeOutboundIPRanges": "*"}))
    assert not everything.outbound
    assert "10.9.0.0/16" in render(
        capture(pod(annotations={f"{traffic}excludeOutboundIPRanges": "10.9.0.0/16"}))
    )
    for key, value in (
        ("excludeOutboundPorts", "0"),
        ("excludeOutboundPorts", "²"),
        ("excludeOutboundIPRanges", "foo"),
        ("excludeOutboundIPRanges", "10.0.0.0/255.0.0.0"),
        ("includeInboundPorts", "80"),
    ):
        with pytest.raises(UnsupportedError, match=key):
            injected(pod(annotations={traffic + key: value}))


def test_plain_users_sidecar_is_told_by_priority():
    """Without ids of its own a sidecar is told by its sockets' priority, in the rules and in its bootstrap."""
    rules = by_priority(render(Capture()))
    assert "skuid" not in rules
    assert "meta priority 0:5" in rules
    (option,) = marked({})["cluster_manager"]["upstream_bind_config"]["socket_options"]
    assert (option["level"], option["name"], option["int_value"]) == (1, 12, 5)
    with pytest.raises(ValueError, match="skuid"):
        by_priority("table ip x {}")
