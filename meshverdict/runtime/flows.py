"""The flow log: who was let through and who was dropped, in Hubble's JSON, as the log of ``flows-<node>`` pods.

The kernel writes an event for each new connection and each denied packet; a busy lab would write
thousands of equal lines. The first of its kind is written at once, because people measure by it how
long a policy takes; what follows within a second becomes one line with a count.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.network.flows import FlowTag, parse_prefix
from meshverdict.network.values import NODE_RANGES
from meshverdict.runtime import nflog
from meshverdict.runtime.logs import LogFile, stamp

if TYPE_CHECKING:
    import socket

    from meshverdict.cluster.store import Event, Manifest, Store

WINDOW_S: Final = 1.0
_READ: Final = 1 << 17
_MAX_READS: Final = 16
_MAX_KEYS: Final = 10_000
# Packets of a pod that has gone are told of a little later; nobody asks for those of an hour ago.
_GONE: Final = 1000
_NODE_NETWORKS: Final = [ipaddress.ip_network(n) for n in NODE_RANGES]
_TCP_FLAGS: Final = {1: "FIN", 2: "SYN", 4: "RST", 8: "PSH", 16: "ACK", 32: "URG"}

PoliciesOf = Callable[[str, str], tuple[str, ...]]  # (node, decider) -> keys of policies


@dataclass(frozen=True, slots=True)
class _Pod:
    """What is kept of a pod, so that those that have gone take little memory."""

    namespace: str
    name: str
    node: str | None
    labels: tuple[str, ...]


class PodNames:
    """Which pod has, or had last, an address; of those that have gone, the last `_GONE`."""

    def __init__(self, store: Store) -> None:
        self._pods: dict[str, _Pod] = {}
        self._gone: dict[str, None] = {}  # addresses, in the order in which their last pods went
        for pod in store.list("pods"):
            self._take(pod)
        self.stop: Callable[[], None] = store.subscribe(self._changed)

    def _changed(self, event: Event) -> None:
        if event.resource != "pods":
            return
        address = self._take(event.obj)
        if address and event.type == "DELETED":
            self._gone[address] = None
            if len(self._gone) > _GONE:
                first = next(iter(self._gone))
                del self._gone[first], self._pods[first]

    def _take(self, pod: Manifest) -> str:
        """Remember a pod by its address; returns it, empty when the pod has none of its own."""
        address = str((pod.get("status") or {}).get("podIP") or "")
        if not address or pod["spec"].get("hostNetwork"):
            return ""
        meta = pod["metadata"]
        labels = [f"k8s:{key}={value}" for key, value in sorted((meta.get("labels") or {}).items())]
        labels.append(f"k8s:io.kubernetes.pod.namespace={meta['namespace']}")
        node = pod["spec"].get("nodeName")
        self._pods[address] = _Pod(meta["namespace"], meta["name"], node, tuple(labels))
        self._gone.pop(address, None)
        return address

    def endpoint(self, address: str) -> dict[str, Any]:
        """Hubble's ``source`` or ``destination`` of an address."""
        pod = self._pods.get(address)
        if pod is None:
            known = any(ipaddress.ip_address(address) in network for network in _NODE_NETWORKS)
            return {"labels": ["reserved:host" if known else "reserved:world"]}
        return {"namespace": pod.namespace, "labels": list(pod.labels), "pod_name": pod.name}

    def name(self, address: str) -> str:
        """``namespace/pod``, or the address itself where no pod has it."""
        pod = self._pods.get(address)
        return f"{pod.namespace}/{pod.name}" if pod else address

    def node(self, address: str) -> str | None:
        """The pod's node, or None."""
        pod = self._pods.get(address)
        return pod.node if pod else None


@dataclass(slots=True)
class _Window:
    """What was counted of one kind of flow since the last line."""

    packet: nflog.Packet
    tag: FlowTag
    opened: float
    first: float = 0.0
    count: int = 0


Key = tuple[str, str, str, str, int, str, bool]


class FlowLog:
    """Reads one node's packet log and writes its flows."""

    def __init__(
        self, sock: socket.socket, node: str, names: PodNames, policies_of: PoliciesOf, log: LogFile
    ) -> None:
        self._socket = sock
        self._node = node
        self._names = names
        self._policies_of = policies_of
        self._log = log
        self._windows: dict[Key, _Window] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._receive)
        self._timer = self._loop.call_later(WINDOW_S, self._tick)

    @classmethod
    def start(
        cls, store: Store, packets: socket.socket, node: str, policies_of: PoliciesOf, log: LogFile
    ) -> FlowLog:
        """Follow a node's packet log (see :func:`.nflog.open_log`)."""
        return cls(packets, node, PodNames(store), policies_of, log)

    async def close(self) -> None:
        """Write what was counted, and end."""
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._names.stop()
        self._sweep(float("inf"))
        self._log.flush()

    def _receive(self) -> None:
        now = time.time()
        for _ in range(_MAX_READS):
            try:
                data = self._socket.recv(_READ)
            except BlockingIOError:
                break
            for packet in nflog.parse(data):
                tag = parse_prefix(packet.prefix)
                if tag is not None:
                    self._count(packet, tag, now)
        self._log.flush()

    def _count(self, packet: nflog.Packet, tag: FlowTag, now: float) -> None:
        port = packet.source_port if packet.is_reply else packet.destination_port
        key = (
            tag.verdict,
            tag.direction,
            packet.source,
            packet.destination,
            port,
            packet.protocol,
            packet.is_reply,
        )
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= _MAX_KEYS:
                self._sweep(float("inf"))
            self._write(packet, tag, now, 1)
            self._windows[key] = _Window(packet, tag, now)
            return
        if not window.count:
            window.first, window.packet, window.tag = now, packet, tag
        window.count += 1

    def _tick(self) -> None:
        self._sweep(time.time() - WINDOW_S)
        self._log.flush()
        self._timer = self._loop.call_later(WINDOW_S, self._tick)

    def _sweep(self, until: float) -> None:
        """Write the windows that were opened before *until*; what was quiet is forgotten."""
        for key, window in list(self._windows.items()):
            if window.opened > until:
                continue
            if window.count:
                self._write(window.packet, window.tag, window.first, window.count)
                window.count = 0
                window.opened = time.time()
            else:
                del self._windows[key]

    def _write(self, packet: nflog.Packet, tag: FlowTag, at: float, count: int) -> None:
        line = flow_line(
            packet,
            tag,
            at=at,
            count=count,
            node=self._node,
            names=self._names,
            policies=self._policies_of(self._node, tag.decider),
        )
        self._log.write("stdout", json.dumps(line, separators=(",", ":")).encode(), time.time_ns())


def flow_line(
    packet: nflog.Packet,
    tag: FlowTag,
    *,
    at: float,
    count: int,
    node: str,
    names: PodNames,
    policies: tuple[str, ...],
) -> dict[str, Any]:
    """One line as ``hubble observe -o json`` writes it, with ``count`` for repeated flows."""
    moment = stamp(round(at * 1e6) * 1000)
    ports: dict[str, Any] = {}
    summary = packet.protocol
    if packet.protocol in ("TCP", "UDP", "SCTP"):
        ports = {"source_port": packet.source_port, "destination_port": packet.destination_port}
    if packet.protocol == "TCP":
        flags = [name for bit, name in _TCP_FLAGS.items() if packet.tcp_flags & bit]
        ports["flags"] = dict.fromkeys(flags, True)
        summary = f"TCP Flags: {', '.join(flags)}"
    flow: dict[str, Any] = {
        "time": moment,
        "verdict": tag.verdict,
        "IP": {"source": packet.source, "destination": packet.destination, "ipVersion": "IPv4"},
        "l4": {packet.protocol: ports},
        "source": names.endpoint(packet.source),
        "destination": names.endpoint(packet.destination),
        "Type": "L3_L4",
        "node_name": node,
        "traffic_direction": tag.direction.upper(),
        "is_reply": packet.is_reply,
        "Summary": summary,
        "count": count,
    }
    if tag.verdict == "DROPPED":
        flow["drop_reason_desc"] = "POLICY_DENIED"
    if policies:
        verb = "denied" if tag.verdict == "DROPPED" else "allowed"
        flow[f"{tag.direction}_{verb}_by"] = [_policy(key) for key in policies]
    return {"flow": flow, "node_name": node, "time": moment}


def _policy(key: str) -> Mapping[str, str]:
    namespace, _, name = key.partition("/")
    return {"name": name, "namespace": namespace, "kind": "NetworkPolicy"}
