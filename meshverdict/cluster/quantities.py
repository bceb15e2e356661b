"""Amounts of resources such as ``250m`` and ``64Mi`` as numbers."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_FORM: Final = re.compile(r"([+-]?[0-9.]+)([a-zA-Z]{0,2}|[eE][+-]?[0-9]+)")
_SUFFIXES: Final = (
    {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1)}
    | {suffix: Decimal(1000) ** (power + 1) for power, suffix in enumerate("kMGTPE")}
    | {f"{suffix}i": Decimal(1024) ** (power + 1) for power, suffix in enumerate("KMGTPE")}
)


def quantity(text: str | float) -> Decimal:
    """The amount that a Kubernetes quantity stands for.

    Raises:
        ValueError: It is no quantity.
    """
    match = _FORM.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is no quantity")
    number, suffix = match.groups()
    try:
        if suffix in _SUFFIXES:
            return Decimal(number) * _SUFFIXES[suffix]
        if suffix[0] in "eE" and len(suffix) > 1:
            return Decimal(f"{number}{suffix}")
    except ArithmeticError:  # two points, or an exponent beyond all bounds
        raise ValueError(f"{text!r} is no quantity") from None
    raise ValueError(f"{text!r} has an unknown suffix")
