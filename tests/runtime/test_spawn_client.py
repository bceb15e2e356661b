"""The supervisor's end of the spawner: what nobody waits for any more leaves neither a process nor a descriptor."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys

import pytest

from meshverdict.runtime import frames
from meshverdict.runtime.process import Program
from meshverdict.runtime.spawn_client import Process, SpawnClient


@pytest.mark.parametrize("when", ["before both", "between", "after both"])
def test_a_terminal_whose_asker_has_gone_is_closed_and_its_program_ended(when):
    """`kubectl exec -t` that is interrupted while its program starts."""
    program = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    terminal, end = os.pipe()

    async def ask():
        ours, spawner = socket.socketpair()
        client = SpawnClient(ours, lambda: None)
        container = Process(client, 1, os.pidfd_open(os.getpid()))
        asked = asyncio.create_task(client.exec_terminal(container, Program(("sh",), {}, "/", 0, 0)))
        await asyncio.sleep(0.01)
        if when == "before both":
            asked.cancel()
            await asyncio.sleep(0.01)
        frames.send(spawner, {"id": 0, "terminal": True}, [end])
        os.close(end)
        await asyncio.sleep(0.01)
        if when == "between":
            asked.cancel()
            await asyncio.sleep(0.01)
        pidfd = os.pidfd_open(program.pid)
        frames.send(spawner, {"id": 0, "pid": program.pid}, [pidfd])
        os.close(pidfd)
        if when == "after both":
            process, kept = await asked
            assert process.pid == program.pid
            os.close(kept)
            os.kill(program.pid, signal.SIGKILL)
        else:
            with contextlib.suppress(asyncio.CancelledError):
                await asked
            await asyncio.sleep(0.05)
        container.finish(0)
        client.close()
        spawner.close()

    asyncio.run(ask())
    try:
        assert program.wait(timeout=5) == -signal.SIGKILL
        os.set_blocking(terminal, False)
        assert os.read(terminal, 1) == b"", "nobody holds the terminal's other end"
    finally:
        program.kill()
        program.communicate()
        os.close(terminal)
