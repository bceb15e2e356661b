"""What the checks share: the experiment under examination, and the list that they add to."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meshverdict.chaos.lint.document import Document, Place, spell
from meshverdict.chaos.lint.functions import Lookup
from meshverdict.chaos.lint.problem import Problem
from meshverdict.chaos.lint.rules import SEVERITY

MAX_PROBLEMS: Final = 200


@dataclass(frozen=True, slots=True)
class Activity:
    """One activity that is an object.

    Attributes:
        section: ``hypothesis``, ``method`` or ``rollbacks``; ``tolerance`` or ``configuration`` for a probe
            that is run for its value.
    """

    section: str
    place: Place
    value: Mapping[str, Any]

    @property
    def name(self) -> str:
        """As messages call it."""
        return shown(self.value.get("name"))

    @property
    def provider(self) -> Mapping[str, Any]:
        """Empty when it is no object."""
        return as_object(self.value.get("provider"))

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Empty when they are no object."""
        return as_object(self.provider.get("arguments"))


class Findings:
    """The problems of one file."""

    def __init__(self, file: str, document: Document) -> None:
        self._file, self._document = file, document
        self._found: dict[Problem, None] = {}

    def say(self, rule: str, place: Place, what: str, fix: str, *, line: int | None = None) -> None:
        """Add a problem; the same one is kept once."""
        if len(self._found) > MAX_PROBLEMS:
            return
        if len(self._found) == MAX_PROBLEMS:
            rule, place, line = "too-many-problems", (), 1
            what, fix = f"more than {MAX_PROBLEMS} problems; the rest is not shown", "correct these first"
        at = line if line is not None else self._document.line(place)
        problem = Problem(
            self._file, at, printable(spell(place)), SEVERITY[rule], rule, printable(what), printable(fix)
        )
        self._found[problem] = None

    def sorted(self) -> list[Problem]:
        """By line."""
        return sorted(self._found, key=lambda p: (p.line, p.path, p.id))


@dataclass(frozen=True, slots=True)
class Subject:
    """An experiment and what is known around it.

    Attributes:
        experiment: The document's object.
        folder: Where its file is.
        environ: Variables of the environment.
        look_up: Finds a Python function without importing it.
        which: Finds a program; None when there is none.
    """

    experiment: Mapping[str, Any]
    folder: Path
    environ: Mapping[str, str]
    look_up: Callable[[str, str], Lookup]
    which: Callable[[str], str | None]
    found: Findings = field(repr=False)

    @property
    def configuration(self) -> Mapping[str, Any]:
        """Empty when it is no object."""
        return as_object(self.experiment.get("configuration"))

    def activities(self, *sections: str) -> Iterator[Activity]:
        """All activities that are objects, or those of some sections, in the order of the run."""
        for section, place in (
            ("hypothesis", ("steady-state-hypothesis", "probes")),
            ("method", ("method",)),
            ("rollbacks", ("rollbacks",)),
        ):
            if sections and section not in sections:
                continue
            listed: Any = self.experiment
            for key in place:
                listed = as_object(listed).get(key)
            for index, value in enumerate(as_list(listed)):
                if isinstance(value, dict):
                    yield Activity(section, (*place, index), value)

    def every_activity(self) -> Iterator[Activity]:
        """Those, and the probes in tolerances and in the configuration."""
        for activity in self.activities():
            yield activity
            tolerance = as_object(activity.value.get("tolerance"))
            if tolerance.get("type") == "probe":
                yield Activity("tolerance", (*activity.place, "tolerance"), tolerance)
        for key, value in self.configuration.items():
            if isinstance(value, dict) and value.get("type") == "probe":
                yield Activity("configuration", ("configuration", key), value)

    def controls(self) -> Iterator[tuple[Place, Any]]:
        """Every control with its place."""
        holders: list[tuple[Place, Mapping[str, Any]]] = [((), self.experiment)]
        hypothesis = as_object(self.experiment.get("steady-state-hypothesis"))
        holders.append((("steady-state-hypothesis",), hypothesis))
        holders += [(activity.place, activity.value) for activity in self.activities()]
        for place, holder in holders:
            for index, control in enumerate(as_list(holder.get("controls"))):
                yield (*place, "controls", index), control


def as_object(value: Any) -> Mapping[str, Any]:
    """*value* if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """*value* if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def is_number(value: Any) -> bool:
    """A number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value of any size in a message."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 60
    return short.repr(value)


def among(value: Any, words: Collection[str]) -> bool:
    """Whether a document's *value* is one of *words*; a list or an object, which has no hash, never is."""
    return isinstance(value, str) and value in words


def nearest(word: Any, known: Iterable[str]) -> str:
    """``did you mean `x`? `` or nothing."""
    close = difflib.get_close_matches(str(word)[:60], [k for k in known if isinstance(k, str)], 1, 0.7)
    return f"did you mean {close[0]!r}? " if close else ""


def listed(known: Iterable[Any]) -> str:
    """A list in words, at most a dozen."""
    names = [str(k) for k in known]
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "none"


def printable(text: str) -> str:
    """Text that any terminal takes: no control characters, no half characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
