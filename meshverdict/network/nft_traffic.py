"""Count packets and bytes of every pair of pods in the kernel: what was sent where, not what was configured.

A table of its own, so that a new policy, which replaces the other table, does not lose the counts. Each packet is
counted once, on the node of the pod that sent it, after policies have let it through and Services are translated:
both ends are pods.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TABLE: Final = "meshverdict_traffic"
SET: Final = "pairs"
LIST: Final = f"list set ip {TABLE} {SET}"
# What is counted at once; with more pairs than that the oldest stay, and new ones are not counted.
_LARGEST: Final = 65_535
# A pair that was silent for so long is counted anew, so that pods that come and go do not fill the set.
_FORGOTTEN_AFTER: Final = "5m"


def render_traffic(blocks: Iterable[str]) -> str:
    """The table of a node, as one transaction.

    Args:
        blocks: The node's pod addresses, as CIDRs.
    """
    own = ", ".join(sorted(blocks))
    return (
        f"add table ip {TABLE}\n"
        f"delete table ip {TABLE}\n"
        f"table ip {TABLE} {{\n"
        f"  set {SET} {{ type ipv4_addr . ipv4_addr; size {_LARGEST}; flags dynamic,timeout; "
        f"timeout {_FORGOTTEN_AFTER}; counter; }}\n"
        "  chain count {\n"
        "    type filter hook forward priority filter + 10; policy accept;\n"
        f"    ip saddr {{ {own} }} update @{SET} {{ ip saddr . ip daddr }}\n"
        "  }\n"
        "}\n"
    )


def read_traffic(text: str) -> dict[tuple[str, str], tuple[int, int]]:
    """Packets and bytes since the table was made, by source and destination, from nft's JSON of the set."""
    answer: dict[str, Any] = json.loads(text)
    found = {}
    for item in answer.get("nftables", ()):
        for element in (item.get("set") or {}).get("elem") or ():
            inner = element["elem"]
            source, destination = inner["val"]["concat"]
            counter = inner["counter"]
            found[source, destination] = (int(counter["packets"]), int(counter["bytes"]))
    return found
