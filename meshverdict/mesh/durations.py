"""Durations as Istio's files write them (Go's form: ``1h30m``, ``0.5s``, ``250ms``) and as Envoy wants them (``0.250s``)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_UNITS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART: Final = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)"
_WHOLE: Final = re.compile(rf"[+-]?(?:(?:{_PART})+|0)")


def seconds(text: str) -> Decimal:
    """The duration in seconds.

    Raises:
        ValueError: It is not a duration.
    """
    if not isinstance(text, str) or not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration: write it as 250ms, 1.5s, 2m or 1h")
    total = sum((Decimal(number) * _UNITS[unit] for number, unit in re.findall(_PART, text)), Decimal(0))
    return -total if text.startswith("-") else total


def envoy(text: str) -> str:
    """The duration in protobuf's JSON form: whole seconds, or 3, 6 or 9 decimals.

    Raises:
        ValueError: It is not a duration.
    """
    value = seconds(text)
    for digits in (0, 3, 6):
        if value == round(value, digits):
            return f"{value:.{digits}f}s"
    return f"{value:.9f}s"
