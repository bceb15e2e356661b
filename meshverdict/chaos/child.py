"""One ``chaos run`` as a child process that is never left alone with a changed cluster.

It is in a process group of its own, so that Ctrl-C reaches it once, through us, and it can roll back in
peace. If we are killed, the kernel interrupts it. Until it has ended it holds the campaign's lock, so the next
campaign in the same folder waits for the rollback of the last one.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG: Final = 1
# A run that was interrupted rolls back, ends its load and writes its folder.
LOCK_PATIENCE_S: Final = 60.0


def chaos_run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    lock: int | None,
    seconds: float | None = None,
) -> int:
    """Run it to its end, whatever happens; returns its exit status.

    Args:
        arguments: After ``chaos run``.
        environment: All of it.
        lock: A file descriptor that it keeps open.
        seconds: After so long it is interrupted, and rolls back.

    Raises:
        KeyboardInterrupt: It was interrupted with us, and has ended.
    """
    argv = [sys.executable, "-m", "chaostoolkit", "--no-version-check", "run", *arguments]
    process = subprocess.Popen(
        argv,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        # Its words are for the person who waits; standard output is for the answer alone.
        stdout=sys.stderr,
        process_group=0,
        pass_fds=() if lock is None else (lock,),
        preexec_fn=_interrupted_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509 - one thread
    )
    interrupted = False
    while True:
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            seconds = None
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            continue
        except KeyboardInterrupt:
            interrupted = True
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            continue
        if interrupted:
            raise KeyboardInterrupt
        return status


def _interrupted_with(parent: int) -> Callable[[], None]:
    """What the child does before it becomes ``chaos``: ask to be interrupted when *parent* dies."""
    library = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background jobs ignore it
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return prepare


@contextmanager
def held(path: Path, progress: Callable[[str], None]) -> Iterator[int]:
    """Hold a lock file; its descriptor may be passed to children, which then hold it too.

    Raises:
        LabError: Somebody else holds it for longer than a rollback takes.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _wait_for(descriptor, path, progress)
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path, progress: Callable[[str], None]) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE_S
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LabError(
                    f"{path.parent}: another campaign is being run in this folder; wait for its end, or choose"
                    " --reports DIR"
                ) from None
            if not told:
                progress(f"waiting for the end of another run in {path.parent}")
                told = True
            time.sleep(0.2)
        else:
            return
