"""What Hubble prints, turned into the flow log's one line a connection. Pure.

Hubble tells of packets, and of each at several points of its way; the flow log tells of connections. So of what was
forwarded, the first packet of a connection counts, where it is handed to its destination; of what was dropped, each
packet does. The fields are those of Hubble's Flow message, as `hubble observe -o jsonpb` prints it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meshverdict.analysis.flows import DROPPED, FORWARDED
from meshverdict.analysis.loose import mapping

_DELIVERED: Final = "TO_ENDPOINT"
# Where a packet leaves the node for somebody who is no pod.
_LEAVING: Final = ("TO_STACK", "TO_NETWORK")
_PACKETS: Final = "L3_L4"


def counts(line: Mapping[str, Any]) -> bool:
    """Whether a line of Hubble stands for a connection that began, or a packet that was dropped."""
    flow = mapping(line.get("flow", line))
    if flow.get("verdict") == DROPPED:
        return True
    if flow.get("verdict") != FORWARDED or flow.get("Type", _PACKETS) != _PACKETS:
        return False
    if flow.get("is_reply") or flow.get("reply"):
        return False
    tcp = mapping(flow.get("l4")).get("TCP")
    flags = mapping(mapping(tcp).get("flags"))
    if tcp is not None and (not flags.get("SYN") or flags.get("ACK")):
        return False
    return _at_the_end(flow)


def _at_the_end(flow: Mapping[str, Any]) -> bool:
    """Whether this is the last of the points at which a packet is seen."""
    point = flow.get("trace_observation_point")
    if mapping(flow.get("destination")).get("pod_name"):
        return point in {None, _DELIVERED}
    return point is None or point in _LEAVING


def lost_events(line: Mapping[str, Any]) -> int:
    """How many events Hubble says that it lost before this line; 0 for any other line."""
    told = str(mapping(line.get("lost_events")).get("num_events_lost", ""))
    return int(told) if told.isdigit() else 0


def command(namespaces: Iterable[str], since: str | None = None) -> list[str]:
    """What is run in a Cilium agent: its node's flows from or to some namespaces, from now on.

    Args:
        namespaces: Of the lab; one filter each, any of which may match.
        since: Also what was seen since this time (RFC 3339), after a connection was lost.
    """
    chosen = [word for name in namespaces for word in ("--namespace", name)]
    again = ["--since", since] if since else []
    return ["hubble", "observe", "--follow", "--output", "jsonpb", *again, *chosen]
