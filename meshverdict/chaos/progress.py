"""One line that says how a run is doing: kept up to date on a terminal, a new one now and then in a log."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshverdict.load.collector import LoadProgress

_ERASE = "\r\x1b[2K"
TERMINAL_S = 0.5
LOG_S = 5.0


def line(phase: str, left_s: float, load: LoadProgress | None) -> str:
    """What the line says.

    >>> line("baseline", 42.4, None)
    'baseline | about 42 s left'
    """
    parts = [phase, f"about {left_s:.0f} s left"]
    if load is not None:
        failed = sum(n for outcome, n in load.outcomes.items() if outcome != "ok")
        parts.append(f"{load.rate:.0f} requests/s, {load.error_share:.0%} not ok")
        parts.append(f"{load.requests:,} so far, {failed:,} not ok")
    return " | ".join(parts)


@contextmanager
def shown(
    phase: Callable[[], str],
    load: Callable[[], LoadProgress | None],
    *,
    planned_s: float,
    stream: TextIO | None = None,
) -> Iterator[None]:
    """Show the line on *stream* (stderr) as long as the block lasts."""
    target = stream or sys.stderr
    terminal = target.isatty()
    before, after = (_ERASE, "") if terminal else ("", "\n")
    start = time.monotonic()
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(TERMINAL_S if terminal else LOG_S):
            left = max(0.0, planned_s - (time.monotonic() - start))
            target.write(before + line(phase(), left, load()) + after)
            target.flush()

    thread = threading.Thread(target=run, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=2)
        target.write(before)
        target.flush()
