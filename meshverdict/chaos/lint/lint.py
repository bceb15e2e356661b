"""Files in, problems out: the only module of this package that opens anything."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from meshverdict.chaos.lint import (
    extensions,
    kubernetes,
    providers,
    shape,
    steps,
    tolerances,
    undo,
    values,
    variables,
)
from meshverdict.chaos.lint.document import Document, UnreadableError
from meshverdict.chaos.lint.findings import Findings, Subject, shown
from meshverdict.chaos.lint.functions import look_up
from meshverdict.chaos.lint.problem import Problem
from meshverdict.chaos.lint.read import MAX_BYTES, SUFFIXES, parse
from meshverdict.model.errors import EXIT_DEVIATES, EXIT_HOLDS, UsageError

OUTPUTS: Final = ("text", "json")
_CHECKS: Final = (
    shape.check,
    steps.check,
    providers.check,
    tolerances.check,
    variables.check,
    values.check,
    extensions.check,
    undo.check,
    kubernetes.check,
    kubernetes.check_secrets,
)


def lint_files(paths: Sequence[Path]) -> list[Problem]:
    """The problems of every file, by file and line; a folder stands for the experiments in it.

    Raises:
        UsageError: Nothing was named, or it cannot be read.
    """
    found: list[Problem] = []
    for path in _files(paths):
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{path}: cannot be read: {said}; name a file that you can read") from None
        found += lint_text(str(path), raw, folder=path.absolute().parent)
    return found


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            if not path.exists():
                raise UsageError(f"{path}: there is no such file; name experiments, or a folder of them")
            found.append(path)
            continue
        try:
            inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
        except OSError as error:
            raise UsageError(f"{path}: this folder cannot be read: {error.strerror}; name files") from None
        if not inside:
            raise UsageError(f"{path}: no file in this folder ends in {', '.join(SUFFIXES)}")
        found += inside
    if not found:
        raise UsageError("lint: name at least one experiment, such as experiments/isolate-redis.json")
    return list(dict.fromkeys(found))


def lint_text(
    name: str, raw: bytes, *, folder: Path, environ: Mapping[str, str] | None = None
) -> list[Problem]:
    """The problems of one experiment given as bytes.

    Args:
        name: As it is shown; its suffix says how to read it.
        raw: Content of the file.
        folder: Where the files that it names are looked for.
        environ: Variables of the environment; by default this process's.
    """
    try:
        document = parse(name, raw)
    except UnreadableError as error:
        found = Findings(name, Document(None, {}))
        flaw = error.flaw
        found.say(flaw.rule, flaw.place, flaw.what, flaw.fix, line=flaw.line)
        return found.sorted()
    found = Findings(name, document)
    for flaw in document.flaws:
        found.say(flaw.rule, flaw.place, flaw.what, flaw.fix, line=flaw.line)
    if not isinstance(document.value, dict) or not document.value:
        found.say(
            "not-an-experiment",
            (),
            f"an experiment is an object with entries, not {shown(document.value)}",
            "write at least version, title, description and method",
        )
        return found.sorted()
    subject = Subject(
        document.value, folder, os.environ if environ is None else environ, look_up, shutil.which, found
    )
    for check in _CHECKS:
        check(subject)
    return found.sorted()


def exit_code(problems: Iterable[Problem]) -> int:
    """0 without errors, 1 with one; warnings alone are no failure."""
    return EXIT_DEVIATES if any(p.severity == "error" for p in problems) else EXIT_HOLDS


def render(problems: Sequence[Problem], output: str = "text") -> str:
    """For a person (``text``) or a program (``json``): the problems and how many there are."""
    errors = sum(p.severity == "error" for p in problems)
    warnings = len(problems) - errors
    if output == "json":
        counted = {"errors": errors, "warnings": warnings}
        return json.dumps({**counted, "problems": [p.as_dict() for p in problems]}, indent=2)
    if output not in OUTPUTS:
        raise UsageError(f"output {output!r}: one of {', '.join(OUTPUTS)}")
    return "\n".join([*map(str, problems), f"{_count(errors, 'error')}, {_count(warnings, 'warning')}"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
