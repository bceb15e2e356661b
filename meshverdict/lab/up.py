"""Start a lab in the background and wait until it is Ready; stop it again."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO, Any, Final

from meshverdict.lab.doctor import examine, install_command, obstacles
from meshverdict.lab.manifests import load
from meshverdict.lab.options import UpOptions
from meshverdict.lab.state import LabInfo, StateFolder
from meshverdict.model.errors import LabError, UsageError
from meshverdict.model.paths import data_folder
from meshverdict.model.settings import LabSettings

Progress = Callable[[str], None]
_OTHERS_PATIENCE_S: Final = 10.0


def start(options: UpOptions, progress: Progress) -> LabInfo:
    """Start a lab; a lab of that name with the same settings that is already up is simply returned.

    Args:
        options: What to start; no manifests means the lab of the seed.
        progress: Told, line by line, what happens.

    Raises:
        UsageError: A manifest or option is wrong; nothing was started.
        LabError: The machine cannot run it, or it did not become Ready; nothing is left running.
    """
    state = StateFolder(options.name)
    running = _running(state)
    if running is not None:
        return _already_up(running, options)
    options = replace(options, manifests=options.manifests or (str(data_folder("manifests")),))
    load(options.manifest_paths())
    _refuse_unfit(options.settings)
    state.create()
    keeper = _start_keeper(options, state)
    try:
        return _await_ready(keeper, state, progress)
    except LabError:
        running = _running(state)  # somebody else's `up` of the same moment was first
        if running is None:
            raise
        return _already_up(running, options)


def _running(state: StateFolder) -> LabInfo | None:
    """The lab of this name that is up; one that starts or ends just now is waited for."""
    deadline = time.monotonic() + _OTHERS_PATIENCE_S
    while True:
        info = state.info()
        if info is not None or not state.running():
            return info
        if time.monotonic() > deadline:
            raise LabError(
                f"lab {state.name!r} is being started or stopped by another command (process {state.keeper_pid()}); "
                "wait for its end, or choose another --name"
            )
        time.sleep(0.05)


def stop(state: StateFolder, timeout: float) -> bool:
    """Stop the lab of *state*; False if none was running.

    Raises:
        LabError: It does not end, even when killed.
    """
    pid = state.keeper_pid() if state.running() else None
    if pid is None:
        state.tidy()
        return False
    with _watched(pid) as ended:
        for number, patience in ((signal.SIGTERM, timeout), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):  # it ended by itself in between
                os.kill(pid, number)
            if state.wait_stopped(patience):
                ended(patience)
                state.tidy()
                return True
    raise LabError(f"the lab's keeper, process {pid}, does not end; see {state.logs / 'keeper.log'}")


@contextlib.contextmanager
def _watched(pid: int) -> Iterator[Callable[[float], object]]:
    """Wait for the end of a process, as it lets go of its lock some moments before."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield lambda _: None
        return
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    try:
        yield lambda patience: poll.poll(patience * 1000)
    finally:
        os.close(descriptor)


def _already_up(running: LabInfo, options: UpOptions) -> LabInfo:
    flag = "" if options.name == "default" else f" --name {options.name}"
    if running.settings != options.settings:
        raise LabError(
            f"lab {options.name!r} is up with other settings ({_differences(running.settings, options.settings)}); "
            f"type `meshverdict down{flag}` first, or choose another --name"
        )
    if options.manifests and options.manifests != running.manifests:
        raise LabError(
            f"lab {options.name!r} is up with other manifests ({', '.join(running.manifests)}); apply yours with "
            f"kubectl, or type `meshverdict down{flag}` first"
        )
    if options.images and options.images != running.images:
        raise LabError(
            f"lab {options.name!r} is up with {running.images or 'no image table of yours'}, not with --images"
            f" {options.images}; type `meshverdict down{flag}` first, or choose another --name"
        )
    return running


def _differences(there: LabSettings, asked: LabSettings) -> str:
    a, b = there.as_dict(), asked.as_dict()
    return ", ".join(f"{k} is {a[k]}, asked {b[k]}" for k in a if a[k] != b[k])


def _refuse_unfit(settings: LabSettings) -> None:
    findings = examine()
    found = obstacles(findings, settings)
    if found:
        lines = [*(f"  - {o}" for o in found), *install_command(findings)]
        raise LabError("this machine cannot run the embedded lab yet:\n" + "\n".join(lines))


def _start_keeper(options: UpOptions, state: StateFolder) -> subprocess.Popen[str]:
    inherited = () if options.tie is None else (options.tie,)
    if options.tie is not None:
        try:
            os.fstat(options.tie)
        except OSError as error:
            raise UsageError(f"--tie {options.tie}: not an open file descriptor") from error
    with (state.logs / "keeper.log").open("a") as log:  # emptied by the keeper that gets the lock
        keeper = subprocess.Popen(
            [sys.executable, "-m", "meshverdict.lab.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
            pass_fds=inherited,
            cwd="/",
        )
    assert keeper.stdin is not None  # noqa: S101 - for the type checker: a pipe was asked for
    with contextlib.suppress(BrokenPipeError):  # it has ended already; `_await_ready` says so
        keeper.stdin.write(options.to_json() + "\n")
        keeper.stdin.close()
    return keeper


def _await_ready(keeper: subprocess.Popen[str], state: StateFolder, progress: Progress) -> LabInfo:
    try:
        outcome = _listen(keeper.stdout, progress)
    except BaseException:  # Ctrl-C included: a half-started lab must not stay
        keeper.kill()
        keeper.wait()
        state.wait_stopped(5.0)
        state.tidy()
        raise
    if "ready" in outcome:
        return LabInfo.from_dict(outcome["ready"])
    code = keeper.wait()
    if state.keeper_pid() == keeper.pid:  # not another's
        state.wait_stopped(5.0)
    state.tidy()
    reason = outcome.get("error") or f"its keeper ended with status {code}; see {state.logs / 'keeper.log'}"
    error = UsageError if outcome.get("usage") else LabError
    raise error(f"the lab did not come up: {reason}")


def _listen(lines: IO[str] | None, progress: Progress) -> dict[str, Any]:
    for line in lines or ():
        message: dict[str, Any] = json.loads(line)
        if "progress" in message:
            progress(message["progress"])
        else:
            return message
    return {}
