"""The load record as columns, because a report asks it the same question for many windows.

One row is one line of the record: a second, an endpoint, an outcome. The latency histograms of all rows
lie in three flat arrays, so that any selection of rows is merged by one ``bincount``: ten million requests
are some thousand rows. Percentiles always come from merged histograms, never from averaged percentiles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from meshverdict.model.errors import RecordError
from meshverdict.model.histogram import RATIO
from meshverdict.model.record import GOOD, Second

if TYPE_CHECKING:
    from collections.abc import Iterable

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

OK = GOOD
MICROSECONDS_PER_MS = 1000.0
# Three hours: no latency of a run is longer, and a bucket beyond it is a damaged line.
LONGEST_US = 1e10


@dataclass(frozen=True, slots=True, eq=False)
class LoadTable:
    """Columns of one load record.

    Attributes:
        ratio: Growth of the histogram buckets: bucket i holds [ratio^i, ratio^(i+1)) microseconds.
        names: Endpoint names; ``name`` holds indices into them.
        outcomes: Outcome words; ``outcome`` holds indices into them.
        t: Shape (rows,): the unix second that the row covers, [t, t + 1).
        name: Shape (rows,).
        outcome: Shape (rows,).
        status: Shape (rows,): HTTP status, 0 where there was none.
        n: Shape (rows,): requests.
        cell_row: Shape (cells,): the row of each histogram cell.
        cell_bucket: Shape (cells,).
        cell_count: Shape (cells,).
    """

    ratio: float
    names: tuple[str, ...]
    outcomes: tuple[str, ...]
    t: Ints
    name: Ints
    outcome: Ints
    status: Ints
    n: Ints
    cell_row: Ints
    cell_bucket: Ints
    cell_count: Ints

    @property
    def total(self) -> int:
        """All requests of the record."""
        return int(self.n.sum())

    def rows(
        self,
        *,
        start: float = -np.inf,
        end: float = np.inf,
        names: Iterable[str] | None = None,
        outcomes: Iterable[str] | None = None,
    ) -> Mask:
        """Which rows lie wholly inside [start, end) and have one of the names and outcomes.

        Args:
            start: Unix seconds; a row counts when its second begins at or after it.
            end: Unix seconds; a row counts when its second is over by then.
            names: Endpoints, None for all.
            outcomes: Outcome words, None for all.
        """
        mask = (self.t >= start) & (self.t + 1 <= end)
        if names is not None:
            mask &= np.isin(self.name, _positions(self.names, names))
        if outcomes is not None:
            mask &= np.isin(self.outcome, _positions(self.outcomes, outcomes))
        return mask

    def histogram(self, mask: Mask) -> Ints:
        """The merged latency histogram of the selected rows: counts by bucket, shape (buckets,)."""
        chosen = mask[self.cell_row]
        if not chosen.any():
            return np.zeros(0, dtype=np.int64)
        merged = np.bincount(self.cell_bucket[chosen], weights=self.cell_count[chosen])
        return merged.astype(np.int64)

    def quantiles_ms(self, mask: Mask, qs: Iterable[float]) -> tuple[float | None, ...]:
        """Latency quantiles of the selected rows in milliseconds; None where nothing was recorded."""
        return tuple(quantile_ms(self.histogram(mask), q, self.ratio) for q in qs)

    def mean_ms(self, mask: Mask, trim: float = 0.0) -> float | None:
        """Mean latency of the selected rows in milliseconds; None where nothing was recorded.

        Args:
            mask: The rows.
            trim: Share of the slowest that is left out, so that one pause of the machine does not decide.
        """
        return mean_ms(self.histogram(mask), self.ratio, trim)


def mean_ms(histogram: Ints, ratio: float, trim: float = 0.0) -> float | None:
    """The mean of a merged histogram without its slowest share *trim*, in milliseconds; each bucket by its middle.

    Returns:
        None for an empty histogram.
    """
    total = int(histogram.sum())
    if total == 0:
        return None
    kept = max(1, total - int(trim * total))
    upto = np.minimum(np.cumsum(histogram), kept)
    counts = np.diff(upto, prepend=0)
    middles = ratio ** (np.arange(len(histogram)) + 0.5)
    return float((counts * middles).sum() / kept) / MICROSECONDS_PER_MS


def quantile_ms(histogram: Ints, q: float, ratio: float) -> float | None:
    """The q-quantile of a merged histogram, in milliseconds.

    The value is the middle (on the log scale) of the bucket that holds the ceil(q n)-th smallest latency,
    so its error is at most half a bucket: 0.5 % at ratio 1.01.

    Returns:
        None for an empty histogram.
    """
    total = int(histogram.sum())
    if total == 0:
        return None
    rank = max(1, int(np.ceil(q * total - 1e-9 * total)))  # as Histogram.quantile rounds
    bucket = int(np.searchsorted(np.cumsum(histogram), rank))
    return float(ratio ** (bucket + 0.5)) / MICROSECONDS_PER_MS


def load_table(seconds: Iterable[Second], *, ratio: float = RATIO) -> LoadTable:
    """The table of a record's lines.

    Args:
        seconds: Lines of one record, of any number of workers.
        ratio: From the record's header.

    Raises:
        RecordError: A number does not fit into 64 bits.
    """
    names: dict[str, int] = {}
    outcomes: dict[str, int] = {}
    columns: list[tuple[int, int, int, int, int, int]] = []
    buckets: list[int] = []
    counts: list[int] = []
    for line in seconds:
        name = names.setdefault(line.name, len(names))
        outcome = outcomes.setdefault(line.outcome, len(outcomes))
        columns.append((line.t, name, outcome, line.status, line.n, len(line.latency.counts)))
        buckets.extend(line.latency.counts)
        counts.extend(line.latency.counts.values())
    try:
        t, name_at, outcome_at, status, n, sizes = np.asarray(columns, dtype=np.int64).reshape(-1, 6).T
        cells = np.asarray([buckets, counts], dtype=np.int64)
    except OverflowError as error:
        raise RecordError("load record: a number is too large to be one of a record") from error
    slowest = math.ceil(math.log(LONGEST_US) / math.log(ratio))
    return LoadTable(
        ratio=ratio,
        names=tuple(names),
        outcomes=tuple(outcomes),
        t=t,
        name=name_at,
        outcome=outcome_at,
        status=status,
        n=n,
        cell_row=np.repeat(np.arange(len(sizes), dtype=np.int64), sizes),
        cell_bucket=np.clip(cells[0], 0, slowest),
        cell_count=cells[1],
    )


def _positions(known: tuple[str, ...], wanted: Iterable[str]) -> list[int]:
    wanted = set(wanted)
    return [i for i, value in enumerate(known) if value in wanted]
