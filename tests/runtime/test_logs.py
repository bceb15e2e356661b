"""Container logs: nothing lost between a program and its reader, through rotation and to the last line."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from meshverdict.cluster.backend import LogOptions
from meshverdict.runtime.logs import KEPT_FILES, LogFile, PipeLogger, read, stamp

T0 = 1_790_000_000_000_000_000


async def text(log: LogFile, **options: Any) -> str:
    return b"".join([c async for c in read(log, LogOptions(**options))]).decode()


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    made = LogFile(tmp_path / "c" / "0.log")
    for i in range(5):
        made.write("stdout", f"line {i}".encode(), T0 + i * 1_000_000_000)
    made.flush()
    return made


def test_the_file_has_the_cri_form(log: LogFile) -> None:
    """Time with nanoseconds, stream, F or P, and the line."""
    first = log.path.read_text().splitlines()[0]
    assert first == "2026-09-21T14:13:20.000000000Z stdout F line 0"
    log.close()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "line 0\nline 1\nline 2\nline 3\nline 4\n"),
        ({"tail_lines": 2}, "line 3\nline 4\n"),
        ({"tail_lines": 0}, ""),
        ({"tail_lines": 99}, "line 0\nline 1\nline 2\nline 3\nline 4\n"),
        ({"limit_bytes": 10}, "line 0\nlin"),
        ({"since_time": 1_790_000_003.0}, "line 3\nline 4\n"),
        ({"timestamps": True, "tail_lines": 1}, "2026-09-21T14:13:24.000000000Z line 4\n"),
    ],
)
async def test_options_of_kubectl_logs(log: LogFile, options: dict[str, Any], expected: str) -> None:
    """tail, limit, since and timestamps."""
    assert await text(log, **options) == expected
    log.close()


async def test_following_sees_every_line_and_ends_with_the_container(tmp_path: Path) -> None:
    """10,000 lines through many rotations; the reader gets each of them once, in order."""
    log = LogFile(tmp_path / "c" / "0.log", rotate_bytes=20_000)

    async def write() -> None:
        for i in range(10_000):
            log.write("stdout", b"%d" % i, T0 + i)
            if i % 50 == 0:
                log.flush()
                await asyncio.sleep(0)
        log.flush()
        log.close()

    follower = asyncio.create_task(text(log, follow=True))
    await asyncio.sleep(0)
    await write()
    async with asyncio.timeout(10):
        assert (await follower).split() == [str(i) for i in range(10_000)]
    assert len(log.files()) <= KEPT_FILES
    assert sum(f.stat().st_size for f in log.files()) < 20_000 * (KEPT_FILES + 1)


async def test_programs_write_pipes_and_long_lines_come_out_whole(tmp_path: Path) -> None:
    """A line of 100 kB, a last line without its end, both streams; read back byte for byte."""
    log = LogFile(tmp_path / "c" / "0.log")
    out_reader, out_writer = os.pipe()
    err_reader, err_writer = os.pipe()
    logger = PipeLogger(log, out_reader, err_reader)
    loop = asyncio.get_running_loop()
    long = b"x" * 100_000 + b"\n"
    await loop.run_in_executor(None, os.write, err_writer, b"oops\n")
    await asyncio.sleep(0.02)
    await loop.run_in_executor(None, _write_all, out_writer, long + b"short\nunfinished")
    for descriptor in (out_writer, err_writer):
        os.close(descriptor)
    await logger.finish(5)
    assert await text(log) == "oops\n" + long.decode() + "short\nunfinished"
    assert b" stderr F oops" in log.path.read_bytes()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


async def test_a_child_that_keeps_the_pipe_open_does_not_hold_the_end_up(tmp_path: Path) -> None:
    """Finish waits for its patience only."""
    log = LogFile(tmp_path / "c" / "0.log")
    pipes = [os.pipe(), os.pipe()]
    logger = PipeLogger(log, pipes[0][0], pipes[1][0])
    async with asyncio.timeout(2):
        await logger.finish(0.05)
    assert log.closed
    for _, writer in pipes:
        os.close(writer)


def test_the_tail_is_for_termination_messages(log: LogFile) -> None:
    """The last lines without time stamps, cut from the front."""
    assert log.tail(2, 100) == b"line 3\nline 4\n"
    assert log.tail(2, 7) == b"line 4\n"
    log.delete()
    assert log.files() == []


def test_stamps_have_nine_digits() -> None:
    """As the CRI and kubectl expect."""
    assert stamp(1) == "1970-01-01T00:00:00.000000001Z"
