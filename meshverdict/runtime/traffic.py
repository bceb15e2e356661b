"""Who sent how much to whom, within zones and across, once a second as the log of the pod ``traffic``.

The kernel counts (``network.nft_traffic``); here the counts become differences, and addresses pods and zones.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

from meshverdict.network.addresses import pod_blocks
from meshverdict.network.nft_traffic import LIST, read_traffic, render_traffic
from meshverdict.runtime.flows import PodNames
from meshverdict.runtime.nftables import Nftables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.cluster.store import Store
    from meshverdict.runtime.logs import LogFile
    from meshverdict.runtime.topology import Node

_EVERY_S: Final = 1.0
_BLOCKS: Final = 16
Counts = dict[tuple[str, str], tuple[int, int]]


class TrafficCounters:
    """The kernel's counters on all nodes.

    Args:
        networks: Network namespace of each node by name.
        prefix: Folder with unpacked Debian packages, or empty.

    Raises:
        NftError: The kernel refuses the table.
    """

    def __init__(self, nodes: Sequence[Node], networks: Mapping[str, int], prefix: str = "") -> None:
        self._nodes = [Nftables(networks[node.name], prefix, as_json=True) for node in nodes]
        for node, nft in zip(nodes, self._nodes, strict=True):
            nft.run(render_traffic(pod_blocks(node.number, _BLOCKS)))

    def read(self) -> Counts:
        """Packets and bytes since the start, by source and destination address."""
        found: Counts = {}
        for nft in self._nodes:
            found |= read_traffic(nft.run(LIST))
        return found


class TrafficLog:
    """Writes down, once a second, what was counted since the line before; begins when it is made, in a running loop."""

    def __init__(
        self, counters: TrafficCounters, store: Store, zones: Mapping[str, str], log: LogFile
    ) -> None:
        self._counters = counters
        self._names = PodNames(store)
        self._zones = zones
        self._log = log
        self._before = counters.read()
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._tell)

    async def close(self) -> None:
        """Count no more into the log."""
        self._timer.cancel()
        self._names.stop()

    def _tell(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_EVERY_S, self._tell)
        now = self._counters.read()
        line = traffic_line(time.time(), differences(self._before, now), self._names, self._zones)
        self._before = now
        self._log.write("stdout", json.dumps(line, separators=(",", ":")).encode(), time.time_ns())
        self._log.flush()


def differences(before: Counts, now: Counts) -> Counts:
    """What was counted between two readings; pairs that were silent are left out.

    A count that went down began anew: the kernel forgets a pair that is silent for long.
    """
    found = {}
    for pair, (packets, size) in now.items():
        old_packets, old_size = before.get(pair, (0, 0))
        if packets < old_packets:
            old_packets, old_size = 0, 0
        if packets > old_packets:
            found[pair] = (packets - old_packets, size - old_size)
    return found


def traffic_line(t: float, counts: Counts, names: PodNames, zones: Mapping[str, str]) -> dict[str, Any]:
    """One second as a line of telemetry (docs/formats.md).

    Args:
        t: Unix seconds, the end of the second.
        counts: Packets and bytes by source and destination address.
        names: Which pod has an address.
        zones: Zone of each node.
    """
    return {
        "t": round(t, 3),
        "traffic": [
            {
                "from": names.name(source),
                "to": names.name(destination),
                "from_zone": zones.get(names.node(source) or ""),
                "to_zone": zones.get(names.node(destination) or ""),
                "packets": packets,
                "bytes": size,
            }
            for (source, destination), (packets, size) in counts.items()
        ],
    }
