"""Decide whether a load record proves what it claims, before anybody looks at its latencies. Pure.

A generator that was late measures itself: such a run is invalid, not slow. Reasons are in words, with figures,
for they are the first thing that a report shows.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meshverdict.model.record import GeneratorSecond
    from meshverdict.model.record_reader import LoadRecord


_APART_S: Final = 2
# So many arrivals are not missing by chance: of Poisson arrivals with such a mean, once in 5e8.
_RARELY: Final = 20


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """What a generator may do and still be believed.

    Attributes:
        lag_ms: Largest 99th percentile of the send lag, milliseconds.
        waiting: Largest share of the time in which the generator was ready to run and had no CPU.
        pressure: Largest share of the time in which something on its machine waited for a CPU.
        clock_step_ms: Largest jump of the wall clock in one second, milliseconds.
    """

    lag_ms: float = 2.0
    waiting: float = 0.05
    pressure: float = 0.8
    clock_step_ms: float = 50.0


@dataclass(frozen=True, slots=True)
class LoadValidity:
    """Whether a load record can be believed.

    Attributes:
        reasons: Why it cannot; empty when it can.
        notes: What a reader has to know even so.
    """

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """No reason against it."""
        return not self.reasons


LIMITS = LoadLimits()


def check_load(record: LoadRecord, limits: LoadLimits = LIMITS) -> LoadValidity:
    """Judge the generator by its record."""
    reasons = list(record.missing)
    if record.reason == "crashed":
        reasons.append("the load generator crashed")
    if not record.seconds:
        reasons.append("no request was recorded")
    generator = record.generator
    reasons += _gaps(generator)
    reasons += _workers(record)
    reasons += _clock(generator, limits)
    notes = []
    if record.header.open_loop:
        reasons += _lateness(record, limits)
        reasons += _arrivals(record)
    else:
        notes.append(
            "latency is closed-loop: users wait for answers, so what a stall kept them from sending is not counted"
        )
    if any(second.priority == "normal" for second in generator) and record.header.open_loop:
        notes.append("the generator had no real-time priority")
    resent = sum(second.resent for second in generator)
    if resent:
        notes.append(f"{resent} requests were sent again: the server had ended an idle connection")
    return LoadValidity(tuple(reasons), tuple(notes))


def _lateness(record: LoadRecord, limits: LoadLimits) -> list[str]:
    reasons = []
    generator = record.generator
    lag = record.send_lag.quantile(0.99)
    if lag is None:
        reasons.append("the generator recorded no send lag")
    elif lag / 1e3 > limits.lag_ms:
        reasons.append(
            f"the generator was late: p99 of the send lag {lag / 1e3:.1f} ms, limit {limits.lag_ms:g} ms"
        )
    if generator:
        waited = sum(second.steal_ms for second in generator) / 1e3 / len(generator)
        if waited > limits.waiting:
            reasons.append(
                f"the generator had no CPU for {waited:.0%} of the time, limit {limits.waiting:.0%}"
            )
    known = [second.pressure for second in generator if second.pressure is not None]
    if known and sum(known) / len(known) > limits.pressure:
        share = sum(known) / len(known)
        reasons.append(
            f"the generator's machine was overloaded {share:.0%} of the time, limit {limits.pressure:.0%}"
        )
    return reasons


def _arrivals(record: LoadRecord) -> list[str]:
    reasons = []
    scheduled = sum(second.scheduled for second in record.generator)
    dropped = sum(second.dropped for second in record.generator)
    held = sum(second.held for second in record.generator)
    if dropped:
        reasons.append(f"{dropped} of {scheduled} arrivals were dropped: too many requests under way")
    if held:
        reasons.append(
            f"{held} times no connection could be opened: a limit of the generator's process was reached"
        )
    ended = sum(second.n for second in record.seconds)
    if not record.missing and ended != scheduled - dropped:
        reasons.append(
            f"{scheduled - dropped} requests were due and {ended} have an outcome:"
            " a task raised, made no request, or did not use catch_response as a context"
        )
    return reasons


def _gaps(generator: list[GeneratorSecond]) -> list[str]:
    seconds: dict[int, list[int]] = {}
    for second in generator:
        seconds.setdefault(second.w, []).append(second.t)
    reasons = []
    for w, times in sorted(seconds.items()):
        lost = max(times) - min(times) + 1 - len(set(times))
        if lost:
            reasons.append(f"worker {w}: {lost} seconds are missing from its record")
    return reasons


def _workers(record: LoadRecord) -> list[str]:
    """Of all workers that there were, each must have worked as long as the others."""
    header = record.header
    seen: defaultdict[int, list[GeneratorSecond]] = defaultdict(list)
    for second in record.generator:
        seen[second.w].append(second)
    expected = {header.w} if header.w is not None else set(range(header.workers))
    reasons = [f"worker {w} of {header.workers} wrote nothing" for w in sorted(expected - set(seen))]
    for w, own in sorted(seen.items()):
        last = max(second.t for second in own)
        others = (s.t for other, theirs in seen.items() if other != w for s in theirs if s.scheduled)
        behind = max(others, default=last) - last
        mean = sum(second.scheduled for second in own) / len(own)
        # Where arrivals are rare, the last ones of two workers may lie far apart.
        if behind > _APART_S and behind * mean > _RARELY:
            reasons.append(f"worker {w} ended {behind} s before the others had sent their last requests")
    return reasons


def _clock(generator: list[GeneratorSecond], limits: LoadLimits) -> list[str]:
    worst = max((second.clock_step_ms for second in generator), key=abs, default=0.0)
    if abs(worst) <= limits.clock_step_ms:
        return []
    return [f"the clock jumped by {worst:.0f} ms: the record's seconds cannot be matched with other records"]
