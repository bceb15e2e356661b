"""Envoy's ``envoy.service.ratelimit.v3`` messages in Protobuf's wire format: a dozen fields, so no generated code. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from meshverdict.ratelimit.limits import Entry, Status

METHOD: Final = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
OK: Final = 1
OVER_LIMIT: Final = 2
_UNITS: Final = {"second": 1, "minute": 2, "hour": 3, "day": 4}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}


class Request(NamedTuple):
    """``RateLimitRequest``: its domain, its descriptors, and how many requests it counts for."""

    domain: str
    descriptors: tuple[tuple[Entry, ...], ...]
    hits: int


def request(data: bytes) -> Request:
    """Read a request.

    Raises:
        ValueError: It is cut short, or no message.
    """
    domain, hits = "", 0
    descriptors = []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            domain = value.decode()
        elif number == 2 and isinstance(value, bytes):
            descriptors.append(tuple(_entry(v) for n, v in _fields(value) if n == 1 and isinstance(v, bytes)))
        elif number == 3 and isinstance(value, int):
            hits = value
    return Request(domain, tuple(descriptors), hits or 1)


def _entry(data: bytes) -> Entry:
    parts = {n: v.decode() for n, v in _fields(data) if isinstance(v, bytes)}
    return parts.get(1, ""), parts.get(2, "")


def response(statuses: Iterable[Status]) -> bytes:
    """Write a response: over the limit if any descriptor is."""
    kept = list(statuses)
    over = OVER_LIMIT if any(status.over for status in kept) else OK
    return _number(1, over) + b"".join(_message(2, _status(status)) for status in kept)


def _status(status: Status) -> bytes:
    code = _number(1, OVER_LIMIT if status.over else OK)
    if status.limit is None:
        return code
    limit = _number(1, status.limit.requests) + _number(2, _UNITS[status.limit.unit])
    reset = _message(4, _number(1, status.reset_s))
    return code + _message(2, limit) + _number(3, status.remaining) + reset


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value) if value else b""


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with their values; fixed-size ones, which nothing here has, as bytes."""
    at = 0
    while at < len(data):
        tag, at = _read(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _read(data, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            length, at = _read(data, at)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise ValueError(f"field {tag >> 3} has wire type {kind}")
        if at + length > len(data):
            raise ValueError(f"field {tag >> 3} is cut short")
        yield tag >> 3, data[at : at + length]
        at += length


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number is cut short")
