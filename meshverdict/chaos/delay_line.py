"""What the line between the zones tells of itself, and the judgement of a run by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshverdict.analysis.delay_line import delay_line_reasons
from meshverdict.chaos.system_log import SystemLog

if TYPE_CHECKING:
    from pathlib import Path

    from meshverdict.chaos.cluster import KubeAccess

POD: Final = "delay-line"
CONTAINER: Final = "delay"


class DelayLog(SystemLog):
    """A delay line's log of one run.

    Args:
        access: The cluster.
        path: The file that the lines are added to.
        delay_ms: One-way delay that the lab was asked for, milliseconds; of two different ones the smaller.
    """

    def __init__(self, access: KubeAccess, path: Path, delay_ms: float) -> None:
        super().__init__(access, POD, CONTAINER, "delay_line", path)
        self._delay_ms = delay_ms

    def reasons(self, start: float, end: float) -> tuple[str, ...]:
        """Why the zones were not as far apart as they should be between two moments, in words."""
        return delay_line_reasons(self.lines, self._delay_ms, start, end)
