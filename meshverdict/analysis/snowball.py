"""The words of an overload as numbers: collapse, recovery, amplification, the knee; from a run's own record.

Pure. Everything is by the second: a `Flow` holds what users offered and what they got, second by second, and
every measure is a function of it. A measure that the record cannot tell is None, never a guess.

Sources of the definitions: metastable failures, trigger and sustaining effect: N. Bronson et al., *Metastable Failures
in Distributed Systems*, HotOS 2021, and L. Huang et al., *Metastable Failures in the Wild*, OSDI 2022; goodput and
retry amplification: B. Beyer et al., *Site Reliability Engineering*, chapter 22, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# A second that is 95 % as good as before the trigger is as good: Poisson arrivals alone vary more than that.
AS_BEFORE: Final = 0.95
# Recovery has to last: one good second between two collapses is none.
STEADY_S: Final = 5
# Not recovered so long after its cause is gone: the system holds itself down.
METASTABLE_AFTER_S: Final = 60.0
# Below half of what was offered a service is not slow any more, it is gone.
COLLAPSED: Final = 0.5
# Where goodput stops following the offered load.
FOLLOWS: Final = 0.9
PLATEAU_S: Final = 3
# Requests of a tenth of a second may wait by chance; what waits beyond them is a queue that grows.
QUEUE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Flow:
    """What users offered and got, second by second.

    Attributes:
        start: Unix second of the first value.
        offered: Arrivals, shape (seconds,): requests that were due in that second, whatever became of them.
        good: Goodput, shape (seconds,): 2xx and 3xx within the deadline that ended in that second.
    """

    start: int
    offered: Floats
    good: Floats

    @classmethod
    def of(cls, start: int, offered: Sequence[float], good: Sequence[float]) -> Flow:
        """A flow from plain numbers.

        Raises:
            ValueError: The two are not equally long.
        """
        if len(offered) != len(good):
            raise ValueError(f"{len(offered)} seconds of offered load, {len(good)} of goodput")
        return cls(start, np.asarray(offered, dtype=np.float64), np.asarray(good, dtype=np.float64))

    @property
    def end(self) -> int:
        """The unix second after the last value."""
        return self.start + len(self.good)

    def between(self, start: float, end: float) -> Flow:
        """The whole seconds of [start, end), in unix time."""
        first = min(max(0, int(np.ceil(start)) - self.start), len(self.good))
        last = max(first, min(int(np.floor(end)) - self.start, len(self.good)))
        return Flow(self.start + first, self.offered[first:last], self.good[first:last])

    @property
    def share(self) -> float | None:
        """Goodput over offered load, 0 to 1 and a little above where a backlog is served; None without load."""
        offered = float(self.offered.sum())
        return float(self.good.sum()) / offered if offered > 0 else None

    @property
    def goodput(self) -> float | None:
        """Good answers a second; None for no second at all."""
        return float(self.good.mean()) if len(self.good) else None


def recovery_s(flow: Flow, baseline: Flow, trigger_end: float) -> float | None:
    """Seconds from the trigger's end to the first `STEADY_S` seconds with `AS_BEFORE` of the baseline's goodput.

    The baseline is a share of what was offered then, so that it holds for Poisson arrivals and for changed load.

    Returns:
        0 when it was never gone; None when it did not come back before the record ends, or nothing was offered or served before.
    """
    after = flow.between(trigger_end, flow.end)
    before = baseline.share
    if not before:
        return None  # where nothing was served there is nothing to come back to
    for i in range(len(after.good) - STEADY_S + 1):
        offered = float(after.offered[i : i + STEADY_S].sum())
        if offered > 0 and float(after.good[i : i + STEADY_S].sum()) >= AS_BEFORE * before * offered:
            return max(0.0, after.start + i - trigger_end) if i else 0.0
    return None


def metastable(flow: Flow, baseline: Flow, trigger_end: float) -> bool | None:
    """Whether the service was still down `METASTABLE_AFTER_S` after the trigger had ended.

    Returns:
        None when the record ends before that without a recovery: nothing can be said.
    """
    back = recovery_s(flow, baseline, trigger_end)
    if back is not None and back < METASTABLE_AFTER_S:
        return False
    if not baseline.share:
        return None
    return True if flow.end >= trigger_end + METASTABLE_AFTER_S else None


def collapses(flow: Flow) -> tuple[tuple[int, int], ...]:
    """Stretches of `PLATEAU_S` seconds or more in which less than `COLLAPSED` of the offered load was goodput.

    Returns:
        (first second, the second after the last) of each, unix time.
    """
    down = flow.good < COLLAPSED * flow.offered
    edges = np.flatnonzero(np.diff(np.concatenate(([False], down, [False])).astype(np.int8)))
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((flow.start + int(a), flow.start + int(b)) for a, b in pairs if b - a >= PLATEAU_S)


def amplification(arrived: float, offered: float) -> float | None:
    """Retry amplification at a tier: requests that arrived there for each arrival of a user.

    Args:
        arrived: Requests that arrived at the tier in some time.
        offered: Users' requests in the same time.

    Returns:
        None when no user came.
    """
    return arrived / offered if offered > 0 else None


def arrived(handled: Sequence[float | None], waiting: Sequence[float | None]) -> tuple[float | None, ...]:
    """Requests that arrived at a server between two samples: those it finished, and those that joined its queue.

    Conservation of flow: arrivals = departures + growth of what is inside. It counts those whose caller gave up
    meanwhile, which no caller counts; what the kernel refused because the queue was full is not in it.

    Args:
        handled: Requests finished since the server's start, at each sample.
        waiting: Requests inside (queued and in service), at each sample.

    Returns:
        One value a sample; None for the first, after a restart, and beside a missing one.
    """
    found: list[float | None] = [None] * len(handled)
    for i in range(1, len(handled)):
        now, before, inside, was = handled[i], handled[i - 1], waiting[i], waiting[i - 1]
        if now is None or before is None or inside is None or was is None or now < before:
            continue
        found[i] = max(0.0, now - before + inside - was)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Knee:
    """Where goodput stops following the offered load.

    Attributes:
        capacity: Goodput a second on the plateau: the capacity.
        at: Offered load a second at which it was reached.
    """

    capacity: float
    at: float


def knee(flow: Flow) -> Knee | None:
    """The capacity, from a load that rises through it second by second.

    Beyond the knee a server answers as much as it can, no more, until its queue is older than the deadline: goodput
    follows the offered load, stays level, and falls. The capacity is the best `PLATEAU_S` seconds of goodput; that the
    load went beyond is what makes it a capacity and not a load.

    Returns:
        None when goodput followed to the end (the load was too small), or never began.
    """
    if len(flow.good) < 2 * PLATEAU_S:
        return None
    good, offered = _smooth(flow.good), _smooth(flow.offered)
    best = int(np.argmax(good))
    if good[best] <= 0:
        return None
    beyond = (offered[best:] * FOLLOWS > good[best]) & (good[best:] < FOLLOWS * offered[best:])
    if not beyond.any():
        return None
    return Knee(float(good[best]), float(offered[best]))


def _smooth(values: Floats) -> Floats:
    """Means of `PLATEAU_S` neighbours, shape (seconds - PLATEAU_S + 1,)."""
    return np.convolve(values, np.full(PLATEAU_S, 1 / PLATEAU_S), mode="valid")


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """What one value of a rate limit led to, under more load than the service can carry.

    Attributes:
        limit: Requests a second that were let through.
        goodput: Good answers a second.
        queue: Requests that waited for a thread when the step ended.
    """

    limit: float
    goodput: float
    queue: float = 0.0

    @property
    def sustained(self) -> bool:
        """Whether it could go on for ever: a queue of more than a tenth of a second is one that grows."""
        return self.queue <= QUEUE_S * self.limit


@dataclass(frozen=True, slots=True)
class Advice:
    """The value that a sweep found, and what it costs to be wrong; goodput is by the second.

    Attributes:
        limit: The value.
        goodput: With it.
        at_half: With half of it; None where the sweep did not go so far.
        at_double: With twice of it; see at_half.
    """

    limit: float
    goodput: float
    at_half: float | None
    at_double: float | None


def advise(points: Sequence[SweepPoint]) -> Advice | None:
    """The value of a rate limit: the largest one that can go on, with goodput within 5 % of the best.

    With a limit that is too low goodput is the limit; with one that is too high it is what an overload leaves. In
    between it is level, and the largest value on that level turns away the fewest.

    Args:
        points: In any order.

    Returns:
        None when no point had any goodput that could go on.
    """
    sustained = [point for point in points if point.sustained]
    best = max((point.goodput for point in sustained), default=0.0)
    if best <= 0:
        return None
    chosen = max((p for p in sustained if p.goodput >= AS_BEFORE * best), key=lambda p: p.limit)
    half, double = (goodput_at(points, factor * chosen.limit) for factor in (0.5, 2.0))
    return Advice(chosen.limit, chosen.goodput, half, double)


def goodput_at(points: Sequence[SweepPoint], limit: float) -> float | None:
    """Goodput at a value between two that were tried (a straight line); None outside of them."""
    known = sorted((point.limit, point.goodput) for point in points)
    if not known or not known[0][0] <= limit <= known[-1][0]:
        return None
    limits, goods = zip(*known, strict=True)
    return float(np.interp(limit, limits, goods))


@dataclass(frozen=True, slots=True)
class Hysteresis:
    """What a load that went up and down again showed; rates are arrivals a second.

    Attributes:
        collapse: Offered load at which goodput stopped following on the way up.
        recovery: Offered load at which it followed again on the way down; None when it never did.
    """

    collapse: float
    recovery: float | None

    @property
    def gap(self) -> float | None:
        """How much further the load must fall than it rose: 0 without hysteresis; None without a recovery."""
        return None if self.recovery is None else max(0.0, self.collapse - self.recovery)


def hysteresis(up: Flow, down: Flow) -> Hysteresis | None:
    """The gap between the rate of collapse on the way up and the rate of recovery on the way down.

    Goodput follows in a second when the `PLATEAU_S` seconds around it have `FOLLOWS` of the offered load.

    Returns:
        None when it followed all the way up, or one of the ways is too short.
    """
    if min(len(up.good), len(down.good)) < PLATEAU_S:
        return None
    rising, falling = _follows(up), _follows(down)
    if rising.all():
        return None
    last = np.flatnonzero(rising)
    at_up, at_down = _smooth(up.offered), _smooth(down.offered)
    collapse = float(at_up[last[-1]]) if len(last) else float(at_up[0])
    lost = np.flatnonzero(~falling)
    back = int(lost[-1]) + 1 if len(lost) else 0
    return Hysteresis(collapse, float(at_down[back]) if back < len(at_down) else None)


def _follows(flow: Flow) -> npt.NDArray[np.bool_]:
    return np.asarray(_smooth(flow.good) >= FOLLOWS * _smooth(flow.offered), dtype=np.bool_)


def vulnerable_load(trials: Sequence[tuple[float, bool]]) -> float | None:
    """The lowest load, as a share of capacity, at which the fixed trigger became metastable.

    Source: Huang et al., OSDI 2022: below it the system is stable whatever happens, above it vulnerable.

    Args:
        trials: (offered / capacity, metastable) of each trial.

    Returns:
        None when no trial did.
    """
    return min((ratio for ratio, stuck in trials if stuck), default=None)


def rejected_share(offered: float, limit: float) -> float:
    """The share of requests that a limit must turn away: 1 - limit / offered, and 0 for a limit above the load.

    Args:
        offered: Requests a second.
        limit: Requests a second that are let through, over all replicas.
    """
    return max(0.0, 1.0 - limit / offered) if offered > 0 else 0.0


def absences(
    t: Sequence[float], counter: Sequence[float | None], *, at_least_s: float, unfinished: bool = False
) -> tuple[tuple[float, float], ...]:
    """Times in which a replica got no request, from its own counter: how an ejection looks to the ejected.

    Args:
        t: Unix seconds of the samples.
        counter: Requests handled since the replica's start.
        at_least_s: Shorter ones are chance.
        unfinished: Count also one that lasts to the end of the record, whose end was not seen, up to there.

    Returns:
        (last sample that showed a new request, first sample that showed the next one).
    """
    found: list[tuple[float, float]] = []
    last: tuple[float, float] | None = None
    for moment, value in zip(t, counter, strict=True):
        if value is None:
            continue
        if last is None or value != last[1]:
            if last is not None and moment - last[0] >= at_least_s:
                found.append((last[0], moment))
            last = (moment, value)
    if unfinished and last is not None and t[-1] - last[0] >= at_least_s:
        found.append((last[0], t[-1]))
    return tuple(found)
