"""Enter the private world: one user, mount, PID, UTS, IPC and network namespace that holds a whole lab.

It is a world and not a set of namespaces because of how it ends: the first process of its PID namespace
dies with the keeper, and everything else dies with that process, whoever was killed and however hard.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from meshverdict.model.errors import LabError
from meshverdict.runtime import linux

Identity = Literal["range", "single"]

RANGE_START: Final = 100_000
RANGE_LENGTH: Final = 65_535
_FLAGS: Final = (
    linux.CLONE_NEWUSER
    | linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWNET
)

_ADOPTED: Final = b"adopted"

# (file, what forbids, how to allow): the first that applies is the reason that doctor gives.
_SWITCHES: Final = (
    ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces", "15000"),
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone", "1"),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns",
        "0",
    ),
)


@dataclass(frozen=True, slots=True)
class NamespaceSupport:
    """Whether this user may make a world here; if not, why, and what a person would change."""

    ok: bool
    reason: str = ""
    remedy: str = ""


def probe_user_namespaces() -> NamespaceSupport:
    """Try in a child process to make the namespaces of a world, and name the setting that forbids it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _try_world(writer)
    os.close(writer)
    with os.fdopen(reader) as stream:
        failure = stream.read()
    os.waitpid(child, 0)
    if not failure:
        return NamespaceSupport(ok=True)
    return NamespaceSupport(ok=False, **explain_refusal(failure, dict(_current_switches())))


def explain_refusal(failure: str, switches: dict[str, str]) -> dict[str, str]:
    """The reason and remedy for *failure*, given the values of the kernel's switches by file name."""
    for file, forbidding, name, allowing in _SWITCHES:
        if switches.get(file) == forbidding:
            return {
                "reason": f"the kernel setting {name} is {forbidding}, which forbids user namespaces ({failure})",
                "remedy": f"as root: sysctl -w {name}={allowing}",
            }
    return {
        "reason": f"the kernel refuses user namespaces: {failure}",
        "remedy": "inside a container start it with the rights to make namespaces (docker run --privileged), "
        "or name a real cluster with --context",
    }


def _current_switches() -> list[tuple[str, str]]:
    found = []
    for file, _forbidding, _name, _allowing in _SWITCHES:
        path = Path(file)
        if path.exists():
            found.append((file, path.read_text().strip()))
    return found


def _try_world(writer: int) -> None:
    """In the child: make the namespaces, mount a proc; write the failure, if any, and end."""
    try:
        uid, gid = os.geteuid(), os.getegid()
        linux.unshare(_FLAGS)
        if uid != 0:
            _write_maps("self", _single(uid), _single(gid), deny_groups=True)
        linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
        first = os.fork()  # of the new PID namespace, to which we do not belong ourselves
        if first == 0:
            _try_proc(writer)
        os.waitpid(first, 0)
    except OSError as error:
        os.write(writer, str(error.strerror or error).encode())
    os._exit(0)


def _try_proc(writer: int) -> None:
    """In a container whose /proc is partly hidden the kernel allows no new one."""
    try:
        linux.mount("proc", "/proc", "proc")
    except OSError as error:
        os.write(writer, f"a new /proc: {error.strerror or error}".encode())
    os._exit(0)


def _single(outside: int) -> str:
    return f"0 {outside} 1"


def _range() -> str:
    return f"0 0 1\n1 {RANGE_START + 1} {RANGE_LENGTH}"


def _write_maps(process: int | str, uids: str, gids: str, *, deny_groups: bool) -> None:
    if deny_groups:
        linux.write_text(f"/proc/{process}/setgroups", "deny")
    linux.write_text(f"/proc/{process}/uid_map", uids)
    linux.write_text(f"/proc/{process}/gid_map", gids)


def _map_from_outside(child: int) -> Identity:
    """Map the child's ids: root gets a range of its own, a plain user (or a confined root) one id."""
    if os.geteuid() == 0:
        try:
            _write_maps(child, _range(), _range(), deny_groups=False)
        except PermissionError:
            pass  # root of a container without that range: as a plain user then
        else:
            return "range"
    _write_maps(child, _single(os.geteuid()), _single(os.getegid()), deny_groups=True)
    return "single"


@dataclass(frozen=True, slots=True)
class Entered:
    """What :func:`fork_world` tells: in the keeper ``pid`` is the world's first process, inside it is 0."""

    pid: int
    identity: Identity
    lifeline: int  # keeper: write end, to be held; world: read end, readable when the keeper is gone


def fork_world() -> Entered:
    """Fork into a new world; returns twice, as fork does.

    The helper between the two processes makes the namespaces, because the process that makes a user
    namespace cannot map a range of ids, and must have one thread only.

    Raises:
        LabError: The kernel refuses; the message names the setting (in the caller only).
    """
    linux.set_child_subreaper()  # so that the world's first process becomes the keeper's own child
    life_reader, life_writer = os.pipe()
    ready_reader, ready_writer = os.pipe()
    mapped_reader, mapped_writer = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(life_writer)
        os.close(ready_reader)
        os.close(mapped_writer)
        identity = _become_first_process(ready_writer, mapped_reader, life_reader)
        return Entered(pid=0, identity=identity, lifeline=life_reader)
    os.close(life_reader)
    os.close(ready_writer)
    os.close(mapped_reader)
    try:
        return _outside(helper, ready_reader, mapped_writer, life_writer)
    finally:
        os.close(ready_reader)
        os.close(mapped_writer)


def _outside(helper: int, ready: int, mapped: int, lifeline: int) -> Entered:
    said = os.read(ready, 4096).decode()
    identity: Identity = "single"
    failure = said if said != "unshared" else ""
    if not failure:
        try:
            identity = _map_from_outside(helper)
        except OSError as error:
            failure = str(error)
    if failure:
        os.write(mapped, b"failed")
        os.waitpid(helper, 0)
        os.close(lifeline)
        why = explain_refusal(failure, dict(_current_switches()))
        raise LabError(f"cannot make the lab's private world: {why['reason']}; {why['remedy']}")
    os.write(mapped, identity.encode())
    pid = int(os.read(ready, 64) or b"0")
    os.waitpid(helper, 0)
    # Only now is the keeper its parent: told before the helper was reaped, it would die with the helper.
    with contextlib.suppress(BrokenPipeError):  # it has died already, which the keeper will see
        os.write(mapped, _ADOPTED)
    if not pid:
        os.close(lifeline)
        raise LabError("the lab's first process ended before it began: see the messages above")
    return Entered(pid=pid, identity=identity, lifeline=lifeline)


def _become_first_process(ready: int, mapped: int, lifeline: int) -> Identity:
    """In the helper: make the namespaces and fork; only the world's first process returns."""
    try:
        linux.unshare(_FLAGS)
    except OSError as error:
        os.write(ready, str(error.strerror or error).encode())
        os._exit(1)
    os.write(ready, b"unshared")
    answer = os.read(mapped, 64).decode()
    if answer not in ("range", "single"):
        os._exit(1)
    pid = os.fork()
    if pid:
        os.write(ready, str(pid).encode())
        os._exit(0)
    os.close(ready)
    if os.read(mapped, 64) != _ADOPTED:
        os._exit(1)
    os.close(mapped)
    _tie_to_keeper(lifeline)
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    return "range" if answer == "range" else "single"


def _tie_to_keeper(lifeline: int) -> None:
    linux.set_parent_death_signal(signal.SIGKILL)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN | select.POLLHUP)
    if poll.poll(0):
        os._exit(1)  # the keeper died before the kernel was asked to tell
