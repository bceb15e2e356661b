"""A document with the line of each of its places: what the readers make and the checks take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# From the document's root: keys of objects, indices of lists.
Place = tuple[str | int, ...]

MAX_DEPTH: Final = 60
_PLAIN = re.compile(r"[A-Za-z0-9_$-]+")


@dataclass(frozen=True, slots=True)
class Flaw:
    """A fault that the reader met and that leaves the document readable, or not (`Unreadable`)."""

    rule: str
    what: str
    fix: str
    line: int
    place: Place = ()


class UnreadableError(Exception):
    """The text is no document at all.

    Attributes:
        flaw: Why.
    """

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.what)
        self.flaw = flaw


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says.

    Attributes:
        value: Objects, lists and scalars.
        lines: Line of each place, from 1; a key's line for what is in an object. Places under a YAML alias
            have none.
        flaws: What the reader met.
    """

    value: Any
    lines: Mapping[Place, int]
    flaws: tuple[Flaw, ...] = field(default=())

    def line(self, place: Place) -> int:
        """The line of *place*, or of the nearest place around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def spell(place: Place) -> str:
    """``method[0].provider.arguments["a key"]``."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f'["{step}"]'
    return text


def too_deep(line: int, place: Place = ()) -> UnreadableError:
    """The document is nested deeper than any experiment."""
    return UnreadableError(
        Flaw(
            "too-deep",
            f"nested deeper than {MAX_DEPTH} levels",
            "flatten the document; no experiment needs that",
            line,
            place[:3],
        )
    )
