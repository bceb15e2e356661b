"""What a call may cost, known before it is made: with it a budget of steps bounds time and memory alike. Pure.

A step is one part of an expression, one element of a list or map that is looked at, or ten characters that are read or
made; a real API server counts in the same way (https://kubernetes.io/docs/reference/using-api/cel/, "Resource constraints").
"""

from __future__ import annotations

from typing import Any, Final

_CHARACTERS: Final = 10
# A search for all places may look at all the rest of a text at every one of them, at a speed of its own.
_AGAIN: Final = 20_000
_FREE: Final = frozenset({"[]", "size", "dyn", "type", "!_", "-_"})
_PATTERNS: Final = frozenset({"matches", "find", "findAll"})
# To compile an expression that was made up for one element: milliseconds, whatever its length.
PATTERN: Final = 200


def cost(name: str, values: list[Any], limit: int, *, known_pattern: bool) -> int:
    """Steps that a call takes at most.

    Args:
        name: Of the function, method or operator.
        values: What it is called with, a method's own value first.
        limit: What counts as too much: nothing beyond it is looked at.
        known_pattern: A pattern among the values stands in the rule itself, so it is compiled once.
    """
    if name in _FREE:
        return 0
    if name in {"==", "!="}:
        left, right = values
        alike = type(left) is type(right) and (not isinstance(left, list | dict) or len(left) == len(right))
        return weight(left, limit) if alike else 0
    if name == "in":
        return _searches(values[:1], values[1], limit) if isinstance(values[1], list) else 0
    if name.startswith("sets."):
        both = _searches(values[0], values[1], limit)
        return both + (_searches(values[1], values[0], limit) if name == "sets.equivalent" else 0)
    total = sum(_flat(v) if name == "+" else weight(v, limit) for v in values) + _made(name, values)
    return total + (0 if known_pattern or name not in _PATTERNS else PATTERN)


def weight(value: Any, limit: int) -> int:
    """Steps to look at a value with everything in it; what is beyond *limit* is not counted."""
    found, waiting = 0, [value]
    while waiting and found <= limit:
        one = waiting.pop()
        found += _flat(one)
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found


def _flat(value: Any) -> int:
    if isinstance(value, str | bytes):
        return len(value) // _CHARACTERS
    return len(value) if isinstance(value, list | dict) else 0


def _searches(items: Any, among: Any, limit: int) -> int:
    """Each of *items* is compared with each of *among*."""
    if not isinstance(items, list) or not isinstance(among, list):
        return 0
    return (len(items) + weight(items, limit)) * len(among)


def _made(name: str, values: list[Any]) -> int:
    """What a call makes or looks at beyond the size of what it is called with."""
    if name == "replace" and all(isinstance(v, str) for v in values[:3]):
        text, old, new = values[:3]
        return (len(text) // max(1, len(old)) + 1) * len(new) // _CHARACTERS
    if name == "join" and isinstance(values[0], list) and len(values) > 1 and isinstance(values[1], str):
        return len(values[0]) * len(values[1]) // _CHARACTERS
    if name == "findAll" and isinstance(values[0], str):
        return len(values[0]) ** 2 // _AGAIN
    return 0
