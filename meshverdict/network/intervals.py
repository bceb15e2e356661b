"""Sets of numbers as closed intervals: CIDRs with exceptions, and port ranges, in one canonical form.

The kernel refuses overlapping elements in interval sets, so overlaps are merged here.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_left
from collections import defaultdict
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


def tiles(areas: Iterable[tuple[Interval, Interval]], limit: int) -> list[tuple[Interval, Interval]] | None:
    """The same area as tiles (x, y) that do not overlap, x merged where it can be.

    The kernel's sets of concatenated ranges refuse overlaps. Cuts the y axis wherever an area begins or ends.

    Returns:
        The tiles, or None when there would be more than *limit*.
    """
    by_y: dict[Interval, list[Interval]] = defaultdict(list)
    for x, y in areas:
        by_y[y].append(x)
    cuts = sorted({low for low, _ in by_y} | {high + 1 for _, high in by_y})
    strips: dict[int, list[Interval]] = defaultdict(list)
    size = 0
    for (low, high), xs in by_y.items():
        for position in range(bisect_left(cuts, low), bisect_left(cuts, high + 1)):
            strips[position] += xs
            size += len(xs)
            if size > limit:
                return None
    return [
        (x, (cuts[position], cuts[position + 1] - 1))
        for position, xs in sorted(strips.items())
        for x in union(xs)
    ]
