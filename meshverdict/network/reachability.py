"""Predicts who may talk to whom, and names the policies that decide it.

Read from the same compiled policies as the ruleset, so prediction and packets can be held against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Final

from meshverdict.network.values import NODE_RANGES, Direction, PodNet

if TYPE_CHECKING:
    from meshverdict.network.policy import PolicyRules

End = PodNet | str
_NODES: Final = tuple(IPv4Network(text) for text in NODE_RANGES)


@dataclass(frozen=True)
class Ruling:
    """What one end's policies say.

    Args:
        direction: ``egress`` at the caller, ``ingress`` at the called pod.
        isolated: Whether any policy selects the pod in this direction.
        allowed: Always true for a pod that is not isolated.
        policies: Keys (``namespace/name``) of those that admit, or when denied of all that isolate.
    """

    direction: Direction
    isolated: bool
    allowed: bool
    policies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """Whether one kind of connection gets through; *source* and *destination* are pod keys or addresses."""

    source: str
    destination: str
    protocol: str
    port: int
    egress: Ruling
    ingress: Ruling

    @property
    def allowed(self) -> bool:
        """Both ends must agree."""
        return self.egress.allowed and self.ingress.allowed

    @property
    def denied_by(self) -> tuple[Ruling, ...]:
        """The rulings that deny; empty when allowed."""
        return tuple(ruling for ruling in (self.egress, self.ingress) if not ruling.allowed)


def predict(rules: PolicyRules, source: End, destination: End, protocol: str, port: int) -> Prediction:
    """Judge one kind of connection.

    Args:
        rules: From ``compile_policies``.
        source: The calling pod, or an address that is no pod's.
        destination: The called pod, or an address that is no pod's; never a ClusterIP (policies are judged
            behind it).
        protocol: TCP, UDP or SCTP.
        port: The destination's own port.
    """
    caller, called = _address(source), _address(destination)
    free = caller == called  # a pod always reaches itself
    egress = (
        Ruling("egress", isolated=False, allowed=True)
        if free
        else _rule(rules, "egress", caller, called, (called, protocol, port))
    )
    ingress = (
        Ruling("ingress", isolated=False, allowed=True)
        if free or _is_node(caller)
        else _rule(rules, "ingress", called, caller, (called, protocol, port))
    )
    return Prediction(_label(source), _label(destination), protocol, port, egress, ingress)


def _rule(
    rules: PolicyRules, direction: Direction, pod: str, peer: str, target: tuple[str, str, int]
) -> Ruling:
    isolating = rules.isolating(pod, direction)
    admitting = tuple(
        policy.key for policy in isolating if any(clause.admits(peer, *target) for clause in policy.clauses)
    )
    decided = admitting or tuple(policy.key for policy in isolating)
    return Ruling(direction, bool(isolating), bool(admitting) or not isolating, decided)


def _address(end: End) -> str:
    return end if isinstance(end, str) else end.ip


def _label(end: End) -> str:
    return end if isinstance(end, str) else end.key


def _is_node(address: str) -> bool:
    return any(IPv4Address(address) in network for network in _NODES)
