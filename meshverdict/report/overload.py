"""What a run shows of an overload, as one value: offered load and goodput, collapse, retries by tier, the knee. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from meshverdict.analysis.loose import mapping, mappings, number
from meshverdict.analysis.overload import LIMITED, Story, flow_of, story, tiers
from meshverdict.analysis.snowball import Flow, collapses
from meshverdict.analysis.windows import phases_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.model.record_reader import LoadRecord
    from meshverdict.report.contents import RunContents

# Poisson arrivals are too uneven second by second for a ratio of them.
SMOOTH_S: Final = 5
GRID: Final = 41


@dataclass(frozen=True, slots=True)
class Ramp:
    """Goodput at each offered load, while the load rose and while it fell again; requests a second.

    Attributes:
        offered: Ascending.
        up: None beyond what was offered on the way up.
        down: All None without a way down.
        capacity: Where goodput stopped following; None where it did not.
    """

    offered: tuple[float, ...]
    up: tuple[float | None, ...]
    down: tuple[float | None, ...]
    capacity: float | None


@dataclass(frozen=True, slots=True)
class Step:
    """One value of a swept rate limit; requests a second."""

    limit: float
    goodput: float
    limited: float
    queue: float
    sustained: bool


@dataclass(frozen=True, slots=True)
class Overload:
    """What there is to be seen; empty parts were not measured.

    Attributes:
        start: Unix second of the first value.
        offered: Arrivals by the second.
        good: Goodput by the second.
        limited: Answers of 429 by the second.
        down: Stretches of collapse, unix seconds.
        tiers: Name, unix seconds and requests for each user's one.
        story: What a trigger did; None without one.
        limit: The rate limit that was set, requests a second.
        ramp: Of the search for the capacity.
        steps: Of a sweep, in order of the limit.
        value: The limit that the sweep found.
    """

    start: int = 0
    offered: tuple[float, ...] = ()
    good: tuple[float, ...] = ()
    limited: tuple[float, ...] = ()
    down: tuple[tuple[int, int], ...] = ()
    tiers: tuple[tuple[str, tuple[float, ...], tuple[float | None, ...]], ...] = ()
    story: Story | None = None
    limit: float | None = None
    ramp: Ramp | None = None
    steps: tuple[Step, ...] = ()
    value: float | None = None


def overload_in(contents: RunContents) -> Overload | None:
    """What a run shows; None for one that neither looked for a capacity, nor triggered or limited anything."""
    measures = contents.section("measures")
    phases = phases_of(contents.run or {})
    flow = flow_of(contents.load) if contents.load is not None else None
    if contents.load is None or flow is None:
        return None
    told = story(flow, phases)
    limited = _limited(contents.load, flow)
    if told is None and not any(limited) and not {"capacity", "sweep"} & set(measures):
        return None
    sweep = mapping(measures.get("sweep"))
    return Overload(
        start=flow.start,
        offered=tuple(float(v) for v in flow.offered),
        good=tuple(float(v) for v in flow.good),
        limited=limited,
        down=collapses(flow.between(flow.start, flow.end - 1)),
        tiers=_amplification(contents, flow),
        story=told,
        limit=number(measures.get("limit_per_s")) if not sweep else None,
        ramp=_ramp(contents.search, number(mapping(measures.get("capacity")).get("per_s"))),
        steps=steps(sweep),
        value=number(sweep.get("value")),
    )


def _limited(load: LoadRecord, flow: Flow) -> tuple[float, ...]:
    counts = [0.0] * len(flow.good)
    for line in load.seconds:
        at = line.t - flow.start
        if line.outcome == LIMITED and 0 <= at < len(counts):
            counts[at] += line.n
    return tuple(counts)


def _amplification(
    contents: RunContents, flow: Flow
) -> tuple[tuple[str, tuple[float, ...], tuple[float | None, ...]], ...]:
    """Of the tiers that the mesh saw; the app's own count where there was no mesh."""
    known = tiers(contents.edges, contents.pods)
    seen = [tier for tier in known if tier.source == "mesh"] or list(known)
    found = []
    for tier in seen:
        moments = [t for t in tier.t if flow.start + SMOOTH_S <= t <= flow.end]
        values = [tier.amplification(flow, t - SMOOTH_S, t) for t in moments]
        if any(v is not None for v in values):
            found.append((tier.name, tuple(moments), tuple(values)))
    return tuple(found)


def steps(sweep: Mapping[str, Any]) -> tuple[Step, ...]:
    """The values of a sweep as run.json has it, ascending; those that lack a figure are left out."""
    found = []
    for point in mappings(sweep.get("points")):
        values = [number(point.get(key)) for key in ("limit", "goodput", "limited", "queue")]
        if None not in values:
            limit, goodput, limited, queue = (float(v or 0.0) for v in values)
            found.append(Step(limit, goodput, limited, queue, point.get("sustained") is True))
    return tuple(sorted(found, key=lambda step: step.limit))


def _ramp(search: LoadRecord | None, capacity: float | None) -> Ramp | None:
    """Up and down on one axis: three seconds together, and straight lines between."""
    flow = flow_of(search) if search is not None else None
    if flow is None:
        return None
    # After its end a generator still waits for answers: nothing is offered then.
    lasts = int(np.flatnonzero(flow.offered)[-1]) + 1 if flow.offered.any() else 0
    if lasts < 4:
        return None
    columns = (flow.offered[:lasts], flow.good[:lasts])
    offered, good = (np.convolve(column, np.full(3, 1 / 3), mode="valid") for column in columns)
    top = int(np.argmax(offered))
    grid = np.linspace(0.0, float(offered[top]), GRID).tolist()
    up = _on(grid, offered[: top + 1].tolist(), good[: top + 1].tolist())
    falls = len(offered) - top > 5
    down = _on(grid, offered[top:].tolist(), good[top:].tolist()) if falls else (None,) * GRID
    return Ramp(tuple(float(x) for x in grid), up, down, capacity)


def _on(grid: Sequence[float], xs: Sequence[float], ys: Sequence[float]) -> tuple[float | None, ...]:
    order = np.argsort(xs)
    x, y = np.asarray(xs)[order], np.asarray(ys)[order]
    return tuple(float(np.interp(g, x, y)) if x[0] <= g <= x[-1] else None for g in grid)
