"""What the latencies really were: computed from when requests were due and when the server stalled. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

SHARES = (0.5, 0.95, 0.99, 0.999)
TAIL = SHARES[1:]


def stalled(due: float, stall: float, period: float) -> float:
    """Seconds until the server works again, for a request due at *due* on the server's clock."""
    return max(0.0, stall - due % period)


def quantiles(latencies: Sequence[float]) -> dict[float, float]:
    """Exact quantiles (rank ``ceil(q n)``) of what `SHARES` names."""
    ordered = sorted(latencies)
    return {q: ordered[max(1, math.ceil(q * len(ordered) - 1e-6)) - 1] for q in SHARES}


def true_quantiles(due: Sequence[float], stall: float, period: float, base: float) -> dict[float, float]:
    """Quantiles in seconds: the rest of the stall, if any, and the *base* that every request takes."""
    return quantiles([stalled(when, stall, period) + base for when in due])


def even(rate: float, duration: float) -> list[float]:
    """The due times that a generator without a record of its own was asked for."""
    return [n / rate for n in range(int(rate * duration))]


def errors(reported: dict[float, float | None], truth: dict[float, float]) -> tuple[float, float]:
    """Error of the median in milliseconds, and the worst relative error over `TAIL`."""
    missing = float("nan")
    median = abs((reported.get(0.5) or missing) - truth[0.5]) * 1e3
    tail = [abs(value - truth[q]) / truth[q] for q in TAIL if (value := reported.get(q)) is not None]
    return median, max(tail, default=missing)
