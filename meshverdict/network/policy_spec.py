"""A NetworkPolicy manifest, parsed to typed values, or refused naming the field.

Everything that the compiler goes by is read here, so that a policy that parses is a policy that is enforced.
Field meanings: https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshverdict.model.errors import UnsupportedError
from meshverdict.network.intervals import Interval, of_network, without
from meshverdict.network.selectors import Selector, parse_selector
from meshverdict.network.values import PROTOCOLS, Direction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LAST_PORT = 65535


@dataclass(frozen=True)
class PodPeer:
    """Pods: in one namespace by name (the policy's own), or in the selected namespaces."""

    namespace: Selector | str
    pods: Selector


@dataclass(frozen=True)
class BlockPeer:
    """Addresses of a CIDR without its exceptions; empty for IPv6, which the lab does not have."""

    intervals: tuple[Interval, ...]


@dataclass(frozen=True)
class NumberPorts:
    """The ports *low* to *high* of one protocol."""

    protocol: str
    low: int
    high: int


@dataclass(frozen=True)
class NamedPort:
    """The port that the destination pod calls *name*, if it has this protocol."""

    protocol: str
    name: str


Peer = PodPeer | BlockPeer
Port = NumberPorts | NamedPort


@dataclass(frozen=True)
class RuleSpec:
    """One ingress or egress rule; None means every peer, every port."""

    peers: tuple[Peer, ...] | None
    ports: tuple[Port, ...] | None


@dataclass(frozen=True)
class PolicySpec:
    """A NetworkPolicy; a direction that it does not judge is missing from *rules*."""

    namespace: str
    name: str
    pods: Selector
    rules: Mapping[Direction, tuple[RuleSpec, ...]]


def parse_policy(manifest: Mapping[str, Any]) -> PolicySpec:
    """Read a NetworkPolicy.

    Raises:
        UnsupportedError: Something in it cannot be enforced.
    """
    meta, spec = manifest["metadata"], manifest.get("spec") or {}
    _known_fields(spec, {"podSelector", "policyTypes", "ingress", "egress"}, "spec")
    namespace = meta.get("namespace") or "default"
    parts: dict[Direction, str] = {"ingress": "from", "egress": "to"}
    rules: dict[Direction, tuple[RuleSpec, ...]] = {}
    for direction in _directions(spec):
        rules[direction] = tuple(
            _rule(rule, parts[direction], namespace, f"spec.{direction}[{position}]")
            for position, rule in enumerate(spec.get(direction) or ())
        )
    pods = parse_selector(spec.get("podSelector") or {}, "spec.podSelector")
    return PolicySpec(namespace, meta["name"], pods, rules)


def _directions(spec: Mapping[str, Any]) -> Iterator[Direction]:
    """What the policy judges: as listed, else ingress always, and egress if it has egress rules."""
    types = spec.get("policyTypes") or ("Ingress", *(("Egress",) if spec.get("egress") else ()))
    for position, name in enumerate(types):
        if name not in {"Ingress", "Egress"}:
            raise UnsupportedError(
                f"spec.policyTypes[{position}]", f"{name!r} is not known; use Ingress or Egress"
            )
    if "Ingress" in types:
        yield "ingress"
    if "Egress" in types:
        yield "egress"


def _rule(rule: Mapping[str, Any], peers_key: str, namespace: str, field: str) -> RuleSpec:
    _known_fields(rule, {peers_key, "ports"}, field)
    peers = tuple(
        _peer(peer, namespace, f"{field}.{peers_key}[{position}]")
        for position, peer in enumerate(rule.get(peers_key) or ())
    )
    ports = tuple(
        _port(port, f"{field}.ports[{position}]") for position, port in enumerate(rule.get("ports") or ())
    )
    return RuleSpec(peers or None, ports or None)


def _peer(peer: Mapping[str, Any], namespace: str, field: str) -> Peer:
    _known_fields(peer, {"podSelector", "namespaceSelector", "ipBlock"}, field)
    pods, namespaces, block = (peer.get(key) for key in ("podSelector", "namespaceSelector", "ipBlock"))
    if block is not None:
        if pods is not None or namespaces is not None:
            raise UnsupportedError(
                f"{field}.ipBlock", "cannot be given together with selectors; use two peers"
            )
        return _block(block, f"{field}.ipBlock")
    if pods is None and namespaces is None:
        raise UnsupportedError(field, "must specify a peer: podSelector, namespaceSelector or ipBlock")
    where = namespace if namespaces is None else parse_selector(namespaces, f"{field}.namespaceSelector")
    return PodPeer(where, parse_selector(pods or {}, f"{field}.podSelector"))


def _block(block: Mapping[str, Any], field: str) -> BlockPeer:
    _known_fields(block, {"cidr", "except"}, field)
    whole = _network(block.get("cidr"), f"{field}.cidr")
    holes = []
    for position, text in enumerate(block.get("except") or ()):
        hole = _network(text, f"{field}.except[{position}]")
        inside = hole.version == whole.version and hole.subnet_of(whole)  # type: ignore[arg-type]
        if not inside:
            raise UnsupportedError(f"{field}.except[{position}]", f"{text} is not within {block['cidr']}")
        if isinstance(hole, ipaddress.IPv4Network):
            holes.append(of_network(hole))
    if isinstance(whole, ipaddress.IPv6Network):
        return BlockPeer(())
    return BlockPeer(without(of_network(whole), holes))


def _network(text: Any, field: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if not isinstance(text, str) or "/" not in text:
        raise UnsupportedError(field, f"not a valid CIDR: {text!r} has no prefix length")
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise UnsupportedError(field, f"not a valid CIDR: {error}; write e.g. 10.0.0.0/8") from error


def _port(port: Mapping[str, Any], field: str) -> Port:
    _known_fields(port, {"protocol", "port", "endPort"}, field)
    protocol = port.get("protocol") or "TCP"
    if protocol not in PROTOCOLS:
        raise UnsupportedError(
            f"{field}.protocol", f"{protocol!r} cannot be judged; use {', '.join(PROTOCOLS)}"
        )
    low, high = port.get("port"), port.get("endPort")
    if high is not None and not isinstance(low, int):
        raise UnsupportedError(f"{field}.endPort", "needs a numeric port as the start of the range")
    if low is None:
        return NumberPorts(protocol, 0, _LAST_PORT)
    if isinstance(low, str):
        return NamedPort(protocol, low)
    if not 1 <= low <= _LAST_PORT:
        raise UnsupportedError(f"{field}.port", f"{low} is not between 1 and {_LAST_PORT}")
    if high is not None and not low <= high <= _LAST_PORT:
        raise UnsupportedError(f"{field}.endPort", f"{high} is not between {low} and {_LAST_PORT}")
    return NumberPorts(protocol, low, low if high is None else high)


def _known_fields(value: Mapping[str, Any], known: set[str], field: str) -> None:
    if unknown := sorted(set(value) - known):
        raise UnsupportedError(
            f"{field}.{unknown[0]}", f"cannot be enforced; known here: {', '.join(sorted(known))}"
        )
