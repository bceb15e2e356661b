"""The embedded lab as seen from an experiment: the one that is up, or one that lives as long as the run.

Experiments must not know how the lab is made, so it is reached through what it tells every program: the file
``lab.json`` in the state folder, and the commands ``meshverdict up`` and ``meshverdict down``.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger("chaostoolkit")
DEFAULT_NAME: Final = "default"
UP_TIMEOUT_S: Final = 120.0
DOWN_TIMEOUT_S: Final = 30.0
# How a control's argument is typed on the command line.
_OPTIONS: Final = {
    "zones": "--zones",
    "zone_delay_ms": "--zone-delay",
    "zone_jitter_ms": "--zone-jitter",
    "denied": "--denied",
    "established": "--established",
    "mesh_retries": "--mesh-retries",
}


@dataclass(frozen=True, slots=True)
class Lab:
    """A running embedded lab, as lab.json describes it."""

    name: str
    kubeconfig: Path
    api: str
    settings: Mapping[str, Any]
    version: str
    ingress: str | None = None
    started_here: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an experiment needs of the lab; None means that it does not matter.

    Attributes:
        manifests: Folders that the lab is made of; none for the seed's own.
    """

    zones: int | None = None
    zone_delay_ms: float | None = None
    zone_delay_back_ms: float | None = None
    zone_jitter_ms: float | None = None
    denied: str | None = None
    established: str | None = None
    sidecars: bool | None = None
    mesh_retries: str | None = None
    manifests: tuple[str, ...] = ()
    name: str = field(default=DEFAULT_NAME)

    def asked(self) -> dict[str, Any]:
        """The settings that matter; a delay alone is meant both ways and without jitter."""
        keys = (*_OPTIONS, "sidecars")
        found = {key: getattr(self, key) for key in keys if getattr(self, key) is not None}
        if self.zone_delay_ms is not None:
            back = self.zone_delay_back_ms
            found["zone_delay_back_ms"] = None if back == self.zone_delay_ms else back
            found["zone_jitter_ms"] = self.zone_jitter_ms or 0.0
        return found

    def options(self) -> list[str]:
        """The settings as options of ``meshverdict up``."""
        argv = [] if self.name == DEFAULT_NAME else ["--name", self.name]
        for key, option in _OPTIONS.items():
            value = getattr(self, key)
            if value is not None:
                argv += [option, f"{value:g}" if isinstance(value, float) else str(value)]
                if key == "zone_delay_ms" and self.zone_delay_back_ms is not None:
                    argv[-1] += f",{self.zone_delay_back_ms:g}"
        argv += [part for folder in self.manifests for part in ("--manifests", folder)]
        return [*argv, "--sidecars"] if self.sidecars else argv

    def differences(self, settings: Mapping[str, Any]) -> list[str]:
        """What a lab of these settings does differently, in words."""
        return [
            f"{k} is {settings.get(k)}, the experiment needs {v}"
            for k, v in self.asked().items()
            if settings.get(k, 0.0 if k == "zone_jitter_ms" else None) != v
        ]


def state_root() -> Path:
    """``$XDG_STATE_HOME/meshverdict``, by default ``~/.local/state/meshverdict``."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "meshverdict"


def _is_up(folder: Path) -> bool:
    """Whether the lab's keeper lives: it holds this lock, and the kernel lets go of it however it ends."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def find(name: str, *, patience: float = UP_TIMEOUT_S) -> Lab | None:
    """The lab *name* if it is up; waits for one that is just starting.

    Raises:
        LabError: lab.json cannot be read, or the lab does not get ready.
    """
    folder = state_root() / name
    deadline = time.monotonic() + patience
    while _is_up(folder):
        try:
            return _lab(json.loads((folder / "lab.json").read_text()), folder)
        except FileNotFoundError:
            if time.monotonic() > deadline:
                raise LabError(
                    f"lab {name!r} does not become ready; type `meshverdict down`, then run again"
                ) from None
            time.sleep(0.1)
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(
                f"{folder / 'lab.json'} cannot be read ({error}); type `meshverdict down`"
            ) from error
    return None


def _lab(values: Mapping[str, Any], folder: Path, *, started_here: bool = False) -> Lab:
    if values.get("format") != "lab/1":
        raise LabError(
            f"lab.json has format {values.get('format')!r}, this version reads lab/1: type `meshverdict down`"
        )
    ingress = values.get("ingress")
    return Lab(
        name=folder.name,
        kubeconfig=Path(values["kubeconfig"]),
        api=str(values["api"]),
        settings=dict(values["settings"]),
        version=str(values.get("version", "")),
        ingress=f"http://{ingress['host']}:{ingress['port']}" if ingress else None,
        started_here=started_here,
    )


@contextmanager
def provided(wanted: Wanted) -> Iterator[Lab]:
    """The lab that is up, or one that lives as long as the block.

    Raises:
        LabError: The lab that is up has other settings, or none can be started.
    """
    lab = find(wanted.name)
    if lab is not None:
        different = wanted.differences(lab.settings)
        if different:
            up = " ".join(["meshverdict", "up", *wanted.options()])
            name = "" if wanted.name == DEFAULT_NAME else f" --name {wanted.name}"
            raise LabError(
                f"lab {wanted.name!r} is up with other settings ({'; '.join(different)}). "
                f"Type `meshverdict down{name}` and `{up}`, then run again"
            )
        yield lab
        return
    read_end, write_end = os.pipe()
    lab = None
    try:
        lab = _start(wanted, read_end)
        yield lab
    finally:
        if lab is not None and lab.started_here:
            _stop(wanted.name)
        os.close(write_end)  # ends what `down` could not
        os.close(read_end)


def _start(wanted: Wanted, tie: int) -> Lab:
    """Start a lab that ends when the other end of *tie* is closed, even by SIGKILL."""
    log.info("No lab is up: starting one for this run")
    asked = time.time()
    argv = [sys.executable, "-m", "meshverdict", "up", "-o", "json", *wanted.options(), "--tie", str(tie)]
    try:
        done = subprocess.run(
            argv,
            pass_fds=(tie,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=UP_TIMEOUT_S,
            check=False,
            env=_environ(),
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(
            f"`meshverdict up` gave no answer in {UP_TIMEOUT_S:g} s; type it to see why"
        ) from error
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {
            "error": done.stderr.strip()[-800:] or f"it ended with status {done.returncode} and said nothing"
        }
    if done.returncode != 0 or "error" in answer:
        raise LabError(f"no lab could be started for this run: {answer.get('error')}")
    # Somebody else's lab may have come up in the meantime; it is used, and left alone afterwards.
    ours = float(answer.get("started") or 0) >= asked
    return _lab(answer, state_root() / wanted.name, started_here=ours)


def _environ() -> dict[str, str]:
    """Ours, without the choice of a real cluster: `up` and `down` would refuse it."""
    return {k: v for k, v in os.environ.items() if k != "MESHVERDICT_CONTEXT"}


def _stop(name: str) -> None:
    argv = [sys.executable, "-m", "meshverdict", "down", "--name", name]
    try:
        done = subprocess.run(
            argv, env=_environ(), capture_output=True, text=True, timeout=DOWN_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        log.warning(
            "The lab of this run does not stop in %g s; its end of the tie is closed now", DOWN_TIMEOUT_S
        )
        return
    if done.returncode != 0:
        log.warning("The lab of this run did not stop cleanly: %s", done.stderr.strip())


@contextmanager
def reserved(name: str) -> Iterator[None]:
    """Hold the lab *name* for one run: a second run at the same time would measure the first.

    Raises:
        LabError: Another run uses it; the message names its process.
    """
    folder = state_root() / name
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LabError(
            f"state folder {folder}: {error.strerror}; set XDG_STATE_HOME to a folder you own"
        ) from error
    try:
        _lock(descriptor, name)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, name: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
        raise LabError(
            f"lab {name!r} is used by another run, process {holder}; wait for its end, or stop it with"
            f" `kill {holder}`"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
