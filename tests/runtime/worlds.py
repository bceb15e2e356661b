"""Run a coroutine as the supervisor of a real world, and bring its failure back into the test."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from meshverdict.runtime.keeper import KeeperOptions, WorldHandle, run_world

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
        except BaseException:
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
