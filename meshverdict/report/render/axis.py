"""Axes: where they are labelled, and how a number is written on them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshverdict.report.render.chart import Chart


def y_ticks(chart: Chart) -> list[float]:
    """Round values that enclose all lines."""
    values = [v for line in chart.lines for v in line.values if v is not None and (v > 0 or not chart.log)]
    if chart.log:
        low = math.floor(math.log10(min(values))) if values else 0
        high = math.ceil(math.log10(max(values))) if values else 1
        return [10.0**e for e in range(low, max(high, low + 1) + 1)]
    top = max([0.0, *values]) or 1.0
    step = nice_step(top / 4)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


def nice_step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten.

    >>> nice_step(13), nice_step(0.04)
    (20.0, 0.05)
    """
    power = 10.0 ** math.floor(math.log10(rough))
    return next(round(m * power, 12) for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def x_ticks(low: float, high: float, kind: str) -> list[float]:
    """Where the x axis is labelled."""
    if kind == "tail":
        return [float(i) for i in range(math.ceil(low), math.floor(high) + 1)]
    step = nice_step((high - low) / 8)
    first = math.ceil(low / step)
    return [step * i for i in range(first, math.floor(high / step) + 1)]


def x_label(x: float, kind: str) -> str:
    """A label of the x axis.

    >>> x_label(2, "tail"), x_label(0, "tail"), x_label(30, "time"), x_label(80, "load")
    ('99 %', '0 %', '30 s', '80/s')
    """
    if kind != "tail":
        return f"{x:g}/s" if kind == "load" else f"{x:g} s"
    return f"{100 - 100 * 10.0**-x:.10g} %"


def number(value: float) -> str:
    """A value for reading: three digits that count.

    >>> number(0), number(2.0449), number(1234.5), number(0.01234)
    ('0', '2.04', '1,234', '0.0123')
    """
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.0f}" if digits <= 0 else f"{value:.{digits}f}".rstrip("0").rstrip(".")
