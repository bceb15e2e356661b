"""Start one process of a container: the last steps, in the child, between fork and exec.

The order matters: join the pod's namespaces, build the root, give up the user, give up every
right, close every descriptor, become the program. A failure is written to a pipe that exec closes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
import sys
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from meshverdict.runtime import linux
from meshverdict.runtime.rootfs import RootSpec, build

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshverdict.runtime.world import Identity

_FIRST_FREE_FD: Final = 3
_LONGEST_MESSAGE: Final = 4096
_TIOCSPTLCK: Final = 0x40045431
_TIOCGPTN: Final = 0x80045430


@dataclass(frozen=True, slots=True)
class Program:
    """What to execute, and as whom.

    Attributes:
        argv: Program and arguments; the program is looked up in ``env["PATH"]`` inside the container.
        uid: User id inside the container.
    """

    argv: Sequence[str]
    env: dict[str, str]
    cwd: str
    uid: int
    gid: int

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Program:
        """The value that was sent."""
        return cls(value["argv"], value["env"], value["cwd"], value["uid"], value["gid"])

    def to_json(self) -> dict[str, Any]:
        """To send it."""
        return {
            "argv": list(self.argv),
            "env": self.env,
            "cwd": self.cwd,
            "uid": self.uid,
            "gid": self.gid,
        }


@dataclass(frozen=True, slots=True)
class Streams:
    """File descriptors of the new process; with a terminal all three are the same."""

    stdin: int
    stdout: int
    stderr: int


class StartError(Exception):
    """A process could not be started; raised in the child only, the text goes to the pod's status."""


def run_first(
    program: Program,
    streams: Streams,
    *,
    namespaces: Sequence[tuple[int, int]],
    root: RootSpec,
    at: str,
    identity: Identity,
    failure: int,
) -> NoReturn:
    """In the forked child, first of its PID namespace: become the container's main process."""

    def prepare() -> None:
        os.setsid()
        for descriptor, kind in namespaces:
            linux.setns(descriptor, kind)
        os.umask(0o022)
        linux.unshare(linux.CLONE_NEWNS)
        build(root, at)
        _become(program, streams, identity, failure, new_user_namespace=True)

    _finish(prepare, program, failure)


def run_in(
    program: Program,
    streams: Streams | None,
    *,
    container: int,
    identity: Identity,
    failure: int,
    send_terminal: Callable[[int], None],
) -> NoReturn:
    """In the forked child: run *program* beside the container's main process (*container* is its pidfd).

    Without *streams* the process gets a terminal of the container, whose other end is sent away.
    """

    def prepare() -> None:
        os.setsid()
        kinds = linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
        linux.setns(container, kinds)
        terminal = _open_terminal(send_terminal) if streams is None else streams
        if identity == "single":
            linux.setns(container, linux.CLONE_NEWUSER)
        _become(program, terminal, identity, failure, new_user_namespace=False)

    _finish(prepare, program, failure)


def _open_terminal(send_terminal: Callable[[int], None]) -> Streams:
    master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, b"\0" * 4)
    number = int.from_bytes(fcntl.ioctl(master, _TIOCGPTN, b"\0" * 4), sys.byteorder)
    slave = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    send_terminal(master)
    os.close(master)
    return Streams(slave, slave, slave)


def _become(
    program: Program, streams: Streams, identity: Identity, failure: int, *, new_user_namespace: bool
) -> None:
    # Duplicated above 2 first: the given numbers may be 0, 1 or 2 themselves, in any order.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (streams.stdin, streams.stdout, streams.stderr)]
    if identity == "range":
        # /dev/stdout and the like are opened anew by programs: a pipe must be the user's. Only a pipe:
        # any other file, such as /dev/null, is the machine's.
        for descriptor in high:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.fchown(descriptor, program.uid, program.gid)
        linux.drop_bounding_set()
        os.setgroups([])
        os.setresgid(program.gid, program.gid, program.gid)
        os.setresuid(program.uid, program.uid, program.uid)
    else:
        if new_user_namespace:
            linux.unshare(linux.CLONE_NEWUSER)
            linux.write_text("/proc/self/setgroups", "deny")
            linux.write_text("/proc/self/uid_map", f"{program.uid} 0 1")
            linux.write_text("/proc/self/gid_map", f"{program.gid} 0 1")
        linux.drop_bounding_set()
    linux.drop_capabilities()
    for number, descriptor in enumerate(high):
        os.dup2(descriptor, number)
    if failure != _FIRST_FREE_FD:
        os.dup2(failure, _FIRST_FREE_FD, inheritable=False)
    linux.close_from(_FIRST_FREE_FD + 1)


def _finish(prepare: Callable[[], None], program: Program, failure: int) -> NoReturn:
    """Prepare and execute; what goes wrong is written to *failure*. Never returns."""
    try:
        # As in any container, whatever we or who started us ignore: nohup's SIGHUP, Python's SIGPIPE and SIGXFSZ.
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        fcntl.fcntl(failure, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        prepare()
        failure = _FIRST_FREE_FD
        _exec(program)
    except BaseException as error:  # noqa: BLE001 - the child must end here, with its reason told
        kind = "start" if isinstance(error, StartError) else "create"
        with contextlib.suppress(OSError):
            # Cut, because it is read in one piece, and a name that a manifest chose may be in it.
            message = (str(error) or repr(error))[:_LONGEST_MESSAGE]
            os.write(failure, json.dumps({"kind": kind, "message": message}).encode())
    os._exit(128)


def _exec(program: Program) -> NoReturn:
    try:
        os.chdir(program.cwd)
    except OSError as error:
        raise StartError(f"working directory {program.cwd}: {error.strerror}") from error
    name = program.argv[0]
    try:
        os.execvpe(name, list(program.argv), program.env)  # noqa: S606 - no shell is the point
    except FileNotFoundError as error:
        where = "no such file or directory" if "/" in name else "executable file not found in $PATH"
        raise StartError(f'exec: "{name}": {where}') from error
    except OSError as error:
        raise StartError(f'exec: "{name}": {(error.strerror or str(error)).lower()}') from error
