"""The Linux calls that Python 3.11 lacks, by ctypes, so that pods need no helper programs and no extra package.

Every failure is an OSError whose text says what was tried.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2

_AT_FDCWD: Final = -100
_AT_RECURSIVE: Final = 0x8000

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
_PR_CAPBSET_DROP: Final = 24
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_MOUNT_SETATTR: Final = 442
_CLOSE_RANGE: Final = 436
_CAPSET: Final = {"x86_64": 126, "aarch64": 91}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.syscall.restype = ctypes.c_long


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces of *flags* for new ones; a new user namespace needs a single-threaded caller."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def setns(fd: int, flags: int) -> None:
    """Join a namespace (or, with a pidfd, several namespaces of a process)."""
    _check(_libc.setns(fd, flags), f"setns({flags:#x})")


def mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None
) -> None:
    """Mount, bind or change a mount, as the system call of that name."""
    args = [None if x is None else os.fsencode(x) for x in (source, target, kind, data)]
    result = _libc.mount(args[0], args[1], args[2], flags, args[3])
    _check(result, f"mount {source or kind} on {target}")


def bind(source: str, target: str, *, readonly: bool) -> None:
    """Show *source* with everything mounted below it at *target*; never set-user-id."""
    mount(source, target, None, MS_BIND | MS_REC)
    restrict(target, MOUNT_ATTR_NOSUID | (MOUNT_ATTR_RDONLY if readonly else 0))


def restrict(target: str, attributes: int) -> None:
    """Add mount attributes to a mount and all below it; needs Linux 5.12."""
    attr = _MountAttr(attr_set=attributes)
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(target)),
        ctypes.c_uint(_AT_RECURSIVE),
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )
    _check(result, f"mount_setattr {target} (Linux 5.12 or newer)")


def pivot_root(new_root: str) -> None:
    """Make *new_root* (a mount point) the root of this mount namespace, and forget the old one."""
    os.chdir(new_root)
    number = _PIVOT_ROOT[platform.machine()]
    # Old root is stacked over the new one, then taken off: no folder for it is needed.
    result = _libc.syscall(ctypes.c_long(number), ctypes.c_char_p(b"."), ctypes.c_char_p(b"."))
    _check(result, f"pivot_root {new_root}")
    _check(_libc.umount2(b".", MNT_DETACH), "umount2 old root")
    os.chdir("/")


def set_parent_death_signal(number: int) -> None:
    """Have the kernel send this signal to the caller when the thread that made it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def set_child_subreaper() -> None:
    """Orphaned descendants become the caller's children."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl(PR_SET_CHILD_SUBREAPER)")


def set_dumpable() -> None:
    """Own ``/proc/self`` again after a change of user ids (needed to write the id maps)."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(PR_SET_DUMPABLE)")


def set_process_name(name: str) -> None:
    """The name that ``ps`` and ``top`` show (15 bytes)."""
    _check(_libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0), "prctl(PR_SET_NAME)")


def drop_bounding_set() -> None:
    """No program that is executed later can gain a capability; needs CAP_SETPCAP, so before the rest."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # past the kernel's last capability


def drop_capabilities() -> None:
    """No capability now, and no set-user-id program later."""
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    number = _CAPSET[platform.machine()]
    _check(_libc.syscall(ctypes.c_long(number), ctypes.byref(header), ctypes.byref(data)), "capset")
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def close_from(first: int) -> None:
    """Close every file descriptor from *first* on."""
    result = _libc.syscall(
        ctypes.c_long(_CLOSE_RANGE), ctypes.c_uint(first), ctypes.c_uint(0xFFFFFFFF), ctypes.c_uint(0)
    )
    if result < 0:
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def open_namespace(kind: str) -> int:
    """A file descriptor of the caller's own namespace *kind* (``net``, ``uts``, ``ipc``, ``pid``...).

    Of the calling thread: ``/proc/self`` would be the process's first thread.
    """
    return os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def open_child_pid_namespace() -> int:
    """The PID namespace that the caller's next children will be in."""
    return os.open("/proc/self/ns/pid_for_children", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def in_network(fd: int) -> Iterator[None]:
    """The calling thread is in another network namespace; sockets made here stay in it for good."""
    home = open_namespace("net")
    try:
        setns(fd, CLONE_NEWNET)
        try:
            yield
        finally:
            setns(home, CLONE_NEWNET)
    finally:
        os.close(home)


def socket_in(fd: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket that belongs to the network namespace *fd*."""
    with in_network(fd):
        return socket.socket(family, kind, protocol)


def write_text(path: str, text: str) -> None:
    """Write to a file of /proc in one write, as the kernel wants it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"write {text!r} to {path}: {error.strerror}") from error
    finally:
        os.close(descriptor)
