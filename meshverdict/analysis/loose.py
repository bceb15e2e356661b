"""Read JSON of unknown origin: what is not of the expected type counts as missing, it never raises.

Files of a run are written by crashes, by other versions and by other people's tools.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# Beyond it a float no longer holds every whole number, and nothing here counts that far.
_LARGEST = 2**53


def number(value: object) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= _LARGEST and math.isfinite(value) else None


def count(value: object) -> int:
    """A whole number from 0 up; 0 for anything else."""
    found = number(value)
    return max(0, int(found)) if found is not None else 0


def mapping(value: object) -> Mapping[str, Any]:
    """An object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list; nothing for anything else."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
