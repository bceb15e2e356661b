"""Services in nftables: a verdict map from virtual address to a chain that picks an endpoint."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from meshverdict.network.ruleset import REFUSALS, Table, digest
from meshverdict.network.values import NODE_RANGES, SERVICE_RANGE, NodeNet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshverdict.network.services import Endpoint, ServicePort

# Enough for an even spread over tens of endpoints; each bucket keeps its endpoint while that one lives.
_BUCKETS: Final = 256
_NODE_RANGES: Final = ", ".join(NODE_RANGES)


def add_services(table: Table, services: Iterable[ServicePort], node: NodeNet) -> None:
    """Translate virtual addresses to endpoints, and send what has no endpoint an immediate refusal."""
    elements = []
    for service in services:
        endpoints = service.endpoints_on(node)
        if endpoints:
            key = f"{service.ip} . {service.protocol.lower()} . {service.port}"
            chain = f"svc_{digest(key)}"
            table.chain(chain, [_choice(service, endpoints)])
            elements.append(f"{key} : goto {chain}")
    table.map("services", "ipv4_addr . inet_proto . inet_service", elements)
    dispatch = f"ip daddr {SERVICE_RANGE} ip daddr . meta l4proto . th dport vmap @services"
    table.chain("nat_pre", [dispatch], hook="type nat hook prerouting priority dstnat; policy accept;")
    table.chain("nat_out", [dispatch], hook="type nat hook output priority -100; policy accept;")
    table.chain(
        "nat_post",
        [
            # A pod that calls itself through its Service would answer itself past the translation.
            "ct status dnat ip saddr . ip daddr @self masquerade",
            # The answer to a node must come back through the node that translated.
            f"ct status dnat ip saddr {{ {_NODE_RANGES} }} masquerade",
        ],
        hook="type nat hook postrouting priority srcnat; policy accept;",
    )
    table.chain(
        "unserved",
        [f"ip daddr {SERVICE_RANGE} {refusal}" for refusal in REFUSALS],
        hook="type filter hook forward priority filter + 5; policy accept;",
    )


def _choice(service: ServicePort, endpoints: Sequence[Endpoint]) -> str:
    protocol = f"meta l4proto {service.protocol.lower()}"
    targets = [f"{e.ip} . {e.port}" for e in endpoints]
    if len(targets) == 1:
        return f"{protocol} dnat ip to {endpoints[0].ip}:{endpoints[0].port}"
    if service.sticky:
        entries = [f"{bucket} : {_owner(bucket, targets)}" for bucket in range(_BUCKETS)]
        picked = f"jhash ip saddr mod {_BUCKETS} seed 0x5eed"
    else:
        entries = [f"{number} : {target}" for number, target in enumerate(targets)]
        picked = f"numgen random mod {len(targets)}"
    return f"{protocol} dnat ip to {picked} map {{ {', '.join(entries)} }}"


def _owner(bucket: int, targets: Sequence[str]) -> str:
    """Highest random weight: when a target goes, only its own buckets move."""
    return max(targets, key=lambda t: hashlib.blake2s(f"{bucket} {t}".encode(), digest_size=8).digest())
