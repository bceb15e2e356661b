"""Run a coroutine as the supervisor of a real world, and bring its failure back into the test."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from meshverdict.runtime import linux
from meshverdict.runtime.keeper import KeeperOptions, WorldHandle, run_world

NOBODY = 65534
Body = Callable[[WorldHandle], Awaitable[None]]


def in_world(body: Body, folder: Path) -> None:
    """Run *body* in a new world; raises AssertionError with its traceback if it failed."""
    scratch = folder / "world"
    scratch.mkdir()
    reader, writer = os.pipe()

    async def supervise(world: WorldHandle) -> None:
        async with asyncio.timeout(60):
            await body(world)

    def main(world: WorldHandle) -> int:
        try:
            asyncio.run(supervise(world))
        except BaseException:  # noqa: BLE001 - brought into the test
            os.write(writer, traceback.format_exc().encode()[-60_000:])
            return 1
        return 0

    status = run_world(main, KeeperOptions(scratch=scratch))
    os.close(writer)
    with os.fdopen(reader) as stream:
        failure = stream.read()
    assert not failure, failure
    assert status == 0
    assert list(scratch.iterdir()) == [], "the world's scratch space is seen outside"


def plain_user_world(body: Body, folder: Path) -> None:
    """The same in a process that has given up root before it makes its world; skips where it could not read us."""
    if any(not p.stat().st_mode & stat.S_IXOTH for p in Path(__file__).resolve().parents):
        pytest.skip("this checkout is in a folder that other users may not enter")
    # Not below *folder*: pytest closes the way to it for others whenever it starts, also a second time beside us.
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-") as own:
        os.chown(own, NOBODY, NOBODY)
        _as_plain_user(body, Path(own))


def _as_plain_user(body: Body, own: Path) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            become_plain_user()
            in_world(body, own)
            status = 0
        except BaseException as error:  # noqa: BLE001 - brought into the test
            os.write(writer, str(error).encode()[-60_000:])
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as stream:
        failure = stream.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, failure


def become_plain_user() -> None:
    """Give up root for good, in this process."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    linux.set_dumpable()
