"""Which of Hubble's lines make the flow log; the lines have the shape that Cilium 1.17 to 1.19 print."""

import copy

import pytest

from meshverdict.analysis.flows import parse_flow
from meshverdict.analysis.hubble import command, counts, lost_events

OPENED = {
    "flow": {
        "time": "2026-09-20T14:56:45.779111730Z",
        "uuid": "2848b6b6-59c0-4be2-8bdc-3a5861de4c68",
        "verdict": "FORWARDED",
        "ethernet": {"source": "ce:38:1f:4b:21:dd", "destination": "fa:ce:3c:de:8b:f8"},
        "IP": {"source": "10.0.1.13", "destination": "10.0.1.178", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 60778, "destination_port": 6379, "flags": {"SYN": True}}},
        "source": {
            "ID": 1501,
            "identity": 39459,
            "cluster_name": "default",
            "namespace": "c-app-count",
            "labels": ["k8s:app=pythonapp"],
            "pod_name": "pythonapp-555d6d88cd-slhfb",
            "workloads": [{"name": "pythonapp", "kind": "Deployment"}],
        },
        "destination": {
            "ID": 2273,
            "identity": 17221,
            "namespace": "d-redis",
            "labels": ["k8s:app=redis"],
            "pod_name": "redis-7bd4c6fb5-2xkvl",
        },
        "Type": "L3_L4",
        "node_name": "kind-worker",
        "event_type": {"type": 4},
        "traffic_direction": "INGRESS",
        "trace_observation_point": "TO_ENDPOINT",
        "trace_reason": "NEW",
        "is_reply": False,
        "interface": {"index": 98, "name": "lxc8308dc5301b3"},
        "Summary": "TCP Flags: SYN",
    },
    "node_name": "kind-worker",
    "time": "2026-09-20T14:56:45.779111730Z",
}
DROPPED = copy.deepcopy(OPENED)
DROPPED["flow"] |= {"verdict": "DROPPED", "drop_reason": 133, "drop_reason_desc": "POLICY_DENIED"}
for key in ("trace_observation_point", "trace_reason", "is_reply"):
    del DROPPED["flow"][key]
LOST = {"lost_events": {"source": "HUBBLE_RING_BUFFER", "num_events_lost": "12"}, "node_name": "kind-worker"}


def changed(**fields):
    """The opened connection with some fields of its flow changed."""
    line = copy.deepcopy(OPENED)
    line["flow"] |= fields
    return line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(OPENED, True, id="a connection opens"),
        pytest.param(OPENED["flow"], True, id="older form, without the outer flow"),
        pytest.param(DROPPED, True, id="a packet is dropped"),
        pytest.param(changed(l4={"TCP": {"flags": {"SYN": True, "ACK": True}}}), False, id="its answer"),
        pytest.param(changed(l4={"TCP": {"flags": {"ACK": True, "PSH": True}}}), False, id="data"),
        pytest.param(changed(is_reply=True, reply=True), False, id="a reply"),
        pytest.param(changed(trace_observation_point="TO_OVERLAY"), False, id="seen on its way"),
        pytest.param(changed(l4={"UDP": {"source_port": 1, "destination_port": 53}}), True, id="a datagram"),
        pytest.param(changed(Type="L7", l7={"type": "REQUEST"}), False, id="a request inside a connection"),
        pytest.param(changed(Type="SOCK", verdict="TRACED"), False, id="a socket's translation"),
        pytest.param(changed(verdict="AUDIT"), False, id="audited, not dropped"),
        pytest.param(
            changed(destination={"labels": ["reserved:world"]}, trace_observation_point="TO_STACK"),
            True,
            id="a connection that leaves the cluster",
        ),
        pytest.param(LOST, False, id="lost events"),
    ],
)
def test_a_line_counts_once_a_connection_and_once_a_dropped_packet(line, expected):
    """Everything else that Hubble tells of the same connection is left out."""
    assert counts(line) is expected


def test_what_counts_becomes_a_flow():
    """The same value that the embedded lab's lines give."""
    flow = parse_flow(DROPPED)
    assert (flow.source, flow.destination, flow.port) == ("c-app-count/pythonapp", "d-redis/redis", 6379)
    assert (flow.verdict, flow.reason, flow.protocol) == ("DROPPED", "POLICY_DENIED", "TCP")
    assert flow.time == pytest.approx(1789916205.779111)


def test_lost_events_are_counted():
    """Hubble writes the number as text, as protobuf's JSON does with 64 bits."""
    assert (lost_events(LOST), lost_events(OPENED)) == (12, 0)


def test_the_command_asks_for_the_labs_namespaces_only():
    """One filter for each; after a lost connection from the newest line on."""
    assert command(["a", "b"], "2026-01-01T00:00:00Z") == [
        *["hubble", "observe", "--follow", "--output", "jsonpb", "--since", "2026-01-01T00:00:00Z"],
        *["--namespace", "a", "--namespace", "b"],
    ]
