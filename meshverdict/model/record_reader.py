"""Read load records of any size, as they arrive or from a file, whatever else stands between their lines.

A pod's log mixes the record with warnings, can be cut, and is read again from an earlier moment after a lost
connection. `RecordReader` takes what is a line of the record, counts the rest, takes each second once, and
says at the end whether anything is missing. Its memory does not grow with the record.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from meshverdict.model.errors import RecordError
from meshverdict.model.histogram import RATIO, Histogram
from meshverdict.model.record import End, GeneratorSecond, Header, Line, Second, parse_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LONGEST_LINE = 4_000_000
_GENERATOR = "\0generator"


class RecordReader:
    """Turns text into lines of one record, from any number of workers.

    Attributes:
        header: The first header seen; None so far.
        ends: The end line of each worker (key None: of a merged record).
        junk: How many lines were not of the record.
        duplicates: How many lines had been read before.
    """

    def __init__(self, *, ratio: float = RATIO) -> None:
        self.header: Header | None = None
        self.ends: dict[int | None, End] = {}
        self.junk = 0
        self.duplicates = 0
        self.lines: dict[int | None, int] = {}
        self._headers: set[int | None] = set()
        self._ratio = ratio
        self._last: dict[tuple[int, str, str, int], int] = {}

    def feed(self, text: str | bytes) -> Line | None:
        """One line of text; None when it is not of the record, or had been read before.

        Raises:
            RecordError: The header is of another format, or of another ratio than the first one.
        """
        stripped = text.strip()
        if not stripped:
            return None
        if stripped[:1] not in {"{", b"{"} or len(stripped) > LONGEST_LINE:
            self.junk += 1
            return None
        try:
            value = json.loads(stripped)
        except (ValueError, RecursionError):
            self.junk += 1
            return None
        if isinstance(value.get("format"), str) and value["format"].startswith("load/"):
            return self._take_header(parse_line(value))
        try:
            line = parse_line(value, self._ratio)
        except RecordError:
            self.junk += 1
            return None
        return self._take(line)

    def read(self, source: Iterable[str | bytes]) -> Iterator[Line]:
        """All lines of the record in *source*."""
        for text in source:
            line = self.feed(text)
            if line is not None:
                yield line

    def _take_header(self, line: Line) -> Line | None:
        if not isinstance(line, Header):
            self.junk += 1
            return None
        if self.header is None:
            self.header, self._ratio = line, line.ratio
        elif line.ratio != self.header.ratio:
            raise RecordError(
                f"load record: worker {line.w} wrote histograms of ratio {line.ratio}, the first header says"
                f" {self.header.ratio}; they cannot be merged"
            )
        if line.w in self._headers:
            self.duplicates += 1
            return None
        self._headers.add(line.w)
        self._count(line.w)
        return line

    def _take(self, line: Line) -> Line | None:
        if isinstance(line, End):
            if line.w in self.ends:
                self.duplicates += 1
                return None
            self.ends[line.w] = line
            self._count(line.w)
            return line
        if isinstance(line, Header) or self.header is None:
            self.junk += 1  # without a header nobody can say what a bucket means
            return None
        series = (
            (line.w, line.name, line.outcome, line.status)
            if isinstance(line, Second)
            else (line.w, _GENERATOR, "", 0)
        )
        # Every writer's time goes forward, so what is not after the last line of its series was read before.
        if self._last.get(series, line.t - 1) >= line.t:
            self.duplicates += 1
            return None
        self._last[series] = line.t
        self._count(line.w)
        return line

    def _count(self, w: int | None) -> None:
        self.lines[w] = self.lines.get(w, 0) + 1

    @property
    def workers_seen(self) -> list[int]:
        """Numbers of the workers that wrote anything."""
        return sorted({w for w in self.lines if w is not None})

    def missing(self) -> list[str]:
        """Why the record is not whole, in words; empty when it is."""
        if self.header is None:
            return ["no header: this is not a load record"]
        if None in self.ends:
            return self._short(self.ends[None], sum(self.lines.values()), "the record")
        reasons = []
        for w in range(self.header.workers):
            if w in self.ends:
                reasons += self._short(self.ends[w], self.lines.get(w, 0), f"worker {w}")
            elif self.header.workers == 1:
                reasons.append("no end line: the record was cut")
            else:
                reasons.append(f"worker {w}: no end line, its record was cut")
        return reasons

    @staticmethod
    def _short(end: End, read: int, who: str) -> list[str]:
        if read >= end.lines:
            return []
        return [f"{who}: {end.lines - read} of {end.lines} lines are missing"]

    @property
    def cut(self) -> bool:
        """Whether an end line is missing (`missing` says more)."""
        if self.header is None or None in self.ends:
            return self.header is None
        return any(w not in self.ends for w in range(self.header.workers))

    def reason(self) -> str:
        """Why the load ended: the worst of the workers' reasons; ``cut`` when one never said."""
        if self.cut:
            return "cut"
        reasons = {end.reason for end in self.ends.values()}
        return next((reason for reason in ("crashed", "stopped") if reason in reasons), "done")


@dataclass(frozen=True)
class LoadRecord:
    """A whole record in memory: histograms by the second, so it grows with the duration and not the rate.

    Attributes:
        seconds: In the order of the record.
        generator: In the order of the record.
        missing: Why it is not whole, in words; empty when it is.
        reason: ``done``, ``stopped``, ``crashed`` or ``cut``.
    """

    header: Header
    seconds: list[Second]
    generator: list[GeneratorSecond]
    missing: list[str] = field(default_factory=list)
    reason: str = "done"
    junk: int = 0
    duplicates: int = 0

    @cached_property
    def send_lag(self) -> Histogram:
        """Microseconds from the scheduled to the actual send, of all requests; empty for a closed loop."""
        lags = (second.lag for second in self.generator if second.lag is not None)
        return Histogram.merged(lags, self.header.ratio)


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of *file*, at most `LONGEST_LINE` + 1 bytes of each, so that no file fills the memory."""
    while text := file.readline(LONGEST_LINE + 1):
        yield text
        while len(text) > LONGEST_LINE and not text.endswith(b"\n"):
            text = file.readline(LONGEST_LINE + 1)


def read_record(paths: Path | str | Sequence[Path | str]) -> LoadRecord:
    """Read one record from one file, or from the logs of all its workers.

    Raises:
        RecordError: A file cannot be read, or none has a ``load/1`` header.
    """
    reader = RecordReader()
    seconds: list[Second] = []
    generator: list[GeneratorSecond] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        try:
            with Path(path).open("rb") as file:
                for line in reader.read(lines_of(file)):
                    if isinstance(line, Second):
                        seconds.append(line)
                    elif isinstance(line, GeneratorSecond):
                        generator.append(line)
        except OSError as error:
            raise RecordError(f"load record {path}: {error.strerror}") from error
    if reader.header is None:
        raise RecordError(f"{paths}: no load/1 header, so this is not a load record")
    return LoadRecord(
        reader.header, seconds, generator, reader.missing(), reader.reason(), reader.junk, reader.duplicates
    )
