"""Where a lab keeps what outlives a command: state folder, lab.json, and the lock that says "running".

A lab is running exactly as long as its keeper holds the lock; the kernel lets go of it however the
keeper ends, so that a stale lab.json never passes for a lab.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from meshverdict import __version__
from meshverdict.model.errors import LabError, UsageError
from meshverdict.model.settings import LabSettings

DEFAULT_NAME = "default"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class LabInfo:
    """What lab.json says of a running lab.

    Attributes:
        pid: The keeper's process id on this machine.
        api: URL of the Kubernetes API.
        ingress: Host and port where the lab's ingress is published; None if nothing is.
        started: Unix time of the start, seconds.
        ready_s: Seconds from the start of `up` until everything was Ready; None while starting.
    """

    name: str
    pid: int
    kubeconfig: str
    api: str
    settings: LabSettings
    started: float
    ingress: dict[str, Any] | None = None
    ready_s: float | None = None
    manifests: tuple[str, ...] = ()
    images: str | None = None
    version: str = __version__
    format: str = field(default="lab/1")

    def as_dict(self) -> dict[str, Any]:
        """JSON values, with ``settings`` as an object."""
        return {**asdict(self), "settings": self.settings.as_dict(), "manifests": list(self.manifests)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LabInfo:
        """Read lab.json; unknown keys are ignored, an unknown format is refused."""
        if values.get("format") != "lab/1":
            raise LabError(
                f"lab.json has format {values.get('format')!r}, this version reads lab/1: run `meshverdict down`"
            )
        known = {k: v for k, v in values.items() if k in cls.__dataclass_fields__}
        known["settings"] = LabSettings.from_dict(known["settings"])
        known["manifests"] = tuple(known.get("manifests") or ())
        return cls(**known)


def check_name(name: str) -> str:
    """The lab's name if it can be a folder's name; otherwise a UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name {name!r}: use 1 to 32 lower case letters, digits and '-', such as 'team-a'")
    return name


def state_root() -> Path:
    """``$XDG_STATE_HOME/meshverdict``, by default ``~/.local/state/meshverdict``."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "meshverdict"


class StateFolder:
    """The state folder of one lab (mode 0700)."""

    def __init__(self, name: str = DEFAULT_NAME) -> None:
        self.name = check_name(name)
        self.path = state_root() / name
        self.kubeconfig = self.path / "kubeconfig"
        self.info_file = self.path / "lab.json"
        self.lock_file = self.path / "lock"
        self.logs = self.path / "logs"

    def create(self) -> None:
        """Make the folder, for this user alone."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.chmod(0o700)
            self.logs.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise LabError(
                f"state folder {self.path}: {error.strerror}; set XDG_STATE_HOME to a folder you own"
            ) from error
        if self.path.stat().st_uid != os.geteuid():
            raise LabError(
                f"state folder {self.path} belongs to another user; set XDG_STATE_HOME to one of yours"
            )

    def lock(self) -> int | None:
        """Take the lock of a running lab; returns its file descriptor, None if somebody holds it, or asks for it."""
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def keeper_pid(self) -> int | None:
        """The process that holds the lock, as it wrote into it."""
        try:
            return int(self.lock_file.read_text())
        except (FileNotFoundError, ValueError):
            return None

    def running(self) -> bool:
        """Whether a keeper holds the lock.

        Asked with a shared lock, so that two who ask at once do not take each other for a keeper.

        Raises:
            LabError: The state folder cannot be looked into.
        """
        try:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise LabError(
                f"state folder {self.path}: {error.strerror}; set XDG_STATE_HOME to a folder of yours"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def info(self) -> LabInfo | None:
        """What the running lab says of itself; None if none runs, or it has not said so yet."""
        if not self.running():
            return None
        try:
            return LabInfo.from_dict(json.loads(self.info_file.read_text()))
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise LabError(f"{self.info_file} cannot be read ({error}): run `meshverdict down`") from error

    def write_info(self, info: LabInfo) -> None:
        """Publish lab.json by rename, so that a reader never sees half of it."""
        new = self.info_file.with_suffix(".new")
        new.write_text(json.dumps(info.as_dict(), indent=2) + "\n")
        new.chmod(0o600)
        new.rename(self.info_file)

    def tidy(self) -> None:
        """Remove what a lab that has ended left behind; of a running one, which may be another by now, nothing."""
        try:
            descriptor = self.lock()
        except (FileNotFoundError, NotADirectoryError):
            return  # no lab of that name ever was
        if descriptor is not None:
            try:
                self.forget()
            finally:
                os.close(descriptor)

    def forget(self) -> None:
        """Remove what only a running lab may leave behind, for who holds the lock; logs stay for a look."""
        for file in (self.info_file, self.kubeconfig, self.info_file.with_suffix(".new")):
            file.unlink(missing_ok=True)

    def wait_stopped(self, timeout: float) -> bool:
        """Wait until no keeper holds the lock; False if one still does after *timeout* seconds."""
        deadline = time.monotonic() + timeout
        while self.running():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True
