"""NetworkPolicies, pods and namespaces compiled to addresses and ports: who may talk to whom.

    PolicySpec --selectors--> CompiledPolicy (pods, clauses) --same pods--> Bundle (merged clauses)

One pod is isolated in a direction when at least one policy selects it there; it may then talk to what any of
them admits. The ruleset and the prediction both come from these values.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from meshverdict.network.intervals import ALL_ADDRESSES, Interval, contains, dotted, number, union
from meshverdict.network.policy_spec import BlockPeer, NamedPort, Peer, PolicySpec, Port, parse_policy
from meshverdict.network.selectors import PodIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshverdict.network.values import Direction, Namespaces, PodNet

PortRange = tuple[str, int, int]
Target = tuple[str, str, int]


@dataclass(frozen=True)
class Peers:
    """Addresses of pods, and intervals of addresses."""

    addresses: frozenset[str] = frozenset()
    blocks: tuple[Interval, ...] = ()

    def has(self, address: str) -> bool:
        """Whether an address is one of these."""
        return address in self.addresses or contains(self.blocks, number(address))


@dataclass(frozen=True)
class Ports:
    """Ranges (protocol, low, high), disjoint; and targets (address, protocol, port) that names stand for."""

    ranges: frozenset[PortRange] = frozenset()
    targets: frozenset[Target] = frozenset()

    def has(self, destination: str, protocol: str, port: int) -> bool:
        """Whether a port of a destination is one of these."""
        return (destination, protocol, port) in self.targets or any(
            name == protocol and low <= port <= high for name, low, high in self.ranges
        )


@dataclass(frozen=True)
class Clause:
    """Traffic with these peers on these ports is admitted; None means every peer, every port."""

    peers: Peers | None
    ports: Ports | None

    def admits(self, peer: str, destination: str, protocol: str, port: int) -> bool:
        """Whether one connection is admitted; *peer* is the other end, *destination* the called one."""
        return (self.peers is None or self.peers.has(peer)) and (
            self.ports is None or self.ports.has(destination, protocol, port)
        )


@dataclass(frozen=True)
class CompiledPolicy:
    """What one policy does in one direction: the addresses it isolates and what it admits."""

    namespace: str
    name: str
    direction: Direction
    pods: frozenset[str]
    clauses: tuple[Clause, ...]

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Bundle:
    """All policies of a direction that isolate exactly the same pods, with their clauses merged."""

    direction: Direction
    policies: tuple[str, ...]
    pods: frozenset[str]
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class PolicyRules:
    """The compiled policies of a cluster, in order of namespace and name."""

    policies: tuple[CompiledPolicy, ...] = ()

    @cached_property
    def bundles(self) -> tuple[Bundle, ...]:
        """Every policy in exactly one bundle; bundles in a stable order."""
        groups: dict[tuple[Direction, frozenset[str]], list[CompiledPolicy]] = defaultdict(list)
        for policy in self.policies:
            groups[policy.direction, policy.pods].append(policy)
        return tuple(
            Bundle(
                direction,
                tuple(policy.key for policy in members),
                pods,
                merge(clause for policy in members for clause in policy.clauses),
            )
            for (direction, pods), members in groups.items()
        )

    def isolating(self, address: str, direction: Direction) -> list[CompiledPolicy]:
        """The policies that select the pod with this address in this direction."""
        return self._by_pod.get((direction, address), [])

    @cached_property
    def _by_pod(self) -> dict[tuple[Direction, str], list[CompiledPolicy]]:
        found: dict[tuple[Direction, str], list[CompiledPolicy]] = defaultdict(list)
        for policy in self.policies:
            for address in policy.pods:
                found[policy.direction, address].append(policy)
        return dict(found)


def check(manifest: Mapping[str, Any]) -> None:
    """Refuse a NetworkPolicy that would not be enforced exactly as written.

    Raises:
        UnsupportedError: Names the field and the way out.
    """
    parse_policy(manifest)


def warnings(manifest: Mapping[str, Any]) -> list[str]:
    """What the author of an accepted NetworkPolicy should know, for Warning headers."""
    spec = manifest.get("spec") or {}
    found = []
    for direction, part in (("ingress", "from"), ("egress", "to")):
        for i, rule in enumerate(spec.get(direction) or ()):
            for j, peer in enumerate(rule.get(part) or ()):
                cidr = (peer.get("ipBlock") or {}).get("cidr") or ""
                if ":" in cidr:
                    found.append(
                        f"spec.{direction}[{i}].{part}[{j}].ipBlock.cidr: {cidr} selects nothing: "
                        "the embedded lab has IPv4 only"
                    )
    return found


def compile_policies(
    manifests: Iterable[Mapping[str, Any]], pods: Sequence[PodNet], namespaces: Namespaces
) -> PolicyRules:
    """Resolve every selector and port name against the pods and namespaces there are now.

    Args:
        manifests: All NetworkPolicies of the cluster, in any order.
        pods: All pods that have an address.
        namespaces: Name -> labels of every namespace.

    Raises:
        UnsupportedError: A policy cannot be enforced (admission refuses these by ``check``).
    """
    compiler = _Compiler(pods, namespaces)
    compiled = [part for manifest in manifests for part in compiler.compile(parse_policy(manifest))]
    compiled.sort(key=lambda policy: (policy.namespace, policy.name, policy.direction))
    return PolicyRules(tuple(compiled))


class _Compiler:
    def __init__(self, pods: Sequence[PodNet], namespaces: Namespaces) -> None:
        self._index = PodIndex(pods, namespaces)
        self._named: dict[tuple[str, str], set[Target]] = defaultdict(set)
        for pod in pods:
            for name, (protocol, port) in pod.named_ports.items():
                self._named[protocol, name].add((pod.ip, protocol, port))
        self._peers: dict[tuple[Peer, ...], Peers | None] = {}

    def compile(self, spec: PolicySpec) -> list[CompiledPolicy]:
        pods = self._index.select(spec.namespace, spec.pods)
        return [
            CompiledPolicy(
                spec.namespace,
                spec.name,
                direction,
                pods,
                tuple(Clause(self._resolve(rule.peers), self._ports(rule.ports)) for rule in rules),
            )
            for direction, rules in spec.rules.items()
        ]

    def _resolve(self, peers: tuple[Peer, ...] | None) -> Peers | None:
        if peers is None:
            return None
        if peers not in self._peers:
            addresses: set[str] = set()
            blocks: list[Interval] = []
            for peer in peers:
                if isinstance(peer, BlockPeer):
                    blocks.extend(peer.intervals)
                else:
                    addresses |= self._index.select(peer.namespace, peer.pods)
            self._peers[peers] = _canonical(addresses, blocks)
        return self._peers[peers]

    def _ports(self, ports: tuple[Port, ...] | None) -> Ports | None:
        if ports is None:
            return None
        ranges: set[PortRange] = set()
        targets: set[Target] = set()
        for port in ports:
            if isinstance(port, NamedPort):
                # Of every pod that has the name: whether the pod is the destination is for the clause to say.
                targets |= self._named.get((port.protocol, port.name), set())
            else:
                ranges.add((port.protocol, port.low, port.high))
        return Ports(disjoint(ranges), frozenset(targets))


def _canonical(addresses: Iterable[str], blocks: Iterable[Interval]) -> Peers | None:
    """Everybody is None; a block of one address is an address."""
    merged = union(blocks)
    if merged == ALL_ADDRESSES:
        return None
    single = (dotted(low) for low, high in merged if low == high)
    return Peers(frozenset(addresses).union(single), tuple((low, high) for low, high in merged if low < high))


def disjoint(ranges: Iterable[PortRange]) -> frozenset[PortRange]:
    """The same ports as ranges that do not overlap."""
    found = frozenset(ranges)
    if len(found) < 2:
        return found
    by_protocol: dict[str, list[Interval]] = defaultdict(list)
    for protocol, low, high in found:
        by_protocol[protocol].append((low, high))
    return frozenset(
        (protocol, low, high) for protocol, those in by_protocol.items() for low, high in union(those)
    )


def merge(clauses: Iterable[Clause]) -> tuple[Clause, ...]:
    """Fewer clauses that admit the same: first by equal peers, then by equal ports."""
    by_peers: dict[Peers | None, list[Ports | None]] = {}
    for clause in clauses:
        by_peers.setdefault(clause.peers, []).append(clause.ports)
    by_ports: dict[Ports | None, list[Peers | None]] = {}
    for peers, ports in by_peers.items():
        by_ports.setdefault(_union_of_ports(ports), []).append(peers)
    return tuple(Clause(_union_of_peers(peers), ports) for ports, peers in by_ports.items())


def _union_of_ports(many: list[Ports | None]) -> Ports | None:
    if len(many) == 1:
        return many[0]
    some = [ports for ports in many if ports is not None]
    if len(some) < len(many):
        return None
    return Ports(
        disjoint(part for ports in some for part in ports.ranges),
        frozenset(target for ports in some for target in ports.targets),
    )


def _union_of_peers(many: list[Peers | None]) -> Peers | None:
    if len(many) == 1:
        return many[0]
    some = [peers for peers in many if peers is not None]
    if len(some) < len(many):
        return None
    return _canonical(
        (address for peers in some for address in peers.addresses),
        (block for peers in some for block in peers.blocks),
    )
