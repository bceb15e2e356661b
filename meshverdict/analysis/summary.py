"""A load record turned into the numbers of a report: per window and endpoint, and second by second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from meshverdict.analysis.load_table import OK, LoadTable, Mask, quantile_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshverdict.analysis.windows import Window

QUANTILES = (0.5, 0.9, 0.99, 0.999)
MAX_POINTS = 900
NINES_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Cell:
    """What one group of endpoints did in one window.

    Attributes:
        endpoint: Endpoint or group.
        window: Name of the window.
        seconds: Length of the window.
        requests: All requests.
        ok: Those answered as expected, within the deadline.
        outcomes: Requests by outcome, most frequent first.
        p50_ms: Quantiles of the latency of the ok requests; None where there were none.
        p90_ms: See p50_ms.
        p99_ms: See p50_ms.
        p999_ms: See p50_ms.
    """

    endpoint: str
    window: str
    seconds: float
    requests: int
    ok: int
    outcomes: tuple[tuple[str, int], ...]
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    p999_ms: float | None

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def goodput(self) -> float:
        """Ok requests per second."""
        return self.ok / self.seconds if self.seconds else 0.0

    @property
    def error_share(self) -> float | None:
        """Requests that were not ok, over all; None without requests."""
        return 1 - self.ok / self.requests if self.requests else None


@dataclass(frozen=True, slots=True)
class Series:
    """One group of endpoints over time; all tuples have one length.

    Attributes:
        endpoint: Endpoint or group.
        bin_s: Seconds in one point.
        t: Unix second at which each point begins.
        ok: Ok requests per second.
        errors: Other requests per second.
        p50_ms: Latency of the ok requests; None where there were none.
        p99_ms: See p50_ms.
    """

    endpoint: str
    bin_s: int
    t: tuple[int, ...]
    ok: tuple[float, ...]
    errors: tuple[float, ...]
    p50_ms: tuple[float | None, ...]
    p99_ms: tuple[float | None, ...]


def summarise(table: LoadTable, endpoint: str, names: Sequence[str], window: Window) -> Cell:
    """What the endpoints *names*, called *endpoint* together, did in the window."""
    rows = table.rows(start=window.start, end=window.end, names=names)
    ok = rows & table.rows(outcomes=(OK,))
    p50, p90, p99, p999 = table.quantiles_ms(ok, QUANTILES)
    return Cell(
        endpoint=endpoint,
        window=window.name,
        seconds=window.seconds,
        requests=int(table.n[rows].sum()),
        ok=int(table.n[ok].sum()),
        outcomes=outcome_counts(table, rows),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        p999_ms=p999,
    )


def outcome_counts(table: LoadTable, rows: Mask) -> tuple[tuple[str, int], ...]:
    """Requests by outcome (with the status where there was one), most frequent first."""
    counts: dict[str, int] = {}
    for outcome, status, n in zip(table.outcome[rows], table.status[rows], table.n[rows], strict=True):
        word = table.outcomes[int(outcome)]
        key = f"{word} {status}" if status and word != OK else word
        counts[key] = counts.get(key, 0) + int(n)
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def series(table: LoadTable, endpoint: str, names: Sequence[str], *, max_points: int = MAX_POINTS) -> Series:
    """Rate, errors and latency over time; seconds are merged until at most *max_points* are left."""
    rows = table.rows(names=names)
    if not rows.any():
        return Series(endpoint, 1, (), (), (), (), ())
    first, last = int(table.t.min()), int(table.t.max())
    bin_s = -(-(last - first + 1) // max_points)
    bins = (last - first) // bin_s + 1
    ok = rows & table.rows(outcomes=(OK,))
    where = (table.t - first) // bin_s

    def per_second(mask: Mask) -> tuple[float, ...]:
        totals = np.bincount(where[mask], weights=table.n[mask], minlength=bins)
        return tuple(float(v) / bin_s for v in totals)

    p50, p99 = _quantiles_by_bin(table, ok, where, bins)
    return Series(
        endpoint,
        bin_s,
        tuple(first + i * bin_s for i in range(bins)),
        per_second(ok),
        per_second(rows & ~ok),
        p50,
        p99,
    )


def _quantiles_by_bin(
    table: LoadTable, ok: Mask, where: np.ndarray, bins: int
) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    chosen = ok[table.cell_row]
    if not chosen.any():
        return (None,) * bins, (None,) * bins
    cell_bin = where[table.cell_row[chosen]]
    buckets = int(table.cell_bucket[chosen].max()) + 1
    grid = np.zeros((bins, buckets), dtype=np.int64)
    np.add.at(grid, (cell_bin, table.cell_bucket[chosen]), table.cell_count[chosen])
    return tuple(tuple(quantile_ms(grid[b], q, table.ratio) for b in range(bins)) for q in (0.5, 0.99))  # type: ignore[return-value]


def tail(table: LoadTable, rows: Mask) -> tuple[tuple[float, float], ...]:
    """The latency distribution for a chart whose x axis counts nines: 0 the fastest, 1 the p90, 2 the p99.

    Returns:
        Pairs (nines, latency in ms) in steps of NINES_STEP, as far as there are requests: n requests reach
        log10(n) nines.
    """
    histogram = table.histogram(rows)
    total = int(histogram.sum())
    if total == 0:
        return ()
    nines = np.arange(0.0, np.log10(total) + 1e-9, NINES_STEP)
    values = (quantile_ms(histogram, float(1 - 10.0**-x), table.ratio) for x in nines)
    return tuple((float(x), v) for x, v in zip(nines, values, strict=True) if v is not None)
