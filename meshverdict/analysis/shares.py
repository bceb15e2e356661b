"""Which version answered how many requests, and whether that is what weights promise.

Pure. A proxy that draws a version for each request makes counts that are binomial; a count outside the interval that
holds 99 of 100 such draws is not what was asked for. A locustfile tells the version by the endpoint's name:
``/count/version 2.0.0`` is an answer of version 2.0.0, ``/count/version`` alone a request that no version answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.analysis.load_table import LoadTable
    from meshverdict.analysis.windows import Window

LEVEL: Final = 0.99


@dataclass(frozen=True, slots=True)
class Share:
    """One version's share of the answers in a window.

    Attributes:
        version: Its name.
        n: How many it answered.
        of: How many were answered.
        wanted: The share that was asked for, 0 to 1.
        low: The fewest answers that this share explains.
        high: The most.
    """

    version: str
    n: int
    of: int
    wanted: float
    low: int
    high: int

    @property
    def within(self) -> bool:
        """Whether the count is inside the interval."""
        return self.low <= self.n <= self.high

    def __str__(self) -> str:
        if self.within and self.wanted in {0.0, 1.0}:
            return f"{self.version} answered {'all' if self.wanted else 'none of'} {self.of}"
        share = f"{self.n / self.of:.1%}" if self.of else "none"
        room = f"{self.low} to {self.high}" if self.low != self.high else f"{self.low}"
        return f"{self.version} answered {self.n} of {self.of} ({share}; {self.wanted:.0%} makes {room})"


def binomial_interval(n: int, p: float, level: float = LEVEL) -> tuple[int, int]:
    """The central interval of a binomial count: at most (1 - level) / 2 of the probability lies on either side.

    Source: the exact distribution, added up (C. J. Clopper, E. S. Pearson, 1934, read the other way round: here the
    share is known and the count is judged).

    >>> binomial_interval(1000, 0.1)
    (76, 125)
    >>> binomial_interval(50, 0.0), binomial_interval(50, 1.0)
    ((0, 0), (50, 50))
    """
    if p <= 0 or n == 0:
        return 0, 0
    if p >= 1:
        return n, n
    outside = (1 - level) / 2
    return _tail(n, p, outside), n - _tail(n, 1 - p, outside)


def _tail(n: int, p: float, outside: float) -> int:
    """The smallest k with P(X <= k) > outside."""
    log_p, log_q = math.log(p), math.log1p(-p)
    below = 0.0
    for k in range(n + 1):
        below += math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q
        )
        if below > outside:
            return k
    return n


def answers_by_version(table: LoadTable, name: str, windows: Sequence[Window]) -> dict[str, int]:
    """Answers to the endpoint *name* by version, over the windows together; late and refused ones are not answers."""
    found = {}
    for endpoint in table.names:
        base, _, version = endpoint.rpartition(" ")
        if base != name:
            continue
        rows = [
            table.rows(start=w.start, end=w.end, names=(endpoint,), outcomes=("ok", "late")) for w in windows
        ]
        if n := sum(int(table.n[mask].sum()) for mask in rows):
            found[version] = n
    return found


def judge_shares(
    found: Mapping[str, int], wanted: Mapping[str, float], level: float = LEVEL
) -> tuple[Share, ...]:
    """Each version that was wanted or that answered, beside what its share explains.

    Args:
        found: Answers by version.
        wanted: Share by version, 0 to 1; a version that is not named must not answer at all, unless the named shares
            leave room for exactly one other.
        level: Of the interval.
    """
    of = sum(found.values())
    rest = 1 - sum(wanted.values())
    others = [version for version in found if version not in wanted]
    shares = dict(wanted) | {version: rest if len(others) == 1 else 0.0 for version in others}
    return tuple(
        Share(version, found.get(version, 0), of, share, *binomial_interval(of, share, level))
        for version, share in sorted(shares.items())
    )
