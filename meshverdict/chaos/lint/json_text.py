"""JSON with positions: the standard decoder judges the text, then a walk over the good text finds the lines."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from typing import Any, Final

from meshverdict.chaos.lint.document import MAX_DEPTH, Document, Flaw, Place, UnreadableError, too_deep

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SCALAR = re.compile(r"[^\s,\]}]+")
_CONSTANTS: Final = ("NaN", "Infinity", "-Infinity")


def parse_json(text: str) -> Document:
    """The document in *text*.

    Raises:
        UnreadableError: It is not JSON, with line and column.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        flaw = Flaw(
            "syntax",
            f"broken JSON at line {error.lineno}, column {error.colno}: {error.msg}",
            "correct the text there; a missing comma, quote or bracket is often just before it",
            error.lineno,
        )
        raise UnreadableError(flaw) from None
    except RecursionError:
        raise too_deep(1) from None
    except ValueError as error:
        flaw = Flaw("syntax", f"a number that cannot be read: {error}", "write a shorter number", 1)
        raise UnreadableError(flaw) from None
    return _Walk(text).document()


class _Walk:
    """Goes through text that the decoder has accepted."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._newlines = [m.start() for m in re.finditer("\n", text)]
        self._lines: dict[Place, int] = {}
        self._flaws: list[Flaw] = []

    def document(self) -> Document:
        start = self._skip(0)
        self._lines[()] = self._line(start)
        value, _ = self._value(start, ())
        return Document(value, self._lines, tuple(self._flaws))

    def _line(self, at: int) -> int:
        return bisect_right(self._newlines, at - 1) + 1

    def _skip(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        return found.end() if found else at

    def _value(self, at: int, place: Place) -> tuple[Any, int]:
        if len(place) > MAX_DEPTH:
            raise too_deep(self._line(at), place)
        match self._text[at]:
            case "{":
                return self._object(at + 1, place)
            case "[":
                return self._list(at + 1, place)
            case '"':
                return self._string(at)
        return self._scalar(at, place)

    def _object(self, at: int, place: Place) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self._skip(at)
        while self._text[at] != "}":
            if self._text[at] == ",":
                at = self._skip(at + 1)
            line = self._line(at)
            key, at = self._string(at)
            here = (*place, key)
            if key in found:
                self._flaws.append(duplicate(key, self._lines[here], line, here))
            self._lines[here] = line
            at = self._skip(self._skip(at) + 1)  # past the colon
            found[key], at = self._value(at, here)
            at = self._skip(at)
        return found, at + 1

    def _list(self, at: int, place: Place) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = self._skip(at)
        while self._text[at] != "]":
            if self._text[at] == ",":
                at = self._skip(at + 1)
            here = (*place, len(found))
            self._lines[here] = self._line(at)
            value, at = self._value(at, here)
            found.append(value)
            at = self._skip(at)
        return found, at + 1

    def _string(self, at: int) -> tuple[str, int]:
        found = _STRING.match(self._text, at)
        literal = found[0] if found else '""'
        return str(json.loads(literal)), at + len(literal)

    def _scalar(self, at: int, place: Place) -> tuple[Any, int]:
        found = _SCALAR.match(self._text, at)
        literal = found[0] if found else "null"
        value = json.loads(literal)
        if isinstance(value, float) and not math.isfinite(value):
            self._flaws.append(not_a_number(literal, self._line(at), place))
        return value, at + len(literal)


def duplicate(key: str, first: int, line: int, place: Place) -> Flaw:
    """A key that comes twice in one object."""
    return Flaw(
        "duplicate-key",
        f"the key {key!r} comes twice in this object (first on line {first}); only the last one counts",
        "delete one of the two",
        line,
        place,
    )


def not_a_number(literal: str, line: int, place: Place) -> Flaw:
    """A number that is none, or that is too large to be kept."""
    return Flaw(
        "not-a-number",
        f"{literal[:40]} is no finite number; JSON does not know it",
        "write a finite number, or leave the entry out",
        line,
        place,
    )
