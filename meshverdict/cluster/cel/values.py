"""Values of CEL in Python, and what its operators make of them. Pure.

int is int, uint is `Uint`, double is float, timestamp is an aware datetime, duration a timedelta; everything else
is what JSON makes of it. A bool is no number here, which Python sees otherwise.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from meshverdict.cluster.cel.syntax import Uint

OVERLOAD: Final = "no such overload"


class CelError(Exception):
    """An evaluation that has no value; the text is CEL's own."""


@dataclass(frozen=True, slots=True)
class TypeOf:
    """A type as a value."""

    name: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A Kubernetes amount."""

    amount: Decimal


_TYPES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "bool"),
    (Uint, "uint"),
    (int, "int"),
    (float, "double"),
    (str, "string"),
    (bytes, "bytes"),
    (list, "list"),
    (dict, "map"),
    (datetime, "google.protobuf.Timestamp"),
    (timedelta, "google.protobuf.Duration"),
    (TypeOf, "type"),
    (Quantity, "kubernetes.Quantity"),
    (type(None), "null_type"),
)


def type_name(value: Any) -> str:
    """CEL's name of a value's type."""
    return next(name for kind, name in _TYPES if isinstance(value, kind))


def is_number(value: Any) -> bool:
    """Whether it is an int, uint or double."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(left: Any, right: Any) -> bool:
    """``==``: numbers of different types compare by value, other types are never equal."""
    if is_number(left) and is_number(right):
        return bool(left == right)
    if type_name(left) != type_name(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict):
        return len(left) == len(right) and all(k in right and equal(v, right[k]) for k, v in left.items())
    return bool(left == right)


_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ORDERED: Final = frozenset(
    {"bool", "string", "bytes", "google.protobuf.Timestamp", "google.protobuf.Duration"}
)


def compare(sign: str, left: Any, right: Any) -> bool:
    """``<`` and its like."""
    same = type_name(left) == type_name(right) and type_name(left) in _ORDERED
    if not same and not (is_number(left) and is_number(right)):
        raise CelError(OVERLOAD)
    return _ORDER[sign](left, right)


def arithmetic(sign: str, left: Any, right: Any) -> Any:
    """``+ - * / %``."""
    types = {type_name(left), type_name(right)}
    if len(types) == 1 and is_number(left):
        return _numbers(sign, left, right)
    if sign == "+" and len(types) == 1 and isinstance(left, str | bytes | list):
        return left + right
    if isinstance(right, timedelta) and sign in {"+", "-"} and isinstance(left, datetime | timedelta):
        return _moved(left, right if sign == "+" else -right)
    if sign == "+" and isinstance(left, timedelta) and isinstance(right, datetime):
        return _moved(right, left)
    if sign == "-" and isinstance(left, datetime) and isinstance(right, datetime):
        return _span(left - right)
    raise CelError(OVERLOAD)


def _moved(left: Any, by: timedelta) -> Any:
    try:
        return _span(left + by) if isinstance(left, timedelta) else left + by
    except OverflowError:
        raise CelError("timestamp overflow") from None


def _span(value: timedelta) -> timedelta:
    """A duration, if its nanoseconds fit into 64 bits."""
    if abs(value) >= timedelta(microseconds=2**63 // 1000):
        raise CelError("integer overflow")
    return value


def _numbers(sign: str, left: Any, right: Any) -> Any:
    if isinstance(left, float):
        return _floats(sign, left, right)
    if sign in {"/", "%"}:
        if right == 0:
            raise CelError("division by zero" if sign == "/" else "modulus by zero")
        whole = abs(int(left)) // abs(int(right)) * (1 if (left < 0) == (right < 0) else -1)
        result = whole if sign == "/" else int(left) - int(right) * whole
    else:
        result = {"+": operator.add, "-": operator.sub, "*": operator.mul}[sign](int(left), int(right))
    return whole_number(result, unsigned=isinstance(left, Uint))


def whole_number(value: int, *, unsigned: bool = False) -> int:
    """An int or uint, if it fits."""
    low, high = (0, (1 << 64) - 1) if unsigned else (-(1 << 63), (1 << 63) - 1)
    if not low <= value <= high:
        raise CelError("unsigned integer overflow" if unsigned else "integer overflow")
    return Uint(value) if unsigned else value


def _floats(sign: str, left: float, right: float) -> float:
    if sign == "%":
        raise CelError(OVERLOAD)
    if sign == "/" and right == 0:
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left)
    return float(
        {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}[sign](left, right)
    )


def index(value: Any, key: Any) -> Any:
    """``value[key]``."""
    if isinstance(value, list):
        if isinstance(key, float) and key.is_integer():
            key = int(key)
        if not isinstance(key, int) or isinstance(key, bool):
            raise CelError(f"unsupported index type '{type_name(key)}' in list")
        if not 0 <= key < len(value):
            raise CelError(f"index out of bounds: {int(key)}")
        return value[key]
    if isinstance(value, dict):
        if isinstance(key, list | dict) or key not in value:
            raise CelError(f"no such key: {key}")
        return value[key]
    raise CelError(OVERLOAD)


def contains(key: Any, value: Any) -> bool:
    """``key in value``."""
    if isinstance(value, list):
        return any(equal(key, item) for item in value)
    if isinstance(value, dict):
        return not isinstance(key, list | dict) and key in value
    raise CelError(OVERLOAD)
