"""The end of a run is not interrupted: what took minutes to measure would be lost in the second in which it is written."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger("chaostoolkit")


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let the block end in spite of one Ctrl-C or SIGTERM, which is answered in words; a second one is heard as before.

    The block follows a run that is over, so there is nothing left that the signal would have to stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are another thread's
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)

    def note(number: int, _frame: FrameType | None) -> None:
        restore()
        log.warning(
            "%s: the run is over, its folder is being written; once more ends it without",
            signal.Signals(number).name,
        )

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        restore()
