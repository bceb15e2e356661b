"""A latency histogram that can be added up exactly, because percentiles cannot be averaged.

Buckets grow by a fixed ratio, so the relative error is the same for 100 microseconds and for ten seconds:
a quantile is answered as the geometric middle of its bucket, at most ``sqrt(ratio) - 1`` (0.499 % for the
ratio 1.01, 0.25 % for 1.005) away from the sample of that rank. Merging adds counts and loses nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from meshverdict.model.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

RATIO = 1.01  # the coarsest that a record may have, and what a reader takes when none is named
FINE = 1.005  # what the load writes
_LARGEST = 50.0  # logarithm of microseconds: more than any clock counts


class Histogram:
    """Counts of latencies in log-sized buckets.

    Bucket ``i`` holds latencies in ``[ratio**i, ratio**(i + 1))`` microseconds; bucket 0 also takes what is
    below one microsecond.

    Args:
        ratio: Growth of the buckets, above 1 and at most 1.01 for what the project records.
        counts: Bucket number to count; the histogram owns a copy.
    """

    __slots__ = ("_per_log", "counts", "ratio")

    def __init__(self, ratio: float = RATIO, counts: Mapping[int, int] | None = None) -> None:
        if not (math.isfinite(ratio) and ratio > 1):
            raise RecordError(f"histogram ratio {ratio!r}: it must be a number above 1, such as {RATIO}")
        self.ratio = ratio
        self.counts: dict[int, int] = dict(counts or {})
        self._per_log = 1.0 / math.log(ratio)

    def bucket(self, microseconds: float) -> int:
        """Number of the bucket that holds a latency of *microseconds*."""
        return int(math.log(microseconds) * self._per_log) if microseconds > 1.0 else 0

    def add(self, microseconds: float, count: int = 1) -> None:
        """Count *count* latencies of *microseconds* each."""
        index = int(math.log(microseconds) * self._per_log) if microseconds > 1.0 else 0
        self.counts[index] = self.counts.get(index, 0) + count

    def update(self, values: Iterable[float]) -> None:
        """Count many latencies, in microseconds."""
        counts, per_log, log = self.counts, self._per_log, math.log
        for value in values:
            index = int(log(value) * per_log) if value > 1.0 else 0
            counts[index] = counts.get(index, 0) + 1

    def merge(self, other: Histogram) -> None:
        """Add another histogram's counts to this one.

        Raises:
            RecordError: The ratios differ, so that the buckets do not match.
        """
        if other.ratio != self.ratio:
            raise RecordError(
                f"histograms of ratio {self.ratio} and {other.ratio} cannot be merged: record both runs alike"
            )
        counts = self.counts
        for index, count in other.counts.items():
            counts[index] = counts.get(index, 0) + count

    @classmethod
    def merged(cls, parts: Iterable[Histogram], ratio: float | None = None) -> Histogram:
        """One histogram with the counts of all *parts*.

        Args:
            parts: Histograms of one ratio.
            ratio: That ratio; without it, the first part's, and `RATIO` when there is none.
        """
        whole = None if ratio is None else cls(ratio)
        for part in parts:
            if whole is None:
                whole = cls(part.ratio)
            whole.merge(part)
        return cls() if whole is None else whole

    @property
    def n(self) -> int:
        """How many latencies were counted."""
        return sum(self.counts.values())

    def value(self, index: int) -> float:
        """The latency, in microseconds, that stands for bucket *index*: its geometric middle."""
        return float(self.ratio ** (index + 0.5))

    def bounds(self, index: int) -> tuple[float, float]:
        """Lower and upper bound of bucket *index*, in microseconds."""
        return (0.0 if index <= 0 else self.ratio**index), self.ratio ** (index + 1)

    def quantile(self, q: float) -> float | None:
        """The latency, in microseconds, of the sample of rank ``ceil(q * n)``; None when there is no sample.

        Args:
            q: Share between 0 and 1; 0.99 is the 99th percentile.

        Raises:
            ValueError: q is not between 0 and 1.
        """
        return self.quantiles((q,))[0]

    def quantiles(self, shares: Iterable[float]) -> list[float | None]:
        """Several quantiles in one pass, in the order asked (microseconds; None when there is no sample)."""
        wanted = list(shares)
        if any(not 0 <= q <= 1 for q in wanted):
            raise ValueError(f"quantiles {wanted}: each must lie between 0 and 1")
        total = self.n
        if not total:
            return [None] * len(wanted)
        # 0.999 * 1000 is 999.0000000000001 in floating point; its rank is 999, not 1000.
        ranks = sorted((max(1, math.ceil(q * total - 1e-9 * total)), at) for at, q in enumerate(wanted))
        found: list[float | None] = [None] * len(wanted)
        seen, following = 0, 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            while following < len(ranks) and ranks[following][0] <= seen:
                found[ranks[following][1]] = self.value(index)
                following += 1
        return found

    def mean(self) -> float | None:
        """Mean latency in microseconds, from the buckets' middles; None when there is no sample."""
        total = self.n
        return sum(self.value(i) * c for i, c in self.counts.items()) / total if total else None

    def share_above(self, microseconds: float) -> float:
        """Share of latencies in buckets above that of *microseconds*; 0 when there is no sample."""
        limit, total = self.bucket(microseconds), self.n
        return sum(c for i, c in self.counts.items() if i > limit) / total if total else 0.0

    def as_json(self) -> dict[str, list[int]]:
        """``{"i": [bucket...], "c": [count...]}``, buckets ascending."""
        indexes = sorted(self.counts)
        return {"i": indexes, "c": [self.counts[i] for i in indexes]}

    @classmethod
    def from_json(cls, value: Any, ratio: float = RATIO) -> Histogram:
        """Read ``{"i": [...], "c": [...]}``.

        Raises:
            RecordError: Not of that shape, or a count is negative.
        """
        try:
            indexes, counts = value["i"], value["c"]
            right = len(indexes) == len(counts) and set(map(type, indexes)) | set(map(type, counts)) <= {int}
        except (TypeError, KeyError) as error:
            raise RecordError('histogram: expected {"i": [bucket...], "c": [count...]}') from error
        if (
            not right
            or min(counts, default=0) < 0
            or max(map(abs, indexes), default=0) > _LARGEST / math.log(ratio)
        ):
            raise RecordError(
                'histogram: "i" and "c" must be whole numbers, equally many, no bucket beyond all time, and no count negative'
            )
        histogram = cls(ratio)
        if len(set(indexes)) == len(indexes):
            histogram.counts = dict(zip(indexes, counts, strict=True))
        else:
            for index, count in zip(indexes, counts, strict=True):
                histogram.counts[index] = histogram.counts.get(index, 0) + count
        return histogram

    def __reduce__(self) -> tuple[type[Histogram], tuple[float, dict[int, int]]]:
        return Histogram, (self.ratio, self.counts)

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(sorted(self.counts.items()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        mine = {i: c for i, c in self.counts.items() if c}
        return self.ratio == other.ratio and mine == {i: c for i, c in other.counts.items() if c}

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Histogram(n={self.n}, buckets={len(self.counts)}, ratio={self.ratio})"
