"""Draw a chart as SVG, for print, for documents, and for a browser without scripts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from meshverdict.report.render.axis import number, x_label, x_ticks, y_ticks
from meshverdict.report.render.html import Html, h

if TYPE_CHECKING:
    from meshverdict.report.render.chart import Band, Chart, Line, Moment

WIDTH: Final = 960
HEIGHT: Final = 220
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 26, 30

Place = Callable[[float], float]


def svg(chart: Chart) -> Html:
    """The chart without any script."""
    if len(chart.x) == 0:
        return h("p", "Nothing was recorded.", class_="quiet")
    low_x, high_x = chart.x[0], max(chart.x[-1], chart.x[0] + 1)
    ticks = y_ticks(chart)
    low, high = ticks[0], ticks[-1]

    def at_x(x: float) -> float:
        return LEFT + (x - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT)

    def at_y(y: float) -> float:
        share = _share(y, low, high, log=chart.log)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    return h(
        "svg",
        [_band(b, at_x, low_x, high_x) for b in chart.bands],
        [_y_tick(tick, at_y) for tick in ticks],
        [_x_tick(tick, at_x, chart.kind) for tick in x_ticks(low_x, high_x, chart.kind)],
        [_fill(line, chart.x, at_x, at_y, low) for line in chart.lines if line.fill],
        [_path(line, chart.x, at_x, at_y) for line in chart.lines],
        [_moment(m, at_x) for m in chart.moments],
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{chart.title}. {chart.summary}",
        class_="static",
    )


def _share(y: float, low: float, high: float, *, log: bool) -> float:
    if log:
        y, low, high = math.log10(max(y, low)), math.log10(low), math.log10(high)
    return (y - low) / (high - low)


def _band(band: Band, at_x: Place, low: float, high: float) -> Html:
    start, end = max(band.start, low), min(band.end, high)
    if end <= start:
        return Html("")
    x, width = at_x(start), at_x(end) - at_x(start)
    return h(
        "g",
        h(
            "rect",
            x=_px(x),
            y=TOP,
            width=_px(width),
            height=HEIGHT - TOP - BOTTOM,
            class_=f"band {band.role}",
        ),
        h("text", band.label, x=_px(x + 5), y=TOP - 8, class_="band-label") if width > 40 else None,
    )


def _y_tick(tick: float, at_y: Place) -> Html:
    y = _px(at_y(tick))
    return h(
        "g",
        h("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"),
        h("text", number(tick), x=LEFT - 7, y=y, class_="tick y"),
    )


def _x_tick(tick: float, at_x: Place, kind: str) -> Html:
    return h("text", x_label(tick, kind), x=_px(at_x(tick)), y=HEIGHT - 10, class_="tick x")


def _moment(moment: Moment, at_x: Place) -> Html:
    x = _px(at_x(moment.x))
    return h(
        "g",
        h("line", x1=x, x2=x, y1=TOP - 2, y2=HEIGHT - BOTTOM, class_="moment"),
        h("text", moment.label, x=x + 4, y=TOP + 12, class_="moment-label"),
    )


def _path(line: Line, xs: Sequence[float], at_x: Place, at_y: Place) -> Html:
    commands, pen_down = [], False
    for x, y in zip(xs, line.values, strict=True):
        if y is None:
            pen_down = False
            continue
        commands.append(f"{'L' if pen_down else 'M'}{_px(at_x(x))} {_px(at_y(y))}")
        pen_down = True
    return h("path", d="".join(commands), class_=f"line {line.tone}{' dash' if line.dash else ''}")


def _fill(line: Line, xs: Sequence[float], at_x: Place, at_y: Place, low: float) -> Html:
    points = [(x, low if y is None else y) for x, y in zip(xs, line.values, strict=True)]
    outline = "".join(f"L{_px(at_x(x))} {_px(at_y(y))}" for x, y in points)
    start, end = _px(at_x(points[0][0])), _px(at_x(points[-1][0]))
    return h(
        "path", d=f"M{start} {_px(at_y(low))}{outline}L{end} {_px(at_y(low))}Z", class_=f"fill {line.tone}"
    )


def _px(value: float) -> float:
    return round(value, 1)
