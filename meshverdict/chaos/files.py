"""Where an experiment's files are: its own folder, the data it names, and where its run is written.

Chaos Toolkit does not tell a control which file it runs, so the file is asked of the ``chaos run`` command
that is running in this process, or of ``MESHVERDICT_EXPERIMENT`` where chaoslib is used without the
command.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meshverdict.model.errors import LabError, UsageError
from meshverdict.model.paths import PACKAGE, data_folder

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_FREE_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """What was asked to run.

    Attributes:
        file: The experiment's file; None when it is not known or was fetched from a URL.
        variables: Names and values given by --var.
        journal_path: Where ``chaos run`` writes its own journal.
    """

    file: Path | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    journal_path: str | None = None

    @property
    def sha256(self) -> str | None:
        """Of the file as it is now."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest() if self.file else None


def find_source(environ: Mapping[str, str]) -> Source:
    """The experiment's file and --var values, from the running command or the environment."""
    context = click.get_current_context(silent=True)
    parameters: Mapping[str, Any] = context.params if context is not None else {}
    named = parameters.get("source") or environ.get("MESHVERDICT_EXPERIMENT")
    file = Path(str(named)) if named else None
    return Source(
        file.resolve() if file is not None and file.is_file() else None,
        dict(parameters.get("var") or {}),
        parameters.get("journal_path"),
    )


def find_data(name: str, value: str, source: Source) -> Path:
    """The absolute folder of a configuration value such as ``manifests: ../manifests``.

    Looked for beside the experiment's file, then in this project or installation.

    Raises:
        UsageError: It is nowhere.
    """
    wanted = Path(value).expanduser()
    beside = [source.file.parent / wanted] if source.file is not None else []
    candidates = [wanted] if wanted.is_absolute() else [*beside, Path.cwd() / wanted]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate.resolve()
    if not wanted.is_absolute() and wanted.name == name:
        return data_folder(name)
    looked = ", ".join(str(c) for c in candidates)
    raise UsageError(f"configuration {name!r}: there is no folder {looked}; set it with --var {name}=FOLDER")


def reports_folder(source: Source, environ: Mapping[str, str]) -> Path:
    """Where runs are kept: MESHVERDICT_REPORTS, else ``reports/`` beside the experiment's own folder."""
    if environ.get("MESHVERDICT_REPORTS"):
        return Path(environ["MESHVERDICT_REPORTS"]).expanduser().absolute()
    if source.file is None or PACKAGE in source.file.parents:
        return Path.cwd() / "reports"  # never inside an installation
    folder = source.file.parent
    return (folder if folder.parent == Path(folder.anchor) else folder.parent) / "reports"


def experiment_name(source: Source, title: str) -> str:
    """Name of the experiment's folder under reports/: its file's name, else its title."""
    text = source.file.stem if source.file is not None else title
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "experiment"


def make_run_folder(reports: Path, name: str, now: datetime, *, arm: str | None, pair: int | None) -> Path:
    """Create ``reports/<name>/<YYYYMMDDTHHMMSSZ>[-pairNN-arm]/``, an empty folder of this run alone.

    Raises:
        LabError: It cannot be created, or the disk is full.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    suffix = f"-pair{pair:02d}-{arm}" if pair is not None and arm else f"-{arm}" if arm else ""
    base = reports / name
    try:
        base.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(base).free
        folder = _new_folder(base, stamp + suffix)
    except OSError as error:
        raise LabError(
            f"run folder {base}: {error.strerror}; set MESHVERDICT_REPORTS to a folder that you can write to"
        ) from error
    if free < MIN_FREE_BYTES:
        folder.rmdir()
        raise LabError(
            f"run folder {base}: the disk is full ({free // 1_000_000} MB free,"
            f" {MIN_FREE_BYTES // 1_000_000} MB are needed); free some space, or set MESHVERDICT_REPORTS to a"
            " folder on another disk"
        )
    return folder


def _new_folder(base: Path, name: str) -> Path:
    for number in range(1, 100):
        folder = base / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise FileExistsError(None, "a hundred runs of the same second", str(base / name))


def shown(path: Path) -> str:
    """A path as short as it can be shown from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
