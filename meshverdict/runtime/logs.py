"""Container logs: written a line at a time in the CRI form, rotated, read back with kubectl's options.

The lines are the record of a load test, so nothing may be lost between the program and the reader:
a reader that follows goes through rotations, and sees the last line before it sees the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from meshverdict.cluster.backend import LogOptions

ROTATE_BYTES: Final = 10 << 20
KEPT_FILES: Final = 5
_MAX_LINE: Final = 16 << 10
_READ: Final = 1 << 16
_CHUNK: Final = 1 << 16


def stamp(seconds_ns: int) -> str:
    """RFC 3339 with nanoseconds, as the CRI writes it."""
    whole, rest = divmod(seconds_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


class LogFile:
    """The log of one attempt of a container: ``N.log``, and ``N.log.1`` (older) and so on.

    Args:
        path: ``.../CONTAINER/N.log``.
        rotate_bytes: Size at which a new file is begun.
    """

    def __init__(self, path: Path, rotate_bytes: int = ROTATE_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.closed = False
        self._rotate_bytes = rotate_bytes
        self._file: IO[bytes] = path.open("ab")
        self._size = self._file.tell()
        self._changed: set[asyncio.Event] = set()
        self.rotations = 0

    def write(self, stream: str, line: bytes, now_ns: int, *, partial: bool = False) -> None:
        """Append one line (without its newline) of ``stdout`` or ``stderr``."""
        tag = b"P" if partial else b"F"
        record = b"%s %s %s %s\n" % (stamp(now_ns).encode(), stream.encode(), tag, line)
        if self._size and self._size + len(record) > self._rotate_bytes:
            self._rotate()
        self._file.write(record)
        self._size += len(record)

    def flush(self) -> None:
        """Make what was written readable, and wake those who follow."""
        self._file.flush()
        for event in self._changed:
            event.set()

    def close(self) -> None:
        """No line will come any more."""
        if not self.closed:
            self.closed = True
            self._file.close()
            for event in self._changed:
                event.set()

    def delete(self) -> None:
        """Close the log and delete its files."""
        self.close()
        for file in self.files():
            file.unlink()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(KEPT_FILES - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                if number == KEPT_FILES - 1:
                    older.unlink()
                else:
                    older.rename(self._numbered(number + 1))
        self.path.rename(self._numbered(1))
        self._file = self.path.open("wb")
        self._size = 0
        self.rotations += 1

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def files(self) -> list[Path]:
        """The files that exist, oldest first."""
        numbered = [self._numbered(n) for n in range(KEPT_FILES, 0, -1)]
        return [p for p in (*numbered, self.path) if p.exists()]

    def tail(self, lines: int, limit: int) -> bytes:
        """The last *lines* lines, at most *limit* bytes, without time stamps."""
        if not self.closed:
            self._file.flush()
        with self.path.open("rb") as file:
            records = deque(file, maxlen=lines)
        return b"".join(rendered(record, timestamps=False) for record in records)[-limit:]

    @contextlib.contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever lines were added or the log was closed."""
        event = asyncio.Event()
        self._changed.add(event)
        try:
            yield event
        finally:
            self._changed.discard(event)


class PipeLogger:
    """Reads a container's stdout and stderr and writes their lines to its log."""

    def __init__(self, log: LogFile, stdout: int, stderr: int) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._rest: dict[int, bytearray] = {}
        self._names = {stdout: "stdout", stderr: "stderr"}
        self.done: asyncio.Future[None] = self._loop.create_future()
        for descriptor in self._names:
            os.set_blocking(descriptor, False)
            self._rest[descriptor] = bytearray()
            self._loop.add_reader(descriptor, self._read, descriptor)

    async def finish(self, patience: float) -> None:
        """Wait until both streams have ended, but not longer than *patience* seconds; closes the log."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await asyncio.shield(self.done)
        for descriptor in list(self._rest):
            self._end(descriptor)
        self._log.close()

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(descriptor)
            return
        rest = self._rest[descriptor]
        rest += data
        *lines, last = rest.split(b"\n")
        now = time.time_ns()
        name = self._names[descriptor]
        for line in lines:
            self._write(name, line, now)
        while len(last) >= _MAX_LINE:
            self._log.write(name, bytes(last[:_MAX_LINE]), now, partial=True)
            del last[:_MAX_LINE]
        self._rest[descriptor] = bytearray(last)
        self._log.flush()

    def _write(self, name: str, line: bytearray, now: int) -> None:
        while len(line) > _MAX_LINE:
            self._log.write(name, bytes(line[:_MAX_LINE]), now, partial=True)
            del line[:_MAX_LINE]
        self._log.write(name, bytes(line), now)

    def _end(self, descriptor: int) -> None:
        rest = self._rest.pop(descriptor, None)
        if rest is None:
            return
        self._loop.remove_reader(descriptor)
        os.close(descriptor)
        if rest:
            self._log.write(self._names[descriptor], bytes(rest), time.time_ns(), partial=True)
            self._log.flush()
        if not self._rest and not self.done.done():
            self.done.set_result(None)


def rendered(record: bytes, *, timestamps: bool) -> bytes:
    """A stored record as kubectl prints it."""
    time_text, _, rest = record.partition(b" ")
    _stream, _, rest = rest.partition(b" ")
    tag, _, content = rest.partition(b" ")
    if tag == b"P" and content.endswith(b"\n"):
        content = content[:-1]  # a long line goes on with the next record
    return time_text + b" " + content if timestamps else content


def record_time(record: bytes) -> float:
    """When a record was written, Unix seconds."""
    text = record.partition(b" ")[0].decode()
    return datetime.fromisoformat(text[:26] + "+00:00").timestamp()


def select(records: Iterable[bytes], options: LogOptions) -> list[bytes]:
    """The records that *options* ask for, of a log that does not grow."""
    since = options.since_time
    chosen = (r for r in records if since is None or record_time(r) >= since)
    if options.tail_lines is not None:
        return list(deque(chosen, maxlen=options.tail_lines)) if options.tail_lines else []
    return list(chosen)


async def read(log: LogFile, options: LogOptions) -> AsyncIterator[bytes]:
    """The log as kubectl wants it, in chunks; with ``follow`` until the container's end."""
    left = options.limit_bytes if options.limit_bytes is not None else float("inf")
    with log.watch() as changed:
        reader = _Follower(log)
        try:
            batch = select(reader.available(), options)
            while True:
                for chunk in _chunks(batch, timestamps=options.timestamps):
                    piece = chunk if len(chunk) <= left else chunk[: int(left)]
                    left -= len(piece)
                    if piece:
                        yield piece
                    if left <= 0:
                        return
                if not options.follow:
                    return
                closed = log.closed  # before reading: what came until then is read below
                changed.clear()
                batch = list(reader.available())
                if not batch:
                    if closed:
                        return
                    await changed.wait()
        finally:
            reader.close()


def _chunks(records: Iterable[bytes], *, timestamps: bool) -> Iterator[bytes]:
    pending = bytearray()
    for record in records:
        pending += rendered(record, timestamps=timestamps)
        if len(pending) >= _CHUNK:
            yield bytes(pending)
            pending.clear()
    if pending:
        yield bytes(pending)


class _Follower:
    """Reads complete records, going on to the next file when the log was rotated."""

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._open: deque[IO[bytes]] = deque(p.open("rb") for p in log.files())
        self._rotations = log.rotations
        self._rest = b""

    def available(self) -> Iterator[bytes]:
        while self._log.rotations > self._rotations:
            # Files already open are kept by their descriptors, whatever they are called now.
            missed = self._log.rotations - self._rotations
            self._rotations = self._log.rotations
            self._open.extend(p.open("rb") for p in self._log.files()[-missed:])
        while self._open:
            while line := self._open[0].readline():
                line = self._rest + line
                self._rest = b""
                if not line.endswith(b"\n"):
                    self._rest = line
                    break
                yield line
            if len(self._open) == 1:
                return
            self._open.popleft().close()

    def close(self) -> None:
        for file in self._open:
            file.close()
