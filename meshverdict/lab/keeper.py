"""The background process that `up` starts: takes the lock, binds the host's sockets, runs the world.

It reads its options as one line of JSON from standard input, and tells `up` what happens by lines of
JSON on standard output, which it lets go of as soon as the lab is Ready or has failed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any

from meshverdict.lab.options import UpOptions
from meshverdict.lab.state import StateFolder
from meshverdict.model.errors import LabError, MeshverdictError, UsageError
from meshverdict.model.limits import raise_file_limit
from meshverdict.runtime.keeper import KeeperOptions, WorldHandle, run_world

LOCK_PATIENCE_S = 1.0  # somebody who asks whether a lab runs holds the lock for an instant
NEXT_PORTS = 20
_BACKLOG = 512
_FILES = 65_536


class Teller:
    """Tells the waiting `up` what happens; silent once it has gone or has been told the outcome."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def progress(self, text: str) -> None:
        """One line for the person who waits."""
        self._send({"progress": text})

    def ready(self, info: dict[str, Any]) -> None:
        """The lab is Ready; nothing more will be said."""
        self._send({"ready": info})
        self.close()

    def failed(self, error: Exception) -> None:
        """The lab will not be Ready, and why."""
        self._send({"error": str(error), "usage": isinstance(error, UsageError)})
        self.close()

    def close(self) -> None:
        """Let go of the pipe."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _send(self, message: dict[str, Any]) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:  # `up` was interrupted; the lab itself goes on
            self.close()


@dataclass(frozen=True, slots=True)
class Plan:
    """What the supervisor is started with, beside its world."""

    options: UpOptions
    state: StateFolder
    keeper_pid: int
    started: float
    api_port: int
    ingress_port: int


def bind(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1; port 0 is any free one."""
    return socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)


def bind_ingress(port: int, tell: Teller) -> socket.socket:
    """Bind *port*, or the next free one when it is taken, and say so.

    Raises:
        LabError: This user may not use the port, or none of the next ones is free.
    """
    if not 1 <= port <= 65535 - NEXT_PORTS:
        raise UsageError(f"--port {port}: between 1 and {65535 - NEXT_PORTS}")
    for candidate in range(port, port + NEXT_PORTS):
        try:
            bound = bind(candidate)
        except OSError as error:
            if error.errno == errno.EACCES:
                raise LabError(
                    f"port {candidate} of 127.0.0.1 is not for this user; choose one above 1023 with --port"
                ) from error
            if error.errno != errno.EADDRINUSE:
                raise LabError(f"port {candidate} of 127.0.0.1: {error.strerror}") from error
            continue
        if candidate != port:
            tell.progress(f"port {port} of 127.0.0.1 is taken: the ingress is published on {candidate}")
        return bound
    raise LabError(
        f"ports {port} to {port + NEXT_PORTS - 1} of 127.0.0.1 are all taken; choose another with --port"
    )


def take_lock(state: StateFolder) -> int:
    """Hold the lock of the lab, and write our process id into it."""
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while (descriptor := state.lock()) is None:
        if time.monotonic() > deadline:
            raise LabError(
                f"lab {state.name!r} is being started by another process; wait for it, or choose another --name"
            )
        time.sleep(0.02)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def run(options: UpOptions, tell: Teller) -> int:
    """Run one lab until it ends; returns its exit status."""
    from meshverdict.lab.serve import supervise  # noqa: PLC0415 - after the lock, before the world: one import for both

    state = StateFolder(options.name)
    lock = take_lock(state)
    state.forget()
    with contextlib.suppress(OSError):  # not a file
        os.ftruncate(2, 0)  # the log of the lab before
    api, ingress = bind(0), bind_ingress(options.port, tell)
    plan = Plan(
        options=options,
        state=state,
        keeper_pid=os.getpid(),
        started=time.time(),
        api_port=api.getsockname()[1],
        ingress_port=ingress.getsockname()[1],
    )
    scratch = state.path / "world"
    scratch.mkdir(exist_ok=True, mode=0o700)

    def main(world: WorldHandle) -> int:
        return supervise(world, plan, tell)

    settings = KeeperOptions(
        scratch=scratch, sockets={"api": api, "ingress": ingress}, tie=options.tie, on_end=state.forget
    )
    try:
        return run_world(main, settings)
    finally:
        os.close(lock)


def entry() -> int:
    """Start from the command line of `up`."""
    # A lab outlives the terminal that started it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise_file_limit(_FILES)  # each container has pipes and a log, and programs in pods have what we have
    options = UpOptions.from_json(sys.stdin.readline())
    told = os.dup(1)
    os.dup2(2, 1)  # what libraries print belongs into the log
    tell = Teller(told)
    try:
        return run(options, tell)
    except MeshverdictError as error:
        tell.failed(error)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(entry())
