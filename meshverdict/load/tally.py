"""Count one worker's requests by second, endpoint, outcome and status."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from meshverdict.model.histogram import FINE, Histogram
from meshverdict.model.record import GOOD, Second

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshverdict.model.record import Outcome

_MOST_PROBLEMS = 20


class Part:
    """Requests with the same method, name, outcome and status.

    Attributes:
        total_us: Sum of their latencies, which buckets alone would blur.
        bytes: Sum of their bodies' sizes.
        problems: How often which problem was met, in words; only the first few kinds.
    """

    __slots__ = (
        "bytes",
        "latency",
        "least_us",
        "method",
        "most_us",
        "name",
        "outcome",
        "problems",
        "status",
        "total_us",
    )  # fmt: skip

    def __init__(self, method: str, name: str, outcome: Outcome, status: int, ratio: float = FINE) -> None:
        self.method = method
        self.name = name
        self.outcome = outcome
        self.status = status
        self.latency = Histogram(ratio)
        self.total_us = 0.0
        self.least_us = float("inf")
        self.most_us = 0.0
        self.bytes = 0
        self.problems: Counter[str] = Counter()

    def add(self, microseconds: float, size: int, problem: str) -> None:
        """Count one request."""
        self.latency.add(microseconds)
        self.total_us += microseconds
        if microseconds < self.least_us:  # noqa: PLR1730  # min() would take longer
            self.least_us = microseconds
        if microseconds > self.most_us:  # noqa: PLR1730  # the same
            self.most_us = microseconds
        self.bytes += size
        if self.outcome != GOOD:
            if problem not in self.problems and len(self.problems) >= _MOST_PROBLEMS:
                problem = "other"
            self.problems[problem] += 1


class Tally:
    """Requests that ended in the current second."""

    def __init__(self, ratio: float = FINE) -> None:
        self._ratio = ratio
        self._parts: dict[tuple[str, str, Outcome, int], Part] = {}

    def add(  # noqa: PLR0917  # called for every request: names cost time
        self,
        name: str,
        outcome: Outcome,
        status: int,
        microseconds: float,
        method: str = "GET",
        size: int = 0,
        problem: str = "",
    ) -> None:
        """Count one request."""
        key = (name, method, outcome, status)
        part = self._parts.get(key)
        if part is None:
            part = self._parts[key] = Part(method, name, outcome, status, self._ratio)
        part.add(microseconds, size, problem)

    def take(self) -> list[Part]:
        """What was counted; counting starts anew."""
        parts, self._parts = self._parts, {}
        return list(parts.values())


def seconds(parts: Iterable[Part], t: int, w: int) -> list[Second]:
    """The record's lines for second *t* of worker *w*: one by name, outcome and status."""
    merged: dict[tuple[str, Outcome, int], Histogram] = {}
    for part in parts:
        key = (part.name, part.outcome, part.status)
        if key in merged:
            merged[key] = Histogram.merged((merged[key], part.latency), part.latency.ratio)
        else:
            merged[key] = part.latency
    return [
        Second(t, w, name, outcome, status, latency.n, latency)
        for (name, outcome, status), latency in merged.items()
    ]
