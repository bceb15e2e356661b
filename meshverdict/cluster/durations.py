"""Times of objects as kubectl tells them. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Final

UNKNOWN: Final = "<unknown>"


def seconds_of(stamp: str) -> float:
    """RFC 3339 as Unix seconds."""
    return dt.datetime.fromisoformat(stamp).timestamp()


def age(stamp: str | None, now: float) -> str:
    """How long ago *stamp* was, as kubectl says it."""
    return duration(now - seconds_of(stamp)) if stamp else UNKNOWN


def duration(seconds: float) -> str:  # noqa: PLR0911 - a table of ranges
    """``90s``, ``5m30s``, ``3h``, ``2d4h``..."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(whole, 0)
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 2920 else f"{days // 365}y"


def _two(first: int, unit: str, second: int, small: str) -> str:
    return f"{first}{unit}{second}{small}" if second else f"{first}{unit}"
