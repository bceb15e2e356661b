"""Functions and methods of CEL: its standard ones, and those that Kubernetes adds. Pure.

Source: https://github.com/google/cel-spec, "List of Standard Definitions", and
https://kubernetes.io/docs/reference/using-api/cel/ for lists, strings, regular expressions, sets, addresses, URLs
and quantities.
"""

from __future__ import annotations

import functools
import ipaddress
import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from meshverdict.cluster.cel.syntax import Uint
from meshverdict.cluster.cel.values import (
    OVERLOAD,
    CelError,
    Quantity,
    arithmetic,
    compare,
    contains,
    equal,
    is_number,
    whole_number,
)
from meshverdict.cluster.quantities import quantity
from meshverdict.model import durations
from meshverdict.model.regex import RegexError, compiled, encodable

Function = Callable[..., Any]
_LONGEST_INT: Final = 20  # a sign and the digits of 64 bits
_DIGITS: Final = 40  # far beyond what Kubernetes keeps of an amount
_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)")


def text_of(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise CelError(OVERLOAD)
    return value


def list_of(value: Any) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise CelError(OVERLOAD)
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise CelError(OVERLOAD)
    return int(value)


def size(value: Any) -> int:
    """``size``."""
    if not isinstance(value, str | bytes | list | dict):
        raise CelError(OVERLOAD)
    return len(value)


def is_match(value: Any, pattern: Any) -> bool:
    """``matches``."""
    return _regex(pattern).search(encodable(text_of(value))) is not None


def _regex(pattern: Any) -> Any:
    try:
        return compiled(text_of(pattern))
    except RegexError as error:
        raise CelError(str(error)) from None


def to_duration(value: Any) -> timedelta:
    """``duration("1h30m")``."""
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(microseconds=float(durations.seconds(text_of(value)) * 1_000_000))
    except ValueError as error:
        raise CelError(str(error)) from None


def to_timestamp(value: Any) -> datetime:
    """``timestamp("2026-01-01T00:00:00Z")``."""
    if isinstance(value, datetime):
        return value
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(int(value), UTC)
        match = _STAMP.fullmatch(text_of(value))
        if match:
            fraction = (match.group(2) or "")[:7]
            return datetime.fromisoformat(match.group(1) + fraction + match.group(3).replace("Z", "+00:00"))
    except (ValueError, OverflowError, OSError):
        pass
    raise CelError(f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse')


def int_of(value: Any) -> int:
    """``int``."""
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, float):
        if not abs(value) < 2**63:
            raise CelError("integer overflow")
        return int(value)
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?\d+", value):
            raise CelError(f'strconv.ParseInt: parsing "{value}": invalid syntax')
        if len(value) > _LONGEST_INT:
            raise CelError(f'strconv.ParseInt: parsing "{value}": value out of range')
        return whole_number(int(value))
    return whole_number(_number(value))


def uint(value: Any) -> int:
    """``uint``."""
    number = int_of(value) if not isinstance(value, Uint) else value
    return whole_number(number, unsigned=True)


def double(value: Any) -> float:
    """``double``."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise CelError(f'strconv.ParseFloat: parsing "{value}": invalid syntax') from None
    if not is_number(value):
        raise CelError(OVERLOAD)
    return float(value)


def string(value: Any) -> str:  # noqa: PLR0911 - one way out for each type
    """``string``."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, timedelta):
        return f"{(Decimal(value // timedelta(microseconds=1)) / 1_000_000).normalize():f}s"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if is_number(value):
        return repr(value) if isinstance(value, float) else str(int(value))
    raise CelError(OVERLOAD)


def bool_of(value: Any) -> bool:
    """``bool``."""
    if isinstance(value, bool):
        return value
    known = {"true": True, "True": True, "TRUE": True, "t": True, "1": True}
    known |= {"false": False, "False": False, "FALSE": False, "f": False, "0": False}
    if text_of(value) not in known:
        raise CelError(f'strconv.ParseBool: parsing "{value}": invalid syntax')
    return known[value]


def bytes_of(value: Any) -> bytes:
    """``bytes``."""
    return value if isinstance(value, bytes) else encodable(text_of(value)).encode()


def clock(part: Callable[[datetime], int]) -> Function:
    """A part of a timestamp, in UTC or in a zone."""

    def read(value: Any, zone: Any = "UTC") -> int:
        if not isinstance(value, datetime):
            raise CelError(OVERLOAD)
        try:
            return part(value.astimezone(ZoneInfo(text_of(zone))))
        except (KeyError, ValueError, OSError):
            raise CelError(f"unknown time zone {zone}") from None
        except OverflowError:
            raise CelError("timestamp overflow") from None

    return read


def clock_or_span(part: Callable[[datetime], int], seconds: float) -> Function:
    """The same, or a duration in this unit."""
    read = clock(part)

    def either(value: Any, *zone: Any) -> int:
        if isinstance(value, timedelta) and not zone:
            return int(value.total_seconds() / seconds)
        return int(read(value, *zone))

    return either


def sorted_of(value: Any) -> bool:
    """``isSorted``."""
    items = list_of(value)
    return all(compare("<=", one, other) for one, other in itertools.pairwise(items))


def extreme(sign: str) -> Function:
    """``min`` or ``max``."""

    def pick(value: Any) -> Any:
        items = list_of(value)
        if not items:
            raise CelError(f"{'min' if sign == '<' else 'max'} called on empty list")
        return functools.reduce(lambda a, b: b if compare(sign, b, a) else a, items)

    return pick


def sum_of(value: Any) -> Any:
    """``sum``."""
    items = list_of(value)
    return functools.reduce(lambda a, b: arithmetic("+", a, b), items) if items else 0


def index_of(value: Any, wanted: Any, start: Any = 0) -> int:
    """``indexOf`` of texts and lists."""
    if isinstance(value, str):
        return value.find(text_of(wanted), _number(start))
    return next((i for i, item in enumerate(list_of(value)) if equal(item, wanted)), -1)


def last_index_of(value: Any, wanted: Any) -> int:
    """``lastIndexOf`` of texts and lists."""
    if isinstance(value, str):
        return value.rfind(text_of(wanted))
    items = list_of(value)
    return next((i for i in range(len(items) - 1, -1, -1) if equal(items[i], wanted)), -1)


def substring(value: Any, start: Any, end: Any = None) -> str:
    """``substring``."""
    text, first = text_of(value), _number(start)
    last = len(text) if end is None else _number(end)
    if not 0 <= first <= last <= len(text):
        raise CelError(f"index out of range: {first}")
    return text[first:last]


def char_at(value: Any, place: Any) -> str:
    """``charAt``."""
    text, at = text_of(value), _number(place)
    if not 0 <= at <= len(text):
        raise CelError(f"index out of range: {at}")
    return text[at : at + 1]


def replace(value: Any, old: Any, new: Any, limit: Any = -1) -> str:
    """``replace``."""
    return text_of(value).replace(text_of(old), text_of(new), _number(limit))


def split(value: Any, separator: Any, limit: Any = -1) -> list[str]:
    """``split``."""
    text, by, most = text_of(value), text_of(separator), _number(limit)
    if most == 0:
        return []
    if not by:
        return list(text) if most < 0 else [*text[: most - 1], text[most - 1 :]]
    return text.split(by, most - 1 if most > 0 else -1)


def join(value: Any, separator: Any = "") -> str:
    """``join``."""
    return text_of(separator).join(text_of(item) for item in list_of(value))


def find_in(value: Any, pattern: Any) -> str:
    """``find``."""
    match = _regex(pattern).search(encodable(text_of(value)))
    return match.group() if match else ""


def find_all(value: Any, pattern: Any, limit: Any = -1) -> list[str]:
    """``findAll``."""
    found = [m.group() for m in _regex(pattern).finditer(encodable(text_of(value)))]
    return found if _number(limit) < 0 else found[: _number(limit)]


def within(left: Any, right: Any) -> bool:
    """Whether a list's elements are all in another."""
    return all(contains(item, list_of(right)) for item in list_of(left))


def ascii_case(*, upper: bool) -> Function:
    """``upperAscii`` or ``lowerAscii``."""

    def change(value: Any) -> str:
        return "".join((c.upper() if upper else c.lower()) if c.isascii() else c for c in text_of(value))

    return change


def is_url(value: Any) -> bool:
    """``isURL``."""
    text = text_of(value)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return not re.search(r"[\s\x00-\x1f]", text) and (text.startswith("/") or bool(parts.scheme))


def holds(read: Callable[[str], Any]) -> Function:
    """Whether a text can be read."""

    def can(value: Any) -> bool:
        try:
            read(text_of(value))
        except ValueError:
            return False
        return True

    return can


def cidr(text: str) -> Any:
    """An address with a prefix."""
    if "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_interface(text)


def quantity_of(value: Any) -> Quantity:
    """``quantity``."""
    try:
        amount = quantity(text_of(value))
    except (ValueError, ArithmeticError) as error:
        raise CelError(str(error)) from None
    if abs(amount.adjusted()) > _DIGITS:
        raise CelError(f"{value} is out of range")
    return Quantity(amount)


def amount_of(value: Any) -> Any:
    """The amount of a quantity."""
    if not isinstance(value, Quantity):
        raise CelError(OVERLOAD)
    return value.amount


def compare_to(left: Any, right: Any) -> int:
    """``compareTo`` of quantities."""
    first, second = amount_of(left), amount_of(right)
    return int(first > second) - int(first < second)
