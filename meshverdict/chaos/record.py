"""Ask the load record about a window while the load still runs."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshverdict.analysis.load_table import LoadTable, load_table
from meshverdict.analysis.windows import WARM_UP_S
from meshverdict.model.errors import RecordError, UsageError
from meshverdict.model.record_reader import LoadRecord, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from meshverdict.chaos.timeline import Timeline

_PATIENCE_S: Final = 6.0
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Window:
    """Whole seconds, [start, end) in unix time."""

    start: int
    end: int


def window_of(timeline: Timeline, *, phase: str | None, last_s: float | None, load_start: float) -> Window:
    """The window that a probe asks about.

    Args:
        timeline: Of the run.
        phase: Name of a phase; None for the one that lasts.
        last_s: Only the last so many seconds of it.
        load_start: The first seconds of a load are its warm-up and are left out.

    Raises:
        UsageError: There is no such phase, or it is too short.
    """
    found = timeline.find(phase) if phase else timeline.phase
    if found is None:
        known = ", ".join(p.name for p in timeline.phases) or "none yet"
        raise UsageError(f"window: there is no phase {phase or 'now'!r} (phases: {known})")
    end = found.end if found.end is not None else timeline.clock()
    start = max(found.start, load_start + WARM_UP_S)
    if last_s is not None:
        start = max(start, end - last_s)
    window = Window(math.ceil(start), math.floor(end))
    if window.end <= window.start:
        raise UsageError(
            f"window: phase {found.name!r} has no whole second after the warm-up of {WARM_UP_S:g} s; make it"
            " longer"
        )
    return window


def table_covering(path: Path, window: Window) -> LoadTable:
    """The record as soon as it covers the window: lines arrive about a second after what they tell.

    Raises:
        RecordError: It does not get there, so the load has ended or its log is lost.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        record = _read(path)
        newest = max((g.t for g in record.generator), default=0) if record else 0
        if record is not None and newest >= window.end - 1:
            return load_table(record.seconds, ratio=record.header.ratio)
        if time.monotonic() > deadline:
            raise RecordError(
                f"{path}: the record ends {window.end - newest - 1} s before the window does: the load has"
                " ended, or its log is not readable"
                if newest
                else f"{path}: no load was recorded; start one with the control's `load` or with start_load"
            )
        time.sleep(_POLL_S)


def _read(path: Path) -> LoadRecord | None:
    try:
        return read_record(path)
    except RecordError:
        return None  # not yet begun
