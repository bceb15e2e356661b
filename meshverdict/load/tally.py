"""Count one worker's requests by second, endpoint, outcome and status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.model.histogram import RATIO, Histogram
from meshverdict.model.record import Second

if TYPE_CHECKING:
    from meshverdict.model.record import Outcome

Key = tuple[str, "Outcome", int]


class Tally:
    """Requests that ended in the current second.

    Args:
        w: Worker number for the lines.
        ratio: Growth of the histograms' buckets.
    """

    def __init__(self, w: int, ratio: float = RATIO) -> None:
        self._w = w
        self._ratio = ratio
        self._parts: dict[Key, Histogram] = {}

    def add(self, name: str, outcome: Outcome, status: int, microseconds: float) -> None:
        """Count one request."""
        key = (name, outcome, status)
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = Histogram(self._ratio)
        part.add(microseconds)

    def take(self, t: int) -> list[Second]:
        """The lines for second *t*; counting starts anew."""
        parts, self._parts = self._parts, {}
        return [
            Second(t, self._w, name, outcome, status, part.n, part)
            for (name, outcome, status), part in parts.items()
        ]
