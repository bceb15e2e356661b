"""Wait until a change is over for those who ask: new pods are Ready some time before everybody has found them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from meshverdict.analysis.load_table import OK, LoadTable, load_table
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, RecordError
from meshverdict.model.record_reader import read_record

if TYPE_CHECKING:
    from pathlib import Path

_POLL_S: Final = 0.3


def wait_until_answered(seconds: float = 2.0, timeout: float = 40.0) -> float:
    """Let the load go on until every request of the last seconds was answered well and in time; returns how long it took.

    Args:
        seconds: How long without a bad answer, in whole seconds of the record.
        timeout: Seconds to wait; after that the activity fails.
    """
    session = current()
    begun, since = time.monotonic(), time.time()
    while True:
        session.hold(_POLL_S)
        found = _newest(session.folder / "load.jsonl")
        if found is not None and calm(*found, since, int(seconds)):
            return round(time.monotonic() - begun, 1)
        if time.monotonic() - begun > timeout:
            raise LabError(f"after {timeout:g} s there were still requests without a good answer")


def calm(table: LoadTable, newest: int, since: float, seconds: int) -> bool:
    """Whether the last seconds of a record, all of them after a moment, have good answers alone, and some. Pure.

    Args:
        table: The record.
        newest: The last second that it covers whole.
        since: Unix time; seconds that began before it do not count.
        seconds: How many.
    """
    start, end = newest + 1 - seconds, newest + 1
    if start < since:
        return False
    rows = table.rows(start=start, end=end)
    good = rows & table.rows(outcomes=(OK,))
    return bool(table.n[good].sum()) and int(table.n[rows].sum()) == int(table.n[good].sum())


def _newest(path: Path) -> tuple[LoadTable, int] | None:
    try:
        found = read_record(path)
    except RecordError:
        return None
    told = [second.t for second in found.generator]
    return (load_table(found.seconds, ratio=found.header.ratio), max(told)) if told else None
