"""Values of a journal in words: tolerances, answers, tracebacks, times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Final

MAX_VALUE_CHARS: Final = 240


def tolerance_words(value: object) -> str:
    """A tolerance as a person would say it.

    >>> tolerance_words({"type": "range", "range": [0.99, 1.0], "target": "value"})
    'between 0.99 and 1.0'
    >>> tolerance_words(True), tolerance_words([200, 302])
    ('true', 'one of 200, 302')
    """
    if isinstance(value, list):
        return "one of " + ", ".join(str(v) for v in value)
    if not isinstance(value, Mapping):
        return shorten(value) or ""
    kind = value.get("type")
    words = shorten(value) or ""
    if kind == "range" and isinstance(value.get("range"), list):
        words = "between " + " and ".join(str(v) for v in value["range"])
    elif kind == "regex":
        words = f"matches {value.get('pattern')}"
    elif kind == "jsonpath":
        words = f"{value.get('path')}" + (f" = {shorten(value['expect'])}" if "expect" in value else " found")
    elif kind == "probe":
        words = f"probe {value.get('name')} agrees"
    return words


def shorten(value: object, limit: int = MAX_VALUE_CHARS) -> str | None:
    """A JSON value as short text; None stays None."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def timestamp(value: object) -> float | None:
    """Unix seconds of an ISO 8601 time (Chaos Toolkit's are UTC); None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo else datetime.fromisoformat(value + "+00:00").timestamp()


def last_line(value: object) -> str:
    """The last telling line of a traceback (a list or a string)."""
    text = "".join(str(part) for part in value) if isinstance(value, list) else str(value or "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:MAX_VALUE_CHARS] if lines else "no reason was recorded"
