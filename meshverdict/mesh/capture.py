"""The redirect rules of a pod's network namespace, as text for nftables: how traffic comes to pass through the sidecar."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from meshverdict.mesh import inbound, outbound
from meshverdict.mesh.bootstrap import ADMIN_PORT, HEALTH_PORT, STATS_PORT
from meshverdict.mesh.clusters import INBOUND_SOURCE

TABLE: Final = "meshverdict_sidecar"
ISTIO_UID: Final = 1337
# Ports of the sidecar itself: 15008 and 15020 are Istio's tunnel and agent.
OWN_PORTS: Final = (ADMIN_PORT, 15008, 15020, HEALTH_PORT, STATS_PORT)


@dataclass(frozen=True)
class Capture:
    """What of a pod's TCP traffic passes through its sidecar.

    Args:
        uid: User of Envoy as the namespace's kernel rules see it: its own traffic is not captured again.
        inbound: Whether connections to the pod are captured.
        outbound: Whether connections of the pod are captured.
        excluded_inbound_ports: Ports of the pod that are left alone (``traffic.sidecar.istio.io/excludeInboundPorts``).
        excluded_outbound_ports: Ports that the pod may call directly (``excludeOutboundPorts``).
        excluded_outbound_ranges: Networks that it may call directly (``excludeOutboundIPRanges``).
        direct_sources: Addresses whose connections are left alone: the node's, so that its probes reach the
            application where mTLS is strict, as Istio's rewritten probes do.
    """

    uid: int = ISTIO_UID
    inbound: bool = True
    outbound: bool = True
    excluded_inbound_ports: tuple[int, ...] = ()
    excluded_outbound_ports: tuple[int, ...] = ()
    excluded_outbound_ranges: tuple[str, ...] = ()
    direct_sources: tuple[str, ...] = ()


def render(capture: Capture) -> str:
    """The ruleset: replaces the table of an earlier one, in one transaction.

    Raises:
        ValueError: A port, a range or an address is not one.
    """
    lines = [f"table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{"]
    if capture.inbound:
        lines += _chain("in", "prerouting", _incoming(capture))
    lines += _chain("out", "output", _outgoing(capture))
    return "\n".join([*lines, "}", ""])


def _chain(name: str, hook: str, rules: list[str]) -> list[str]:
    # priority dstnat is not valid in the output hook: its number is.
    head = f"type nat hook {hook} priority -100; policy accept;"
    return [f"  chain {name} {{", f"    {head}", *(f"    {rule}" for rule in rules), "  }"]


def _incoming(capture: Capture) -> list[str]:
    rules = [f"tcp dport {_set(_ports((*OWN_PORTS, *capture.excluded_inbound_ports)))} return"]
    if capture.direct_sources:
        rules.append(f"ip saddr {_set(_networks(capture.direct_sources))} return")
    return [*rules, f"meta l4proto tcp redirect to :{inbound.PORT}"]


def _outgoing(capture: Capture) -> list[str]:
    user = f"meta skuid {int(capture.uid)}"
    rules = [
        "meta l4proto != tcp return",
        # Envoy to its own pod's application.
        f'ip saddr {INBOUND_SOURCE} oifname "lo" return',
    ]
    if capture.inbound:
        # A pod that calls its own Service comes back in as any client does.
        rules.append(
            f'oifname "lo" ip daddr != 127.0.0.1 {user} meta l4proto tcp redirect to :{inbound.PORT}'
        )
    rules += [
        f'oifname "lo" meta skuid != {int(capture.uid)} return',
        f"{user} return",
        "ip daddr 127.0.0.0/8 return",
    ]
    if not capture.outbound:
        return rules
    if capture.excluded_outbound_ports:
        rules.append(f"tcp dport {_set(_ports(capture.excluded_outbound_ports))} return")
    if capture.excluded_outbound_ranges:
        rules.append(f"ip daddr {_set(_networks(capture.excluded_outbound_ranges))} return")
    return [*rules, f"meta l4proto tcp redirect to :{outbound.PORT}"]


def _set(items: Iterable[str]) -> str:
    return f"{{ {', '.join(items)} }}"


def _ports(numbers: Iterable[int]) -> list[str]:
    found = sorted({int(number) for number in numbers})
    if any(not 1 <= number <= 65535 for number in found):
        raise ValueError(f"ports to exclude must be in the range 1..65535: {found}")
    return [str(number) for number in found]


def _networks(texts: Iterable[str]) -> list[str]:
    """Networks without overlaps, which a set of nftables would refuse."""
    return [
        str(n) for n in ipaddress.collapse_addresses(ipaddress.IPv4Network(t, strict=False) for t in texts)
    ]
