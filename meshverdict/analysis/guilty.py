"""Which tier is at fault: named from what the mesh saw on each edge, and from what can be seen without one.

Pure. A tier's own time is what its callers wait for it less what it waits for others itself; the tier whose own time
grew most is the guilty one. Means are used, because they add up along a path and quantiles do not. A TCP edge shows no
waiting; in its place stands what others wait for the same workload, and without that it is taken for nothing.

Without the mesh there is the client's view: the guilty tier lies on every path that became slow and on none that did
not. That leaves several as a rule. An application that tells its busy threads narrows them down: threads are busy
for longer when it, or whom it waits for, is slow, and not when somebody before it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshverdict.analysis.edges import EdgeTotal

# What a mean latency has to grow by before anybody is suspected: above the noise of some dozens of requests.
LEAST_MS: Final = 3.0
# Busy threads count as more when their mean has doubled, and has grown by a tenth of a thread.
BUSIER: Final = 2.0
LEAST_BUSY: Final = 0.1


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much longer callers wait on one edge than before.

    Attributes:
        source: Who waits, ``namespace/workload``.
        destination: For whom.
        requests: How many requests.
        extra_ms: Growth of the mean latency; None where the protocol shows none.
    """

    source: str
    destination: str
    requests: int
    extra_ms: float | None


@dataclass(frozen=True, slots=True)
class Path:
    """One kind of request as its users see it.

    Attributes:
        tiers: Whom it passes through, in order.
        extra_ms: Growth of the mean latency.
    """

    tiers: tuple[str, ...]
    extra_ms: float


def waiting(before: Iterable[EdgeTotal], during: Iterable[EdgeTotal]) -> tuple[Waiting, ...]:
    """Each edge of *during*, compared with the same edge *before*; an edge that is new has no growth."""
    usual = {(e.source, e.destination, e.port, e.protocol): e.latency.mean() for e in before}
    found = []
    for edge in during:
        then = usual.get((edge.source, edge.destination, edge.port, edge.protocol))
        now = edge.latency.mean()
        extra = None if now is None or then is None else (now - then) / 1000
        found.append(Waiting(edge.source, edge.destination, edge.requests, extra))
    return tuple(found)


def own_extra_ms(edges: Sequence[Waiting]) -> dict[str, float]:
    """By tier, by how much its own time for a request grew: what was waited for it, less what it waited for."""
    waited = {
        tier: _mean(e for e in edges if e.destination == tier) for tier in {e.destination for e in edges}
    }
    own = {}
    for tier, extra in waited.items():
        if extra is None:
            continue
        served = sum(e.requests for e in edges if e.destination == tier and e.extra_ms is not None)
        spent = 0.0
        for edge in (e for e in edges if e.source == tier):
            if edge.extra_ms is not None:
                spent += edge.extra_ms * edge.requests / served if served else 0.0
            else:
                # Connections are kept, so how often it was asked is not known: once for each request.
                spent += waited.get(edge.destination) or 0.0
        own[tier] = extra - spent
    return own


def _mean(edges: Iterable[Waiting]) -> float | None:
    told = [(e.requests, e.extra_ms) for e in edges if e.extra_ms is not None and e.requests]
    total = sum(n for n, _ in told)
    return sum(n * extra for n, extra in told) / total if total else None


def guilty_tier(edges: Sequence[Waiting], *, least_ms: float = LEAST_MS) -> str | None:
    """The tier whose own time grew most, by what the mesh saw; None when none grew by *least_ms*."""
    own = own_extra_ms(edges)
    if not own:
        return None
    worst = max(sorted(own), key=lambda tier: own[tier])
    return worst if own[worst] >= least_ms else None


def suspects(paths: Iterable[Path], *, least_ms: float = LEAST_MS) -> tuple[str, ...]:
    """The tiers that the client's view leaves: on all slow paths and on no other, in the order of the paths.

    When every tier of the slow paths is on a path that is not slow too, those of the slow paths are left.
    """
    paths = tuple(paths)
    slow = [path for path in paths if path.extra_ms >= least_ms]
    if not slow:
        return ()
    common = [tier for tier in slow[0].tiers if all(tier in path.tiers for path in slow)]
    cleared = {tier for path in paths if path.extra_ms < least_ms for tier in path.tiers}
    return tuple(tier for tier in common if tier not in cleared) or tuple(common)


def narrowed(
    left: Sequence[str],
    paths: Iterable[Path],
    busy: Mapping[str, tuple[float, float]],
    *,
    busier: float = BUSIER,
    least: float = LEAST_BUSY,
) -> tuple[str, ...]:
    """The suspects that remain when applications tell how many of their threads are busy.

    Args:
        left: From `suspects`.
        paths: The paths, in whose order a tier waits for those after it.
        busy: By tier, its mean of busy threads before and now.
        busier: Growth that counts, as a ratio.
        least: Growth that counts, in threads.
    """
    remaining = list(left)
    for tier, (then, now) in busy.items():
        longer = now > busier * then and now - then > least
        behind = {
            other for path in paths if tier in path.tiers for other in path.tiers[path.tiers.index(tier) :]
        }
        kept = [one for one in remaining if (one in behind) == longer]
        remaining = kept or remaining
    return tuple(remaining)
