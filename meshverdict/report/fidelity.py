"""What the embedded lab does differently from a real cluster, by design: one list, kept in ``fidelity.json``.

docs/fidelity.md shows it to readers, every report of the embedded lab carries it, and a comparison with a run on a real
cluster names the entries that may explain what differs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("fidelity.json")
DOCUMENT: Final = "docs/fidelity.md"
# What an entry may touch: the kinds of lines in an agreement.
KINDS: Final = ("verdict", "load", "enforcement", "connections", "flows")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the embedded lab does in its own way.

    Attributes:
        key: A short name, the same in every version.
        here: What the embedded lab does.
        there: What a real cluster does.
        touches: The measures that may differ because of it.
    """

    key: str
    about: str
    here: str
    there: str
    touches: tuple[str, ...]


@cache
def differences() -> tuple[Difference, ...]:
    """The list, in the order in which it is told."""
    listed = json.loads(FILE.read_text(encoding="utf-8"))["differences"]
    return tuple(Difference(**{**entry, "touches": tuple(entry["touches"])}) for entry in listed)


def touching(kind: str) -> tuple[str, ...]:
    """The names of what may explain a difference of a kind.

    >>> touching("flows")
    ('Flow log',)
    """
    return tuple(d.about for d in differences() if kind in d.touches)


def as_table() -> str:
    """The list as Markdown: what docs/fidelity.md holds between its marks."""
    head = ["| | here, in the embedded lab | there, on a real cluster | may change |", "|---|---|---|---|"]
    rows = [
        f"| {d.about} | {d.here} | {d.there} | {', '.join(d.touches) or 'no measure'} |"
        for d in differences()
    ]
    return "\n".join([*head, *rows])
