"""Put record lines where they were asked for, whole lines at once, and count them for the end line."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Protocol

from meshverdict.model.errors import RecordError
from meshverdict.model.record import End

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from meshverdict.model.record import Header, Line, Reason

STDOUT = "-"


class Target(Protocol):
    """Where a record's lines go: `RecordWriter`, `Relay`, or nowhere (`Discard`)."""

    def begin(self, header: Header) -> None:
        """Take the header; a record before it is over."""

    def write(self, lines: Iterable[Line]) -> None:
        """Take lines."""

    def end(self, when: float, reason: Reason) -> None:
        """Take the end."""


class Discard:
    """Nobody asked for the record."""

    def begin(self, header: Header) -> None:
        """Ignore it."""

    def write(self, lines: Iterable[Line]) -> None:
        """Ignore them."""

    def end(self, when: float, reason: Reason) -> None:
        """Ignore it."""


class RecordWriter:
    """Writes one record after the other to a file descriptor.

    Args:
        descriptor: An open file descriptor; the writer does not close it.
        where: Its name, for messages.
        w: Worker number for the end line; None when the record holds all workers.
    """

    def __init__(self, descriptor: int, where: str, *, w: int | None = None) -> None:
        self._descriptor = descriptor
        self._where = where
        self._w = w
        self._lines = 0

    def begin(self, header: Header) -> None:
        """Write the header."""
        self._lines = 0
        self.write([header])

    def write(self, lines: Iterable[Line]) -> None:
        """Write lines; they have left this process when it returns.

        Raises:
            RecordError: The disk is full, the reader is gone...
        """
        batch = [json.dumps(line.as_json(), separators=(",", ":")) for line in lines]
        if not batch:
            return
        data = memoryview(("\n".join(batch) + "\n").encode())
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise RecordError(
                f"the load record cannot be written to {self._where}: {error.strerror}"
            ) from error
        self._lines += len(batch)

    def end(self, when: float, reason: Reason) -> None:
        """Write the end line."""
        self.write([End(round(when, 3), reason, self._lines + 1, self._w)])


def open_new(path: Path) -> tuple[int, RecordWriter]:
    """A new file for a record, and its writer; the caller closes the descriptor.

    Raises:
        RecordError: The file is there already, or cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordError(f"load record {path}: {error.strerror}; a run folder takes one record") from error
    return descriptor, RecordWriter(descriptor, str(path))


def open_writer(where: str, *, w: int | None = None) -> RecordWriter:
    """A writer to standard output (``-``) or to a new file.

    With ``-``, standard output is for the record alone: what else the process prints goes to standard error.

    Raises:
        RecordError: The file cannot be made.
    """
    if where == STDOUT:
        sys.stdout.flush()
        descriptor = os.dup(1)
        os.dup2(2, 1)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # Locust keeps the real stdout
        return RecordWriter(descriptor, "standard output", w=w)
    try:
        descriptor = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise RecordError(
            f"--record {where}: {error.strerror}; name a file in a folder that exists"
        ) from error
    return RecordWriter(descriptor, where, w=w)
