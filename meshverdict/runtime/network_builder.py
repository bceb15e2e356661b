"""Build the lab's networks inside the spawner: the world's links, one network a node, one a pod.

Which addresses there are is decided elsewhere (:mod:`.topology`); here they become namespaces, veth
pairs, routes and permanent neighbours. A namespace is held by its file descriptor only, so nothing
of it can be left behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshverdict.runtime import linux
from meshverdict.runtime.delay_line import packet_socket
from meshverdict.runtime.ethtool import offload_off
from meshverdict.runtime.rtnetlink import LOOPBACK, RouteSocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from meshverdict.runtime.frames import Message

GATEWAY: Final = "169.254.1.1"
GATEWAY_MAC: Final = "ee:ee:ee:ee:ee:ee"
_ETH0: Final = 2
_FIRST_INDEX: Final = 100

# In each network namespace of its own: they are not inherited from the world.
_NODE_SETTINGS: Final = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
    # A load test opens thousands of connections: at the default of 120 s the table fills up.
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "5",
    "net/netfilter/nf_conntrack_tcp_timeout_close": "5",
}
_WIRE_SETTINGS: Final = {
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}
_POD_SETTINGS: Final = {
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv4/tcp_tw_reuse": "1",
    "net/core/somaxconn": "4096",
}


def pod_mac(address: str) -> str:
    """The hardware address of the pod with this IPv4 address."""
    return "0a:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


@dataclass(slots=True)
class _Node:
    network: int
    routes: RouteSocket
    indexes: itertools.count[int]


class NetworkBuilder:
    """Holds the namespaces of the nodes, and knows which link leads to which pod."""

    def __init__(self) -> None:
        self._world_routes: RouteSocket | None = None
        self._world_indexes = itertools.count(_FIRST_INDEX)
        self._nodes: dict[str, _Node] = {}
        self._pods: dict[str, tuple[str, int]] = {}

    def world(self, message: Message) -> None:
        """Set up the world's own network: ``{"address": "172.31.0.1"}`` is where the API answers pods."""
        self._world_routes = RouteSocket()
        self._world_routes.up(LOOPBACK)
        self._world_routes.address(LOOPBACK, message["address"], 32)
        _settings({**_NODE_SETTINGS, **_POD_SETTINGS})

    def node(self, message: Message) -> int:
        """Make a node's network; returns its descriptor.

        ``{"node", "link": "w-1", "world": "172.31.1.1", "address": "172.31.1.2", "pods": [[net, prefix]...],
        "services": [net, prefix] or null}``: with ``services`` the world reaches Services through this node.
        """
        routes = self._world()
        network = _new_network()
        try:
            index = next(self._world_indexes)
            routes.veth(
                message["link"],
                index,
                mac=None,
                peer_name="eth0",
                peer_index=_ETH0,
                peer_mac=None,
                peer_network=network,
            )
            routes.address(index, message["world"], 30)
            with linux.in_network(network):
                inside = RouteSocket()
                inside.up(LOOPBACK)
                inside.up(_ETH0)
                inside.address(_ETH0, message["address"], 30)
                inside.route("0.0.0.0", 0, via=message["world"])  # noqa: S104 - the default route
                _settings(_NODE_SETTINGS)
            for net, prefix in message["pods"]:
                routes.route(net, prefix, via=message["address"])
            if message["services"]:
                routes.route(message["services"][0], message["services"][1], via=message["address"])
        except OSError:
            os.close(network)
            raise
        self._nodes[message["node"]] = _Node(network, inside, itertools.count(_FIRST_INDEX))
        return network

    def link(self, message: Message) -> None:
        """Join two nodes directly: ``{"a", "b", "address_a", "address_b", "pods_a", "pods_b", "name_a", "name_b"}``."""
        a, b = self._nodes[message["a"]], self._nodes[message["b"]]
        index_a, index_b = next(a.indexes), next(b.indexes)
        a.routes.veth(
            message["name_a"],
            index_a,
            mac=None,
            peer_name=message["name_b"],
            peer_index=index_b,
            peer_mac=None,
            peer_network=b.network,
        )
        b.routes.up(index_b)
        a.routes.address(index_a, message["address_a"], 30)
        b.routes.address(index_b, message["address_b"], 30)
        for net, prefix in message["pods_b"]:
            a.routes.route(net, prefix, via=message["address_b"])
        for net, prefix in message["pods_a"]:
            b.routes.route(net, prefix, via=message["address_a"])

    def delayed_links(self, messages: Sequence[Message]) -> list[tuple[socket.socket, socket.socket]]:
        """Join nodes through the delay line: for each :meth:`link` message the packet sockets of its two ends.

        Each node's link ends in a network of its own, where nothing but the delay line listens.
        """
        wire = _new_network()
        sockets = []
        try:
            with linux.in_network(wire), RouteSocket() as inside:
                _settings(_WIRE_SETTINGS)
                indexes = itertools.count(_FIRST_INDEX)
                for message in messages:
                    ends = self._delayed_ends(message, wire, next(indexes), next(indexes))
                    for index, _ in ends:
                        inside.up(index)
                    a, b = (packet_socket(name) for _, name in ends)
                    sockets.append((a, b))
        finally:
            os.close(wire)  # the packet sockets keep it
        return sockets

    def _delayed_ends(self, message: Message, wire: int, index_a: int, index_b: int) -> list[tuple[int, str]]:
        ends = []
        for near, far, index in (("a", "b", index_a), ("b", "a", index_b)):
            node, own = self._nodes[message[near]], next(self._nodes[message[near]].indexes)
            name, address, beyond = (
                message[f"name_{near}"],
                message[f"address_{near}"],
                message[f"address_{far}"],
            )
            end = f"d-{index}"
            node.routes.veth(
                name,
                own,
                mac=pod_mac(address),
                peer_name=end,
                peer_index=index,
                peer_mac=None,
                peer_network=wire,
            )
            with linux.in_network(node.network):
                offload_off(name)
            node.routes.address(own, address, 30)
            node.routes.neighbour(own, beyond, pod_mac(beyond))
            for net, prefix in message[f"pods_{far}"]:
                node.routes.route(net, prefix, via=beyond)
            ends.append((index, end))
        return ends

    def pod(self, network: int, message: Message) -> None:
        """Connect a pod's new network to its node: ``{"pod", "node", "address", "link"}``."""
        node = self._nodes[message["node"]]
        index, address = next(node.indexes), message["address"]
        mac = pod_mac(address)
        node.routes.veth(
            message["link"],
            index,
            mac=GATEWAY_MAC,
            peer_name="eth0",
            peer_index=_ETH0,
            peer_mac=mac,
            peer_network=network,
        )
        try:
            node.routes.route(address, 32, index=index)
            node.routes.neighbour(index, address, mac)
            with linux.in_network(network):
                _settings(_POD_SETTINGS)
                with RouteSocket() as inside:
                    inside.up(LOOPBACK)
                    inside.up(_ETH0)
                    inside.address(_ETH0, address, 32)
                    inside.neighbour(_ETH0, GATEWAY, GATEWAY_MAC)
                    inside.route(GATEWAY, 32, index=_ETH0)
                    inside.route("0.0.0.0", 0, via=GATEWAY, index=_ETH0)  # noqa: S104 - the default route
        except OSError:
            with contextlib.suppress(OSError):
                node.routes.delete_link(index)
            raise
        self._pods[message["pod"]] = (message["node"], index)

    def remove_pod(self, pod: str) -> None:
        """Take a pod's link away at once (its namespace may live on for a moment); unknown pods are fine."""
        if pod in self._pods:
            node, index = self._pods.pop(pod)
            with contextlib.suppress(OSError):
                self._nodes[node].routes.delete_link(index)

    def _world(self) -> RouteSocket:
        if self._world_routes is None:
            raise OSError("the world's network has not been configured")
        return self._world_routes


def _new_network() -> int:
    home = linux.open_namespace("net")
    try:
        linux.unshare(linux.CLONE_NEWNET)
        try:
            return linux.open_namespace("net")
        finally:
            linux.setns(home, linux.CLONE_NEWNET)
    finally:
        os.close(home)


def _settings(values: dict[str, str]) -> None:
    """Write sysctls of the caller's network; some kernels lack some (no IPv6, no connection tracking yet)."""
    for name, value in values.items():
        with contextlib.suppress(FileNotFoundError):
            linux.write_text(f"/proc/sys/{name}", value)
