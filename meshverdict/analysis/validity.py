"""Whether a run may be judged at all: the generator must prove that it was on time and that nothing is lost.

A slow generator looks exactly like a slow service, so a run that cannot prove the difference is invalid,
not slow. Lateness, gaps and the clock are judged by :mod:`meshverdict.model.validity`, as for every record; what
judging a run needs beyond that is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshverdict.model.validity import check_load

if TYPE_CHECKING:
    from meshverdict.model.record_reader import LoadRecord

CPU_LIMIT = 0.9
MIN_REQUESTS = 100


@dataclass(frozen=True, slots=True)
class Generator:
    """How the load generator did over a whole run.

    Attributes:
        scheduled: Arrivals that were due.
        sent: Requests sent.
        dropped: Arrivals that could not be sent.
        lag_p50_ms: From scheduled to sent; None for a closed loop.
        lag_p99_ms: See lag_p50_ms.
        cpu_p99: CPU share of the busiest seconds.
        clock_step_ms: Largest jump of the wall clock.
        priority: ``fifo`` when every second ran with real-time priority.
    """

    scheduled: int
    sent: int
    dropped: int
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    cpu_p99: float
    clock_step_ms: float
    priority: str


def generator(record: LoadRecord) -> Generator:
    """All generator seconds of a record together."""
    seconds = record.generator
    p50, p99 = record.send_lag.quantiles((0.5, 0.99))
    cpu = sorted(s.cpu for s in seconds)
    return Generator(
        scheduled=sum(s.scheduled for s in seconds),
        sent=sum(s.sent for s in seconds),
        dropped=sum(s.dropped for s in seconds),
        lag_p50_ms=None if p50 is None else p50 / 1000,
        lag_p99_ms=None if p99 is None else p99 / 1000,
        cpu_p99=cpu[int(0.99 * (len(cpu) - 1))] if cpu else 0.0,
        clock_step_ms=max((abs(s.clock_step_ms) for s in seconds), default=0.0),
        priority="fifo" if seconds and all(s.priority == "fifo" for s in seconds) else "normal",
    )


def invalid_reasons(record: LoadRecord) -> tuple[str, ...]:
    """Why this record must not be judged, in words; empty when it may be."""
    reasons = [f"load: {text}" for text in check_load(record).reasons]
    total = sum(s.n for s in record.seconds)
    if total < MIN_REQUESTS:
        reasons.append(f"load: {total} requests are too few (at least {MIN_REQUESTS})")
    did = generator(record)
    if did.cpu_p99 > CPU_LIMIT:
        reasons.append(f"load: the generator used {did.cpu_p99:.0%} of its core (limit {CPU_LIMIT:.0%})")
    return tuple(reasons)


def notices(record: LoadRecord) -> tuple[str, ...]:
    """What a reader must know though the run is valid."""
    found = []
    if not record.header.open_loop:
        found.append(
            "Closed-loop latency: the users waited for each answer before they sent the next request, so a"
            " stall of the service hid the requests that it kept from being sent. Tails are lower bounds."
        )
    if record.reason == "stopped":
        found.append("The load was stopped before its planned end.")
    if record.junk:
        found.append(f"{record.junk} lines of the load pod's log were not of the record and were left out.")
    return tuple(found)
