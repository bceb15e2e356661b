"""When requests are due: constant or Poisson arrivals at a rate that may change over time. Pure.

There is no clock here, only offsets from the start, so the same seed always makes the same arrivals, in both
arms of a comparison; and workers that know nothing of each other make together what one would have made.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from meshverdict.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshverdict.load.share import Share

Kind = Literal["poisson", "constant"]
KINDS: tuple[Kind, ...] = ("poisson", "constant")
HELP = "N | ramp:FROM:TO:SECONDS | steps:RATExSECONDS,... | burst:BASE:PEAK:EVERY_S:LENGTH_S | trace:FILE"
_MOST = 10_000_000.0
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class Segment:
    """A rate that goes evenly from *start* to *end* (arrivals a second) over *duration* seconds."""

    duration: float
    start: float
    end: float

    @property
    def arrivals(self) -> float:
        """How many arrivals fall into it."""
        return self.duration * (self.start + self.end) / 2.0

    def offset(self, arrivals: float) -> float:
        """Seconds until *arrivals* of them are over."""
        if arrivals <= 0:
            return 0.0
        slope = (self.end - self.start) / self.duration if math.isfinite(self.duration) else 0.0
        # The usual quadratic formula loses all digits where the slope is small.
        return 2.0 * arrivals / (self.start + math.sqrt(max(0.0, self.start**2 + 2.0 * slope * arrivals)))


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate over time: segments one after the other, the last one for ever, or all of them again."""

    segments: tuple[Segment, ...]
    again: bool = False
    text: str = ""

    @property
    def mean(self) -> float:
        """Arrivals a second: of a cycle, or as announced by the first segment."""
        if self.again:
            return sum(s.arrivals for s in self.segments) / sum(s.duration for s in self.segments)
        return self.segments[0].start

    def times(self, counts: Iterable[float]) -> Iterator[float]:
        """The offsets, in seconds, at which so many arrivals are over; *counts* ascends."""
        segments = itertools.cycle(self.segments) if self.again else iter(self.segments)
        segment, began, before = next(segments), 0.0, 0.0
        for count in counts:
            while count - before >= segment.arrivals:
                began, before = began + segment.duration, before + segment.arrivals
                segment = next(segments)
            yield began + segment.offset(count - before)

    def offsets(self, kind: Kind, seed: str, share: Share) -> Iterator[float]:
        """This worker's arrivals, in seconds from the start, without end.

        Args:
            kind: ``constant`` spacing or ``poisson``.
            seed: Of the random numbers; workers make their own of it.
            share: Which part of the arrivals this worker makes.
        """
        if kind == "constant":
            return self.times(float(n) for n in itertools.count(share.index, share.of))
        return self.times(_poisson(random.Random(f"{seed}/{share.index}/{share.of}"), share.of))  # noqa: S311


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals as they were recorded: ascending offsets in seconds."""

    recorded: array[float]
    text: str = ""

    @property
    def mean(self) -> float:
        """Arrivals a second, over the whole trace."""
        return len(self.recorded) / max(self.recorded[-1], 1e-9)

    def offsets(self, kind: Kind, seed: str, share: Share) -> Iterator[float]:  # noqa: ARG002
        """This worker's part of the recorded arrivals; neither kind nor seed changes what was recorded."""
        return itertools.islice(self.recorded, share.index, None, share.of)


Shape = Rate | Trace


def _poisson(source: random.Random, workers: int) -> Iterator[float]:
    count, gap = 0.0, source.expovariate
    while True:
        count += gap(1.0) * workers
        yield count


def constant(rate: float) -> Rate:
    """The same rate for ever."""
    return Rate((Segment(math.inf, rate, rate),), text=f"{rate:g}")


def parse_rate(text: str) -> Shape:
    """Read a rate: a number, or a shape (see `HELP`).

    Raises:
        UsageError: Not of such a form, a rate is not above 0, or a trace has a hole.
    """
    kind, _, rest = text.partition(":")
    try:
        if kind == "trace":
            return read_trace(Path(rest), text)
        if kind == "ramp":
            first, last, seconds = (_number(text, part, zero=True) for part in rest.split(":"))
            if first + last <= 0 or seconds <= 0:
                raise UsageError(
                    f"--rate {text}: a ramp needs a rate above 0 at one end, and seconds above 0"
                )
            return Rate((Segment(seconds, first, last), *_for_ever(text, last)), text=text)
        if kind == "steps":
            steps = [_step(text, part) for part in rest.split(",")]
            return Rate((*steps, Segment(math.inf, steps[-1].end, steps[-1].end)), text=text)
        if kind == "burst":
            base, peak, every, length = (_number(text, part) for part in rest.split(":"))
            if length >= every:
                raise UsageError(f"--rate {text}: a burst of {length:g} s does not fit into {every:g} s")
            return Rate(
                (Segment(every - length, base, base), Segment(length, peak, peak)), again=True, text=text
            )
    except ValueError as error:
        raise UsageError(f"--rate {text}: expected {HELP}") from error
    return constant(_number(text, text))


def _for_ever(text: str, rate: float) -> tuple[Segment, ...]:
    if rate <= 0:
        raise UsageError(f"--rate {text}: a ramp must end above 0, for its last rate goes on")
    return (Segment(math.inf, rate, rate),)


def _step(text: str, part: str) -> Segment:
    rate, seconds = part.split("x")
    return Segment(_number(text, seconds), _number(text, rate), _number(text, rate))


def _number(text: str, part: str, *, zero: bool = False) -> float:
    try:
        number = float(part)
    except ValueError as error:
        raise UsageError(f"--rate {text}: {part!r} is not a number; expected {HELP}") from error
    if not math.isfinite(number) or number > _MOST or (number < _LEAST and not (number == 0 and zero)):
        raise UsageError(
            f"--rate {text}: {part!r} must be a number of at least {_LEAST:g} and at most {_MOST:g}"
        )
    return number


def read_trace(path: Path, text: str = "") -> Trace:
    """Read recorded arrivals.

    One number a line: the offset of each arrival in seconds, ascending. Two numbers a line (``second,count``):
    how many arrivals each second has, evenly spread in it. Lines that begin with ``#`` are remarks.

    Raises:
        UsageError: The file cannot be read, is empty, goes back in time, or lacks a second.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--rate trace:{path}: {error}") from error
    offsets = array("d")
    second = 0
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            continue
        where = f"--rate trace:{path}, line {number}"
        fields = [_field(where, part) for part in re.split(r"[,;\s]+", line.strip())]
        if len(fields) == 2 and (second or not offsets):
            _add_second(where, offsets, second, fields)
            second += 1
        elif second:
            raise UsageError(f"{where}: the lines before it have two numbers, this one has {len(fields)}")
        elif len(fields) == 1 and (not offsets or fields[0] >= offsets[-1]):
            offsets.append(fields[0])
        else:
            last = offsets[-1] if offsets else 0.0
            raise UsageError(f"{where}: expected one offset, not before {last:g}")
    if not offsets:
        raise UsageError(f"--rate trace:{path}: it holds no arrival")
    return Trace(offsets, text=text or f"trace:{path}")


def _add_second(where: str, offsets: array[float], expected: int, fields: list[float]) -> None:
    second, count = fields
    if second != expected:
        raise UsageError(
            f"{where}: second {expected} is missing (found {second:g}); write {expected},0 if it had none"
        )
    if count != int(count):
        raise UsageError(f"{where}: {count:g} arrivals; expected a whole number")
    if len(offsets) + count > _MOST:
        raise UsageError(f"{where}: more than {_MOST:,.0f} arrivals in all")
    offsets.extend(second + k / count for k in range(int(count)))


def _field(where: str, part: str) -> float:
    try:
        number = float(part)
    except ValueError as error:
        raise UsageError(f"{where}: {part!r} is not a number: the trace has a hole there") from error
    if not math.isfinite(number) or number < 0:
        raise UsageError(f"{where}: {part!r} must be a finite number, not below 0")
    return number
