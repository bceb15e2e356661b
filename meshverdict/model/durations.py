"""Durations in Go's form, as manifests and rules have them: ``1h30m``, ``0.5s``, ``250ms``.

Source: https://pkg.go.dev/time#ParseDuration
"""

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
# Possessive, so that a long row of digits is read once.
_PART: Final = r"([0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(ns|us|µs|ms|s|m|h)"
_WHOLE: Final = re.compile(rf"[+-]?(?:(?:{_PART})+|0)")
_MOST: Final = Decimal(2**63 - 1) / 1_000_000_000  # Go counts nanoseconds in 64 bits


def seconds(text: object) -> Decimal:
    """The duration in seconds.

    Raises:
        ValueError: It is none; the text is Go's.

    >>> seconds("-1m30.5s")
    Decimal('-90.5')
    """
    if isinstance(text, str) and _WHOLE.fullmatch(text):
        parts = re.findall(_PART, text)
        total = sum((Decimal(number) * _UNITS[unit] for number, unit in parts), Decimal(0))
        if total <= _MOST:
            return -total if text.startswith("-") else total
    raise ValueError(f'time: invalid duration "{text}"')
