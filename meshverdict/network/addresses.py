"""Who gets which address: pods from their node's blocks, Services from the Service range.

A freed address is given out again as late as possible, because clients, conntrack and proxies may still
believe that the old owner is there.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from meshverdict.model.errors import MeshverdictError
from meshverdict.network.values import SERVICE_RANGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_NODES_PER_ROUND: Final = 16
_BLOCKS: Final = 256
_SERVICES: Final = ipaddress.IPv4Network(SERVICE_RANGE)
KUBERNETES_IP: Final = "10.96.0.1"
DNS_IP: Final = "10.96.0.10"


class AddressError(MeshverdictError):
    """No address is left, or the one asked for cannot be had."""


def _pod_addresses(node: int) -> Iterator[str]:
    """Every address of a node: 10.244.N.1 to .254, then those of the blocks N+16, N+32 and so on."""
    for block in range(node, _BLOCKS, _NODES_PER_ROUND):
        for host in range(1, 255):
            yield f"10.244.{block}.{host}"


def _service_addresses() -> Iterator[str]:
    # The first 256 are left to those who name their address, as Kubernetes leaves a lower band to them.
    for number in range(256, _SERVICES.num_addresses - 1):
        yield str(_SERVICES[number])


class _Pool:
    """Fresh addresses first; then the freed ones, the one free for longest first."""

    def __init__(self, fresh: Iterator[str], what: str) -> None:
        self._fresh = fresh
        self._freed: deque[str] = deque()
        self._used: set[str] = set()
        self._what = what

    def take(self) -> str:
        for address in self._fresh:
            if address not in self._used:
                self._used.add(address)
                return address
        while self._freed:
            address = self._freed.popleft()
            if address not in self._used:  # it may have been claimed by name meanwhile
                self._used.add(address)
                return address
        raise AddressError(f"{self._what}: all addresses are in use; delete some")

    def claim(self, address: str) -> bool:
        """Take this very address; False if it is in use."""
        if address in self._used:
            return False
        self._used.add(address)
        return True

    def free(self, address: str) -> None:
        if address in self._used:
            self._used.remove(address)
            self._freed.append(address)


class PodAddresses:
    """Addresses for the pods of the nodes 1 to 16.

    A node has 16 blocks of 254 addresses (node 16: 15 blocks), which it begins one after another.
    """

    def __init__(self) -> None:
        self._nodes: dict[int, _Pool] = {}

    def allocate(self, node: int) -> str:
        """An address for a pod on node number *node*.

        Raises:
            AddressError: The node has none left, or there is no such node.
        """
        return self._pool(node).take()

    def release(self, node: int, address: str) -> None:
        """Give an address back; one that is not in use changes nothing."""
        self._pool(node).free(address)

    def _pool(self, node: int) -> _Pool:
        if not 1 <= node <= _NODES_PER_ROUND:
            raise AddressError(f"node {node}: node numbers are 1 to {_NODES_PER_ROUND}")
        if node not in self._nodes:
            self._nodes[node] = _Pool(_pod_addresses(node), f"pods of node {node}")
        return self._nodes[node]


class ServiceAddresses:
    """ClusterIPs; 10.96.0.1 and 10.96.0.10 are given only to who names them.

    Args:
        in_use: Addresses already taken, of Services read from a stored state.
    """

    def __init__(self, in_use: Iterable[str] = ()) -> None:
        self._pool = _Pool(_service_addresses(), f"Services ({SERVICE_RANGE})")
        for address in in_use:
            self._pool.claim(address)

    def allocate(self) -> str:
        """Any free ClusterIP.

        Raises:
            AddressError: None is left.
        """
        return self._pool.take()

    def claim(self, address: str) -> None:
        """Take the ClusterIP that a Service names in ``spec.clusterIP``.

        Raises:
            AddressError: It is no IPv4 address of the Service range, or another Service has it. The texts are
                those of a real API server's validation.
        """
        try:
            parsed = ipaddress.IPv4Address(address)
        except ValueError as error:
            raise AddressError(
                f"spec.clusterIP: {address!r} must be empty, 'None', or a valid IPv4 address"
            ) from error
        if parsed not in _SERVICES or parsed in {_SERVICES[0], _SERVICES[-1]}:
            raise AddressError(
                f"spec.clusterIP: {address} is not in the valid range. "
                f"The range of valid IPs is {SERVICE_RANGE}"
            )
        if not self._pool.claim(str(parsed)):
            raise AddressError(
                f"spec.clusterIP: {address} is already allocated: choose another, or none to get a free one"
            )

    def release(self, address: str) -> None:
        """Give a ClusterIP back; one that is not in use changes nothing."""
        self._pool.free(address)


def pod_blocks(node: int, count: int = 1) -> list[str]:
    """The first *count* blocks of a node as CIDRs (``10.244.N.0/24`` first): what routes to it."""
    blocks = range(node, _BLOCKS, _NODES_PER_ROUND)
    return [f"10.244.{block}.0/24" for block in islice(blocks, count)]
