"""Sets of numbers as closed intervals: CIDRs with exceptions, and port ranges, in one canonical form.

The kernel refuses overlapping elements in interval sets, so overlaps are merged here.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Interval = tuple[int, int]
ALL_ADDRESSES: Final[tuple[Interval, ...]] = ((0, 0xFFFFFFFF),)


def union(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """Sorted, disjoint and not adjacent intervals with the same members."""
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def without(whole: Interval, holes: Iterable[Interval]) -> tuple[Interval, ...]:
    """What is left of *whole* when all *holes* are taken out."""
    low, end = whole
    left: list[Interval] = []
    for hole_low, hole_high in union(holes):
        if hole_high < low or hole_low > end:
            continue
        if hole_low > low:
            left.append((low, hole_low - 1))
        low = hole_high + 1
    if low <= end:
        left.append((low, end))
    return tuple(left)


def contains(intervals: Iterable[Interval], number: int) -> bool:
    """Whether a number is in one of the intervals."""
    return any(low <= number <= high for low, high in intervals)


def of_network(network: ipaddress.IPv4Network) -> Interval:
    """First and last address of a network."""
    return int(network.network_address), int(network.broadcast_address)


def number(address: str) -> int:
    """An IPv4 address as a number; raises ValueError for anything else."""
    return int(ipaddress.IPv4Address(address))


def dotted(value: int) -> str:
    """An IPv4 address in dotted form."""
    return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
