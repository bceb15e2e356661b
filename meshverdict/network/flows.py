"""What the kernel's log prefix of a flow says: verdict, direction and who decided.

Written by the ruleset, read by the flow log; kept in one place so that the two agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from meshverdict.network.values import Direction

Verdict = Literal["FORWARDED", "DROPPED"]
# The decider of a flow whose pod no policy selects.
OPEN: Final = "open"
_MARK: Final = "mv"
_VERDICTS: Final[dict[str, Verdict]] = {"F": "FORWARDED", "D": "DROPPED"}
_DIRECTIONS: Final[dict[str, Direction]] = {"in": "ingress", "out": "egress"}


@dataclass(frozen=True)
class FlowTag:
    """One log prefix; *decider* is a key of ``NodeRuleset.deciders``, or ``open``."""

    verdict: Verdict
    direction: Direction
    decider: str

    @property
    def prefix(self) -> str:
        """The text for nftables' ``log prefix``: letters, digits and blanks only."""
        direction = "in" if self.direction == "ingress" else "out"
        return f"{_MARK} {self.verdict[0]} {direction} {self.decider}"


def parse_prefix(text: str) -> FlowTag | None:
    """The tag of a log prefix; None if the prefix is somebody else's."""
    parts = text.rstrip("\0").split(" ")
    if len(parts) != 4 or parts[0] != _MARK or parts[1] not in _VERDICTS or parts[2] not in _DIRECTIONS:
        return None
    return FlowTag(_VERDICTS[parts[1]], _DIRECTIONS[parts[2]], parts[3])
