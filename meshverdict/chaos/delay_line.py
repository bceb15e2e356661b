"""Keep what the line between the zones tells of itself, beside the other telemetry, and judge the run by it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.delay_line import delay_line_reasons
from meshverdict.load.follow import follow, pod_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from meshverdict.chaos.cluster import KubeAccess

NAMESPACE: Final = "meshverdict-system"
POD: Final = "delay-line"
CONTAINER: Final = "delay"


class DelayLog:
    """The delay line's log of one run, added to a file as it arrives.

    Attributes:
        failure: Why no more is written, if the file could not be.
    """

    def __init__(self, access: KubeAccess, path: Path, delay_ms: float) -> None:
        self._access = access
        self._path = path
        self._delay_ms = delay_ms
        self._start = time.time()
        self._lines: list[dict[str, Any]] = []
        self._newest = self._start
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="delay line", daemon=True)
        self.failure: str | None = None

    def start(self) -> None:
        """Follow the log."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join(timeout=0.5)

    def reasons(self, start: float, end: float) -> tuple[str, ...]:
        """Why the zones were not as far apart as they should be between two moments, in words."""
        return delay_line_reasons(list(self._lines), self._delay_ms, start, end)

    def _follow(self) -> None:
        log = pod_log(self._access.core, POD, NAMESPACE, CONTAINER)
        first = max(1, int(time.time() - self._start) + 2)
        follow(lambda since: log(since or first), self._feed, lambda: False, self._stop)

    def _feed(self, text: bytes) -> int | None:
        try:
            line = json.loads(text)
        except ValueError:
            return None
        if not isinstance(line, dict) or "delay_line" not in line:
            return None
        # A connection made again begins before the last line that arrived.
        if line["t"] > self._newest:
            self._newest = line["t"]
            self._take(line, text)
        return int(line["t"])

    def _take(self, line: dict[str, Any], text: bytes) -> None:
        self._lines.append(line)
        if self.failure is not None:
            return
        try:
            with self._path.open("ab") as file:
                file.write(text.strip() + b"\n")
        except OSError as error:
            self.failure = f"{self._path}: {error.strerror}"


@contextmanager
def recording(access: KubeAccess, path: Path, delay_ms: float) -> Iterator[DelayLog]:
    """A delay line's log that is followed as long as the block lasts."""
    log = DelayLog(access, path, delay_ms)
    log.start()
    try:
        yield log
    finally:
        log.stop()
