"""Whether the line between the zones did what it promised, by what it told once a second.

Pure. A line that was late, lost packets or fell silent measured itself: the run is invalid, not slow.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.loose import mapping
from meshverdict.model.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# One crossing: two of them are the 15 % or 0.3 ms (the larger) that a round trip may be too long.
LATE_LIMIT_MS: Final = 0.15
LATE_LIMIT_SHARE: Final = 0.15
MAX_SILENCE_S: Final = 5.0


def delay_line_reasons(
    lines: Iterable[Mapping[str, Any]], delay_ms: float, start: float, end: float
) -> tuple[str, ...]:
    """Why the zones were not as far apart as they should be between two moments, in words; empty when they were.

    Args:
        lines: Lines of telemetry; those of other kinds are left out.
        delay_ms: One-way delay that the lab was asked for, milliseconds.
        start: Unix seconds.
        end: Unix seconds.
    """
    seconds = {
        float(line["t"]): mapping(line["delay_line"])
        for line in lines
        if mapping(line.get("delay_line")) and start <= line["t"] <= end
    }
    told = list(seconds.values())
    reasons = _silence(sorted(seconds), start, end)
    late = Histogram.merged(Histogram.from_json(second["late"]) for second in told).quantile(0.99)
    limit = max(LATE_LIMIT_MS, LATE_LIMIT_SHARE * delay_ms)
    if late is not None and late / 1e3 > limit:
        reasons.append(
            f"zones: the delay line was late: p99 {late / 1e3:.2f} ms over the delay of {delay_ms:g} ms"
            f" (limit {limit:.2f} ms)"
        )
    dropped = sum(second["dropped"] for second in told)
    if dropped:
        reasons.append(f"zones: the delay line lost {dropped} packets for want of room")
    return tuple(reasons)


def _silence(times: list[float], start: float, end: float) -> list[str]:
    moments = [start, *times, end]
    longest = max(b - a for a, b in pairwise(moments))
    if longest <= MAX_SILENCE_S:
        return []
    return [f"zones: the delay line told nothing for {longest:.0f} s, so it cannot prove that it was on time"]
