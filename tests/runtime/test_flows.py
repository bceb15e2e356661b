"""The flow log: Hubble's keys, one line for a thousand equal flows, nothing measured late."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from memory_objects import pod

from meshverdict.analysis.flows import parse_flows
from meshverdict.cluster.store import Store
from meshverdict.network.flows import FlowTag
from meshverdict.runtime import flows, nflog
from meshverdict.runtime.flows import FlowLog, PodNames
from meshverdict.runtime.logs import LogFile

CLIENT, SERVER = "10.244.1.2", "10.244.1.3"


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def event(
    prefix: str, source: str = CLIENT, destination: str = SERVER, port: int = 6379, ct: int = 2
) -> bytes:
    """One NFLOG message with a TCP SYN."""
    tcp = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 0x02, 64240, 0, 0)
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, socket.inet_aton(source), socket.inet_aton(destination)
    )
    body = struct.pack("!BBH", 2, 0, 5) + attribute(10, prefix.encode() + b"\0")
    body += attribute(9, ip + tcp) + attribute(19, struct.pack("!I", ct))
    return struct.pack("=IHHII", 16 + len(body), 4 << 8, 0, 0, 0) + body


@pytest.fixture
def store() -> Store:
    store = Store()
    for name, ip in (("client", CLIENT), ("server", SERVER)):
        store.create("pods", {**pod(name, {"image": "x"}), "status": {"podIP": ip}})
    return store


def test_a_packet_is_read_from_its_message() -> None:
    """Addresses, ports, flags, and whether it is of the answering side."""
    (one, two) = nflog.parse(event("mv F in open") + event("mv D in abc", ct=3))
    assert one == nflog.Packet("mv F in open", CLIENT, SERVER, "TCP", 40000, 6379, 2, is_reply=False)
    assert two.is_reply


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_a_cut_message_is_no_error(cut: int) -> None:
    """The kernel truncates; we do not stumble."""
    list(nflog.parse(event("mv F in open")[:cut]))


def test_a_line_has_hubble_s_keys(store: Store) -> None:
    """And the reader of reports understands it."""
    (packet,) = nflog.parse(event("mv D in abc"))
    line = flows.flow_line(
        packet,
        FlowTag("DROPPED", "ingress", "abc"),
        at=1_790_000_000.25,
        count=3,
        node="node-a",
        names=PodNames(store),
        policies=("test/deny",),
    )
    flow = line["flow"]
    assert line["node_name"] == "node-a"
    assert flow["time"].startswith("2026-09-21T14:13:20.25")
    assert flow["source"]["labels"] == ["k8s:app=client", "k8s:io.kubernetes.pod.namespace=test"]
    assert flow["l4"] == {"TCP": {"source_port": 40000, "destination_port": 6379, "flags": {"SYN": True}}}
    assert (flow["traffic_direction"], flow["drop_reason_desc"]) == ("INGRESS", "POLICY_DENIED")
    assert flow["ingress_denied_by"] == [{"name": "deny", "namespace": "test", "kind": "NetworkPolicy"}]
    assert flow["Summary"] == "TCP Flags: SYN"
    (parsed,) = parse_flows([json.loads(json.dumps(line))])
    assert (parsed.source, parsed.destination, parsed.port, parsed.verdict, parsed.count) == (
        "test/client",
        "test/server",
        6379,
        "DROPPED",
        3,
    )


@pytest.mark.parametrize(
    ("address", "labels"),
    [("172.31.1.2", ["reserved:host"]), ("172.30.0.1", ["reserved:host"]), ("192.0.2.1", ["reserved:world"])],
)
def test_what_is_no_pod_has_hubble_s_reserved_name(store: Store, address: str, labels: list[str]) -> None:
    """The node itself, and the rest of the world."""
    assert PodNames(store).endpoint(address) == {"labels": labels}


def test_a_pod_that_has_gone_is_still_known(store: Store) -> None:
    """Its last packets are logged after its end."""
    names = PodNames(store)
    store.remove("pods", "test", "client")
    assert names.endpoint(CLIENT)["pod_name"] == "client"


async def test_the_first_is_written_at_once_and_a_thousand_become_one_line(
    store: Store, tmp_path: Path, monkeypatch: Any
) -> None:
    """Counts add up; a new kind of flow is not held back by an old one."""
    monkeypatch.setattr(flows, "WINDOW_S", 0.2)
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    log = LogFile(tmp_path / "0.log")

    def lines() -> list[Any]:
        return [json.loads(line.split(" ", 3)[3])["flow"] for line in log.path.read_text().splitlines()]

    running = FlowLog.start(store, ours, "node-a", lambda _node, _decider: (), log)
    kernel.send(event("mv F in open"))
    await asyncio.sleep(0.02)
    assert [(f["verdict"], f["count"]) for f in lines()] == [("FORWARDED", 1)]
    for _ in range(100):
        kernel.send(event("mv F in open") * 10)
        await asyncio.sleep(0)
    kernel.send(event("mv D in abc"))
    kernel.send(event("somebody else's"))
    await asyncio.sleep(0.02)
    assert [(f["verdict"], f["count"]) for f in lines()] == [("FORWARDED", 1), ("DROPPED", 1)]
    await asyncio.sleep(0.5)
    counted = [(f["verdict"], f["count"]) for f in lines()]
    assert sum(n for v, n in counted if v == "FORWARDED") == 1001
    assert len(counted) <= 5
    await running.close()
    kernel.close()
    log.close()


def test_of_pods_that_have_gone_only_the_last_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pods come and go for hours; an address that somebody has again is not forgotten with its first holder."""
    monkeypatch.setattr(flows, "_GONE", 2)
    store = Store()
    names = PodNames(store)
    for number in range(4):
        address = CLIENT if number in {0, 3} else f"10.244.1.{100 + number}"
        store.create("pods", {**pod(f"p{number}", {"image": "x"}), "status": {"podIP": address}})
        if number < 3:
            store.remove("pods", "test", f"p{number}")
    assert names.name(CLIENT) == "test/p3"
    assert [names.name(f"10.244.1.{n}") for n in (101, 102)] == ["test/p1", "test/p2"]
    store.remove("pods", "test", "p3")
    assert [names.name(f"10.244.1.{n}") for n in (101, 102)] == ["10.244.1.101", "test/p2"]
