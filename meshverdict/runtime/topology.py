"""The lab's nodes and the addresses of its links: values for the spawner. Pure."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.network.addresses import pod_blocks
from meshverdict.network.values import SERVICE_RANGE, NodeNet

if TYPE_CHECKING:
    from collections.abc import Sequence

WORLD_ADDRESS: Final = "172.31.0.1"
API_PORT: Final = 6443
REGION: Final = "lab"
MAX_NODES: Final = 16
_BLOCKS: Final = 16


@dataclass(frozen=True, slots=True)
class Node:
    """One node, in a zone of its own.

    Attributes:
        number: 1, 2, ...; says which pod addresses are its own.
        address: Its address on its link to the world.
        gateway: The world's end of that link.
    """

    number: int
    name: str
    zone: str

    @property
    def address(self) -> str:
        """The node's address."""
        return f"172.31.{self.number}.2"

    @property
    def gateway(self) -> str:
        """The world's end of the node's link."""
        return f"172.31.{self.number}.1"

    @property
    def net(self) -> NodeNet:
        """The node as the network room sees it."""
        return NodeNet(self.name, self.zone)


def nodes(zones: int) -> list[Node]:
    """``node-a`` in ``zone-a`` and so on, one a zone."""
    letters = string.ascii_lowercase[: min(zones, MAX_NODES)]
    return [Node(i, f"node-{letter}", f"zone-{letter}") for i, letter in enumerate(letters, 1)]


def node_request(node: Node) -> dict[str, Any]:
    """The spawner's request that makes a node's network; the first node leads the world to Services."""
    return {
        "op": "node",
        "node": node.name,
        "link": f"w-{node.number}",
        "world": node.gateway,
        "address": node.address,
        "pods": _blocks(node),
        "services": _split(SERVICE_RANGE) if node.number == 1 else None,
    }


def link_requests(all_nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """The spawner's requests that join every two nodes by a link (direct, or as an end of the delay line)."""
    pairs = [(a, b) for i, a in enumerate(all_nodes) for b in all_nodes[i + 1 :]]
    return [_link(a, b, number) for number, (a, b) in enumerate(pairs, 1)]


def _link(a: Node, b: Node, number: int) -> dict[str, Any]:
    high, low = divmod(number, 64)
    return {
        "op": "link",
        "a": a.name,
        "b": b.name,
        "name_a": f"z-{b.number}",
        "name_b": f"z-{a.number}",
        "address_a": f"172.30.{high}.{low * 4 + 1}",
        "address_b": f"172.30.{high}.{low * 4 + 2}",
        "pods_a": _blocks(a),
        "pods_b": _blocks(b),
    }


def sandbox_request(uid: str, hostname: str, node: Node, address: str) -> dict[str, Any]:
    """The spawner's request that makes a pod's shared namespaces; the link's name comes from its address."""
    _, _, block, host = address.split(".")
    return {
        "op": "sandbox",
        "pod": uid,
        "hostname": hostname,
        "node": node.name,
        "address": address,
        "link": f"p{block}-{host}",
    }


def _blocks(node: Node) -> list[list[Any]]:
    return [_split(cidr) for cidr in pod_blocks(node.number, _BLOCKS)]


def _split(cidr: str) -> list[Any]:
    network, _, prefix = cidr.partition("/")
    return [network, int(prefix)]
