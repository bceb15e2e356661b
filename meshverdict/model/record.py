"""The load record ``load/1``: what the generator did and what came back, one JSON line a second.

The load room writes it, line by line, as the log of a pod; analysis reads it. The record is the only thing
that passes between them, so a report can be remade at any time without a new run. What a line is:

* the header, first: how the load was made (`Header`);
* per second, worker, endpoint, outcome and status: a count and a latency histogram (`Second`);
* per second and worker: how well the generator itself did (`GeneratorSecond`);
* the end (`End`), with the reason and the number of lines, itself and the header included.

A record without its end was cut.

A request belongs to the second in which it ended. ``status`` is 0 when no HTTP answer came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from meshverdict.model.errors import RecordError
from meshverdict.model.histogram import RATIO, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT: Final = "load/1"
Outcome = Literal[
    "ok", "late", "limited", "denied", "http", "refused", "timeout", "reset", "invalid", "check"
]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
GOOD: Final[Outcome] = "ok"
Reason = Literal["done", "stopped", "crashed"]
Priority = Literal["fifo", "normal"]
CLOSED: Final = "closed"


@dataclass(frozen=True, slots=True)
class Header:
    """How the load was made.

    Attributes:
        start: Unix time of the first second.
        seed: Seed of the arrivals; None for a closed loop.
        arrivals: ``poisson``, ``constant``, another open-loop shape, or ``closed``: users wait for answers,
            so latency hides what a stall kept them from sending.
        rate: Arrivals a second, over all workers; None for a closed loop.
        deadline_ms: A good answer later than this is no goodput; None for no deadline.
        ratio: Growth of the histograms' buckets.
        workers: How many generator processes share the load.
        w: The worker that wrote it; None in a merged record.
        rates: Arrivals a second of the tasks with a tag, where those have a rate of their own.
        shape: How the rate changes over time, as it was asked for; None when it does not.
    """

    start: float
    seed: int | None
    arrivals: str
    rate: float | None
    deadline_ms: float | None
    workers: int
    locustfile: str
    host: str
    ratio: float = RATIO
    w: int | None = None
    rates: dict[str, float] | None = None
    shape: str | None = None

    @property
    def open_loop(self) -> bool:
        """Whether latency counts from the scheduled time of each request."""
        return self.arrivals != CLOSED

    def as_json(self) -> dict[str, Any]:
        """The header line."""
        line: dict[str, Any] = {
            "format": FORMAT,
            "start": self.start,
            "seed": self.seed,
            "arrivals": self.arrivals,
        }
        line |= {
            "rate": self.rate,
            "deadline_ms": self.deadline_ms,
            "ratio": self.ratio,
            "workers": self.workers,
        }
        line |= {"locustfile": self.locustfile, "host": self.host}
        if self.w is not None:
            line["w"] = self.w
        if self.rates is not None:
            line["rates"] = self.rates
        if self.shape is not None:
            line["shape"] = self.shape
        return line


@dataclass(frozen=True, slots=True)
class Second:
    """The requests of one endpoint that ended alike in one second.

    Attributes:
        t: Unix time of the second.
        w: Worker number.
        name: Endpoint, as the locustfile names it.
        outcome: One of `OUTCOMES`.
        status: HTTP status; 0 without an answer.
        n: How many requests.
        latency: Their latencies.
    """

    t: int
    w: int
    name: str
    outcome: Outcome
    status: int
    n: int
    latency: Histogram

    def as_json(self) -> dict[str, Any]:
        """The line."""
        line: dict[str, Any] = {"t": self.t, "w": self.w, "name": self.name, "outcome": self.outcome}
        return line | {"status": self.status, "n": self.n, "latency": self.latency.as_json()}


@dataclass(frozen=True, slots=True)
class GeneratorSecond:
    """How one worker did in one second: the proof that the load was made as asked.

    Attributes:
        scheduled: Arrivals that were due in this second.
        sent: Requests handed to the kernel.
        dropped: Arrivals that could not be sent at all (too many waiting).
        in_flight: Requests without an answer at the second's end.
        connections: Connections open at the second's end.
        lag: Time from the scheduled to the actual send; None for a closed loop.
        cpu: CPU time over wall time of the generating thread or process.
        priority: ``fifo`` when the kernel granted real-time priority.
        opened: Connections opened in this second.
        steal_ms: Milliseconds for which the generator was ready to run but did not get a CPU.
        clock_step_ms: Jump of the wall clock against the steady clock.
        resent: Requests sent again, because the server had ended an idle connection.
        held: Times that a limit of the generator's own process kept it from opening a connection.
        pressure: Share of the second in which something on the machine waited for a CPU; None if not known.
    """

    t: int
    w: int
    scheduled: int
    sent: int
    dropped: int
    in_flight: int
    connections: int
    lag: Histogram | None
    cpu: float
    priority: Priority
    opened: int = 0
    steal_ms: float = 0.0
    clock_step_ms: float = 0.0
    resent: int = 0
    held: int = 0
    pressure: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The line."""
        generator: dict[str, Any] = {"scheduled": self.scheduled, "sent": self.sent, "dropped": self.dropped}
        generator |= {"in_flight": self.in_flight, "connections": self.connections}
        generator |= {"lag": self.lag.as_json() if self.lag is not None else None, "cpu": round(self.cpu, 4)}
        generator |= {"priority": self.priority, "opened": self.opened, "steal_ms": round(self.steal_ms, 3)}
        generator |= {"clock_step_ms": round(self.clock_step_ms, 3), "resent": self.resent, "held": self.held}
        if self.pressure is not None:
            generator["pressure"] = round(self.pressure, 4)
        return {"t": self.t, "w": self.w, "generator": generator}


@dataclass(frozen=True, slots=True)
class End:
    """The last line.

    Attributes:
        end: Unix time.
        reason: Why the load ended.
        lines: Lines of this record, header and end included.
        w: The worker that wrote it; None in a merged record.
    """

    end: float
    reason: Reason
    lines: int
    w: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The line."""
        line: dict[str, Any] = {"end": self.end, "reason": self.reason, "lines": self.lines}
        return line if self.w is None else line | {"w": self.w}


Line = Header | Second | GeneratorSecond | End


def parse_line(value: dict[str, Any], ratio: float = RATIO) -> Line:
    """The line that a JSON object is, by its shape; keys that are not known are ignored.

    Raises:
        RecordError: It is none of the record's lines, or a value has the wrong type.
    """
    for key, parse in _PARSERS.items():
        if key in value:
            try:
                return parse(value, ratio)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise RecordError(
                    f"load record: a line with {key!r} is incomplete or mistyped ({error!r})"
                ) from error
    raise RecordError(f"load record: {sorted(value)} is no line of {FORMAT}")


def _header(value: dict[str, Any], _ratio: float) -> Header:
    if value["format"] != FORMAT:
        raise RecordError(f"load record: format {value['format']!r}; this version reads {FORMAT!r}")
    ratio = float(value.get("ratio", RATIO))
    if not 1 < ratio < 2:
        raise ValueError(f"ratio {ratio}: it must lie between 1 and 2")
    return Header(
        start=float(value["start"]),
        seed=_optional(int, value.get("seed")),
        arrivals=str(value["arrivals"]),
        rate=_optional(float, value.get("rate")),
        deadline_ms=_optional(float, value.get("deadline_ms")),
        ratio=ratio,
        workers=int(value.get("workers", 1)),
        locustfile=str(value.get("locustfile", "")),
        host=str(value.get("host", "")),
        w=_optional(int, value.get("w")),
        rates=_optional(dict, value.get("rates")),
        shape=_optional(str, value.get("shape")),
    )


def _generator(value: dict[str, Any], ratio: float) -> GeneratorSecond:
    inner = value["generator"]
    lag = inner.get("lag")
    return GeneratorSecond(
        t=int(value["t"]),
        w=int(value.get("w", 0)),
        scheduled=int(inner["scheduled"]),
        sent=int(inner["sent"]),
        dropped=int(inner["dropped"]),
        in_flight=int(inner["in_flight"]),
        connections=int(inner["connections"]),
        lag=None if lag is None else Histogram.from_json(lag, ratio),
        cpu=float(inner.get("cpu", 0.0)),
        priority="fifo" if inner.get("priority") == "fifo" else "normal",
        opened=int(inner.get("opened", 0)),
        steal_ms=float(inner.get("steal_ms", 0.0)),
        clock_step_ms=float(inner.get("clock_step_ms", 0.0)),
        resent=int(inner.get("resent", 0)),
        held=int(inner.get("held", 0)),
        pressure=_optional(float, inner.get("pressure")),
    )


def _second(value: dict[str, Any], ratio: float) -> Second:
    outcome = value["outcome"]
    if outcome not in OUTCOMES:
        raise ValueError(f"outcome {outcome!r}: not one of {', '.join(OUTCOMES)}")
    second = Second(
        t=int(value["t"]),
        w=int(value.get("w", 0)),
        name=str(value["name"]),
        outcome=outcome,
        status=int(value.get("status") or 0),
        n=int(value["n"]),
        latency=Histogram.from_json(value["latency"], ratio),
    )
    if second.n < 0 or second.n != second.latency.n:
        raise ValueError(f"n is {second.n} and the histogram holds {second.latency.n}")
    return second


def _end(value: dict[str, Any], _ratio: float) -> End:
    reason = value["reason"]
    if reason not in get_args(Reason):
        raise ValueError(f"reason {reason!r}: not one of {', '.join(get_args(Reason))}")
    return End(float(value["end"]), reason, int(value["lines"]), _optional(int, value.get("w")))


def _optional(kind: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else kind(value)


_PARSERS: Final[dict[str, Callable[[dict[str, Any], float], Line]]] = {
    "format": _header,
    "generator": _generator,
    "outcome": _second,
    "end": _end,
}
