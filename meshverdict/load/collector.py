"""Merge the logs of all workers into one record, line by line, as they arrive.

Threads feed it; what they feed may repeat what was fed before, after a lost connection.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from meshverdict.model.record import GOOD, End, GeneratorSecond, Header, Second
from meshverdict.model.record_reader import RecordReader

if TYPE_CHECKING:
    from meshverdict.load.writer import Target
    from meshverdict.model.record import Reason

_RECENT_S = 5


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How a load is doing.

    Attributes:
        state: ``starting``, ``running`` or ``ended``.
        rate: Requests that ended in the last whole second.
        error_share: Share of not-``ok`` requests in the last five seconds; 0 without requests.
        requests: Requests so far.
        outcomes: Requests so far, by outcome.
        elapsed_s: Seconds since the load's start; 0 while starting.
        left_s: Seconds until arrivals end.
        by_name: Requests and not-``ok`` requests of the last whole second, by endpoint.
    """

    state: str
    rate: float
    error_share: float
    requests: int
    outcomes: dict[str, int]
    elapsed_s: float
    left_s: float
    by_name: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class LoadSummary:
    """What a load came to.

    Attributes:
        reason: ``done``, ``stopped``, ``crashed`` or ``cut``.
        missing: Why the record is not whole, in words; empty when it is.
        start: Unix time; None when no worker ever started.
        end: Unix time of the end.
        requests: Requests in the record.
        outcomes: The same by outcome.
        scheduled: Arrivals that were due (of a closed loop: requests made).
        dropped: Arrivals that could not be sent.
        junk: Lines in the logs that were not of the record.
        duplicates: Lines that a reconnection brought twice, taken once.
    """

    reason: str
    missing: list[str]
    start: float | None
    end: float
    requests: int
    outcomes: dict[str, int]
    scheduled: int
    dropped: int
    junk: int
    duplicates: int


class Collector:
    """One record made of several workers' logs.

    Args:
        target: Where the merged record goes.
        workers: How many logs belong to it.
        duration_s: How long arrivals go on.
    """

    def __init__(self, target: Target, workers: int, duration_s: float) -> None:
        self._target = target
        self._workers = workers
        self._duration = duration_s
        self._reader = RecordReader()
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._recent: deque[tuple[int, str, int, int]] = deque()  # t, name, n, errors
        self._scheduled = self._dropped = 0
        self._newest = 0
        self._finished: LoadSummary | None = None
        self._words: deque[str] = deque(maxlen=15)
        self.started = threading.Event()

    def feed(self, text: bytes) -> int | None:
        """Take one line of a log; answers the Unix second it stands for, if it is of the record.

        Raises:
            RecordError: The record cannot be written, or the workers' formats differ.
        """
        with self._lock:
            if self._finished is not None:
                return None
            junk = self._reader.junk
            line = self._reader.feed(text)
            if self._reader.junk > junk:
                self._words.append(text.decode(errors="replace"))
            if isinstance(line, Header):
                if not self.started.is_set():
                    self._target.begin(replace(line, w=None))
                    self.started.set()
                return int(line.start)
            if line is None:
                return None
            if isinstance(line, End):
                return int(line.end)
            self._target.write([line])
            self._count(line)
            return line.t

    def _count(self, line: Second | GeneratorSecond) -> None:
        self._newest = max(self._newest, line.t)
        if isinstance(line, GeneratorSecond):
            self._scheduled += line.scheduled
            self._dropped += line.dropped
            return
        self._outcomes[line.outcome] += line.n
        self._recent.append((line.t, line.name, line.n, 0 if line.outcome == GOOD else line.n))
        while self._recent and self._recent[0][0] < self._newest - _RECENT_S:
            self._recent.popleft()

    def last_words(self) -> str:
        """The last lines of the logs that were not of the record: what a dying worker says."""
        with self._lock:
            return "\n".join(self._words)

    def ended_workers(self) -> int:
        """How many workers wrote their end line."""
        with self._lock:
            return len(self._reader.ends)

    def progress(self) -> LoadProgress:
        """How the load is doing now."""
        with self._lock:
            header = self._reader.header
            elapsed = max(0.0, time.time() - header.start) if header else 0.0
            # The newest second may still lack a worker's lines.
            whole = [part for part in self._recent if part[0] == self._newest - 1]
            names: dict[str, tuple[int, int]] = {}
            for _, name, n, errors in whole:
                before = names.get(name, (0, 0))
                names[name] = (before[0] + n, before[1] + errors)
            recent = sum(part[2] for part in self._recent)
            over = self._finished is not None or len(self._reader.ends) >= self._workers
            return LoadProgress(
                state="ended" if over else "running" if header else "starting",
                rate=float(sum(n for n, _ in names.values())),
                error_share=sum(part[3] for part in self._recent) / recent if recent else 0.0,
                requests=self._outcomes.total(),
                outcomes=dict(self._outcomes),
                elapsed_s=elapsed,
                left_s=0.0 if over else max(0.0, self._duration - elapsed),
                by_name=names,
            )

    def finish(self, *, stopped: bool) -> LoadSummary:
        """Write the end line, if every worker's record is whole: it says that this one is; answers the same when called again."""
        with self._lock:
            if self._finished is not None:
                return self._finished
            missing, reason = self._reader.missing(), self._reader.reason()
            if self._reader.header is not None and not missing:
                last: Reason = "crashed" if reason == "crashed" else "done"
                if stopped or reason == "stopped":
                    last = "crashed" if reason == "crashed" else "stopped"
                reason = last
                self._target.end(time.time(), last)
            self._finished = LoadSummary(
                reason=reason,
                missing=missing,
                start=self._reader.header.start if self._reader.header else None,
                end=time.time(),
                requests=self._outcomes.total(),
                outcomes=dict(self._outcomes),
                scheduled=self._scheduled,
                dropped=self._dropped,
                junk=self._reader.junk,
                duplicates=self._reader.duplicates,
            )
            return self._finished
