"""The file system of a container: what of this machine it may see, and where its volumes are.

A container starts from an empty tmpfs. It sees /usr and the Python in use, read-only, and of /etc only
what programs need to run: no home folder, no project, no other pod. :func:`host_view` decides what is
shown, :func:`build` does the mounts in a process that already has a mount namespace of its own.
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from meshverdict.runtime import linux

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC: Final = (
    "/etc/alternatives",
    "/etc/ca-certificates.conf",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl",
    "/etc/timezone",
)
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_WRITABLE: Final = ("/tmp", "/run", "/var/tmp", "/var/log", "/var/lib", "/var/cache", "/data")  # noqa: S108
_READONLY_AGAIN: Final = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
_ROOT_SIZE: Final = "size=512m"
_MAX_LINKS: Final = 40
HOME: Final = "/home/app"


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of this machine, shown in a container."""

    source: str
    target: str
    readonly: bool = True

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Mount:
        """The value that was sent."""
        return cls(value["source"], value["target"], value["readonly"])

    def to_json(self) -> dict[str, Any]:
        """To send it."""
        return {"source": self.source, "target": self.target, "readonly": self.readonly}


@dataclass(frozen=True, slots=True)
class HostView:
    """What every container sees of this machine: read-only mounts and symbolic links."""

    mounts: tuple[Mount, ...]
    links: tuple[tuple[str, str], ...]  # (where, what it points to)


def python_folders() -> list[str]:
    """The folders that the Python in use runs from, with this package."""
    package = str(Path(__file__).resolve().parents[1])
    return [sys.prefix, sys.base_prefix, os.path.realpath(sys.prefix), package]


def host_view(extra: Iterable[str] = ()) -> HostView:
    """Look at this machine; *extra* are more folders to show read-only, at their own path."""
    mounts: list[Mount] = []
    links: list[tuple[str, str]] = []
    for path in _SYSTEM:
        if Path(path).is_symlink():
            links.append((path, str(Path(path).readlink())))
        elif Path(path).is_dir():
            mounts.append(Mount(path, path))
    for path in _ETC:
        if Path(path).is_symlink():
            links.append((path, str(Path(path).readlink())))
        elif Path(path).exists():
            mounts.append(Mount(path, path))
    shown = [m.target for m in mounts]
    for path in sorted({*python_folders(), *extra}):
        inside = any(PurePosixPath(path).is_relative_to(s) for s in shown)
        # os.path: a folder that this user may not even look at is no folder to show
        if not inside and os.path.exists(path):  # noqa: PTH110
            mounts.append(Mount(path, path))
            shown.append(path)
    return HostView(tuple(mounts), tuple(links))


@dataclass(frozen=True, slots=True)
class RootSpec:
    """One container's root.

    Attributes:
        etc: Folder whose files become the container's own /etc files (hosts, resolv.conf, passwd...).
        volumes: Mounts on top, parents first.
        folders: More folders that the container may write to.
        uid: Owner of home and the writable folders, as seen in the world.
    """

    view: HostView
    etc: str
    volumes: Sequence[Mount]
    folders: Sequence[str]
    uid: int
    gid: int
    readonly: bool


def build(spec: RootSpec, at: str) -> None:
    """Build the root at the folder *at* and move into it; needs an own mount and PID namespace."""
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", at, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"mode=0755,{_ROOT_SIZE}")
    for link, target in spec.view.links:
        _parents(at, link)
        Path(at + link).symlink_to(target)
    for mount in spec.view.mounts:
        _show(at, mount)
    _etc(at, spec.etc)
    _devices(at)
    Path(at, "proc").mkdir()
    linux.mount("proc", f"{at}/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    Path(at, "sys").mkdir()
    for folder in (*_WRITABLE, HOME):
        _own(at, folder, spec)
    Path(at, "var/run").symlink_to("../run")
    for volume in spec.volumes:
        target = resolve(at, volume.target)
        _mount_point(at, target, folder=Path(volume.source).is_dir())
        linux.bind(volume.source, at + target, readonly=volume.readonly)
    for mount in hidden(spec.view, [resolve(at, v.target) for v in spec.volumes]):
        _mount_point(at, mount.target, folder=Path(mount.source).is_dir())
        linux.bind(mount.source, at + mount.target, readonly=True)
    for folder in spec.folders:
        target = resolve(at, folder)
        if not Path(at + target).exists():
            _mount_point(at, target, folder=True)
            _own(at, target, spec)
    if spec.readonly:
        linux.mount(None, at, None, _READONLY_AGAIN)
    linux.pivot_root(at)


def hidden(view: HostView, volumes: Sequence[str]) -> list[Mount]:
    """What a volume above it would cover, such as a checkout below /tmp under an emptyDir at /tmp."""
    return [
        m
        for m in view.mounts
        if any(m.target != v and PurePosixPath(m.target).is_relative_to(v) for v in volumes)
    ]


def resolve(at: str, path: str) -> str:
    """Where *path* leads inside the root *at*, links followed as the container will: never out of it.

    Until the root is the root, the kernel would follow ``/var/run -> /run`` to this machine's own.
    """
    done = PurePosixPath("/")
    todo = list(reversed(PurePosixPath("/", path).parts[1:]))
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            done = done.parent
            continue
        here = Path(at + str(done / part))
        if not here.is_symlink():
            done /= part
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(f"too many symbolic links in {path}")
        target = here.readlink()
        if target.is_absolute():
            done = PurePosixPath("/")
        todo += [p for p in reversed(target.parts) if p != "/"]
    return str(done)


def _parents(at: str, path: str) -> None:
    Path(at + path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)


def _show(at: str, mount: Mount) -> None:
    _parents(at, mount.target)
    if Path(mount.source).is_dir():
        Path(at + mount.target).mkdir(exist_ok=True)
    else:
        Path(at + mount.target).touch()
    linux.bind(mount.source, at + mount.target, readonly=mount.readonly)


def _own(at: str, path: str, spec: RootSpec) -> None:
    folder = Path(at + path)
    folder.mkdir(parents=True, exist_ok=True)
    os.chown(folder, spec.uid, spec.gid)
    folder.chmod(0o1777 if path.endswith("/tmp") else 0o755)  # noqa: S108 - /tmp is everybody's


def _etc(at: str, source: str) -> None:
    Path(at, "etc").mkdir(exist_ok=True)
    for file in Path(source).iterdir():
        target = Path(at, "etc", file.name)
        if not target.exists():
            target.touch()
            linux.bind(str(file), str(target), readonly=True)


def _devices(at: str) -> None:
    dev = Path(at, "dev")
    dev.mkdir()
    for name in _DEVICES:
        (dev / name).touch()
        linux.mount(f"/dev/{name}", str(dev / name), None, linux.MS_BIND)
    (dev / "shm").mkdir()
    linux.mount("tmpfs", str(dev / "shm"), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=1777,size=64m")
    (dev / "pts").mkdir()
    flags = linux.MS_NOSUID | linux.MS_NOEXEC
    linux.mount("devpts", str(dev / "pts"), "devpts", flags, "newinstance,ptmxmode=0666,mode=0620")
    for link, target in (
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ):
        (dev / link).symlink_to(target)


def _mount_point(at: str, target: str, *, folder: bool) -> None:
    """Make sure that *target* exists, also where the path leads into a read-only folder."""
    existing = PurePosixPath(target)
    while not Path(at + str(existing)).exists():
        existing = existing.parent
    if str(existing) == target:
        return
    if _is_readonly(at + str(existing)):
        _shadow(at + str(existing))
    _parents(at, target)
    if folder:
        Path(at + target).mkdir()
    else:
        Path(at + target).touch()


def _is_readonly(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _shadow(folder: str) -> None:
    """Replace a read-only folder by a tmpfs that shows the same entries, so that one can be added."""
    keep = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        linux.mount("tmpfs", folder, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=0755,size=1m")
        for entry in os.scandir(keep):
            source, target = f"/proc/self/fd/{keep}/{entry.name}", f"{folder}/{entry.name}"
            mode = os.lstat(source).st_mode
            if stat.S_ISLNK(mode):
                Path(target).symlink_to(Path(source).readlink())
                continue
            if stat.S_ISDIR(mode):
                Path(target).mkdir()
            else:
                Path(target).touch()
            linux.bind(source, target, readonly=True)
    finally:
        os.close(keep)
