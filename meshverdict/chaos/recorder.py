"""What all recorders of a run share: lines added to a file of the run folder, and a thread that looks once in a while.

A recorder never ends a run: why it could write no more is kept, and spoils the run when it is judged.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType


class LineFile:
    """A file of the run folder that lines are added to, by several threads.

    Attributes:
        lines: How many were added.
        failure: Why no more are added; None as long as they are.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.lines = 0
        self.failure: str | None = None

    def add(self, lines: Iterable[bytes]) -> None:
        """Add whole lines, without their ends, in one piece."""
        texts = list(lines)
        with self._lock:
            if self.failure is not None or not texts:
                return
            try:
                with self._path.open("ab") as file:
                    file.write(b"".join(text + b"\n" for text in texts))
            except OSError as error:
                self.failure = f"{self._path}: {error.strerror}"
                return
            self.lines += len(texts)


class Recorder:
    """A thread that looks at something every so many seconds, as long as the ``with`` block lasts.

    Args:
        name: Of the thread, for people who look at it.
        path: The file that the lines are added to.
        every_s: Seconds between two looks; looks are at multiples of it on the wall clock.
        patience_s: How long the end of the block waits for the last look.

    Attributes:
        missed: Looks that got no answer.
    """

    def __init__(self, name: str, path: Path, *, every_s: float = 1.0, patience_s: float) -> None:
        self._file = LineFile(path)
        self._every_s = every_s
        self._patience_s = patience_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._began = self._ended = False
        self.missed = 0

    @property
    def name(self) -> str:
        """What it records, in a word."""
        return self._thread.name

    @property
    def failure(self) -> str | None:
        """Why no more is written; None as long as it is."""
        if self._file.failure is None and self._began and not self._ended and not self._thread.is_alive():
            return f"{self._thread.name}: ended before the run did"
        return self._file.failure

    def look(self, number: int, *, last: bool) -> None:
        """Look once, and `write` what there is. Look *number* counts from 0; the *last* one is after the stop."""
        raise NotImplementedError

    def write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add lines to the file."""
        self._file.add(json.dumps(line).encode() for line in lines)

    def __enter__(self) -> Self:
        self._began = True
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=self._patience_s)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set() and self._file.failure is None:
            self.look(number, last=False)
            number += 1
            self._stop.wait(self._every_s - time.time() % self._every_s)
        self.look(number, last=True)
        self._ended = True
