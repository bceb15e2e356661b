"""Which endpoints belong to which of the lab's cases, so that a report speaks of cases, not of paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Case:
    """A group of endpoints that a claim speaks about.

    Attributes:
        key: Short and stable: ``case-1``.
        title: For a heading.
        path: What a request passes through.
        names: The endpoints of the record that belong to it.
    """

    key: str
    title: str
    path: str
    names: tuple[str, ...]


_LAB = (
    ("case-1", "Case 1: through the app", "traefik → apache → app → redis", "/count/"),
    ("case-2", "Case 2: past the app, straight to redis", "traefik → apache → redis", "/redis/"),
)


def cases(names: Iterable[str]) -> tuple[Case, ...]:
    """The cases that occur in a record; endpoints of no case form a case each.

    >>> [c.key for c in cases(["/redis/GET/time", "/count/get", "/other"])]
    ['case-1', 'case-2', '/other']
    """
    left = sorted(set(names))
    found = []
    for key, title, path, prefix in _LAB:
        mine = tuple(name for name in left if prefix in name)
        if mine:
            found.append(Case(key, title, path, mine))
            left = [name for name in left if name not in mine]
    return (*found, *(Case(name, name, "", (name,)) for name in left))
