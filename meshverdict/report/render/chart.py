"""Charts, twice from one value: an SVG without any script (print, mail, documents) and data for the live one.

The live chart (uPlot, see docs/adr) replaces the SVG on screen where scripts run; paper always shows the SVG.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import NOTHING

WIDTH, HEIGHT = 960, 220
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 26, 30
MAX_TABLE_ROWS = 60

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart; ``tone`` names its colour in the style sheet."""

    label: str
    tone: str
    values: Values
    dash: bool = False
    fill: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """A shaded stretch of the x axis."""

    label: str
    role: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A vertical line at a moment."""

    label: str
    x: float


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        key: Unique on the page.
        summary: What a person who cannot see it is told.
        kind: ``time`` (x in seconds) or ``tail`` (x in nines: 0 is the fastest, 1 the p90, 2 the p99).
        log: Whether the y axis is logarithmic.
    """

    key: str
    title: str
    summary: str
    unit: str
    x: Sequence[float]
    lines: Sequence[Line]
    kind: Literal["time", "tail"] = "time"
    log: bool = False
    bands: Sequence[Band] = field(default=())
    moments: Sequence[Moment] = field(default=())

    def as_data(self) -> dict[str, Any]:
        """What the page's script draws from."""
        return {
            "key": self.key,
            "kind": self.kind,
            "log": self.log,
            "unit": self.unit,
            "title": self.title,
            "x": [_short(x) for x in self.x],
            "lines": [
                {
                    "label": line.label,
                    "tone": line.tone,
                    "dash": line.dash,
                    "fill": line.fill,
                    "values": [None if v is None else _short(v) for v in line.values],
                }
                for line in self.lines
            ],
            "bands": [{"label": b.label, "role": b.role, "start": b.start, "end": b.end} for b in self.bands],
            "moments": [{"label": m.label, "x": m.x} for m in self.moments],
        }


def figure(chart: Chart) -> Html:
    """The chart with its title, its key, the place of its live form, and its table."""
    return h(
        "figure",
        h(
            "figcaption",
            h("span", chart.title, class_="chart-title"),
            h("span", [_key(line) for line in chart.lines], class_="keys"),
        ),
        h(
            "div",
            svg(chart),
            class_="chart",
            id=f"chart-{chart.key}",
            tabindex="0",
            role="group",
            aria_label=f"{chart.title}. {chart.summary} Use the left and right arrow keys to read values.",
        ),
        h(
            "div",
            h("details", h("summary", "Show as a table"), _table(chart), class_="as-table"),
            h("p", class_="readout", id=f"readout-{chart.key}", aria_live="polite"),
            class_="foot",
        ),
        class_="figure",
    )


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


def y_ticks(chart: Chart) -> list[float]:
    """Round values that enclose all lines."""
    values = [v for line in chart.lines for v in line.values if v is not None and (v > 0 or not chart.log)]
    if chart.log:
        low = math.floor(math.log10(min(values))) if values else 0
        high = math.ceil(math.log10(max(values))) if values else 1
        return [10.0**e for e in range(low, max(high, low + 1) + 1)]
    top = max(values, default=1.0) or 1.0
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

    >>> x_label(2, "tail"), x_label(0, "tail"), x_label(30, "time")
    ('99 %', '0 %', '30 s')
    """
    if kind != "tail":
        return f"{x:g} s"
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


def _share(y: float, low: float, high: float, *, log: bool) -> float:
    if log:
        y, low, high = math.log10(max(y, low)), math.log10(low), math.log10(high)
    return (y - low) / (high - low)


def _band(band: Band, at_x: Any, low: float, high: float) -> Html:
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


def _y_tick(tick: float, at_y: Any) -> Html:
    y = _px(at_y(tick))
    return h(
        "g",
        h("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"),
        h("text", number(tick), x=LEFT - 7, y=y, class_="tick y"),
    )


def _x_tick(tick: float, at_x: Any, kind: str) -> Html:
    return h("text", x_label(tick, kind), x=_px(at_x(tick)), y=HEIGHT - 10, class_="tick x")


def _moment(moment: Moment, at_x: Any) -> Html:
    x = _px(at_x(moment.x))
    return h(
        "g",
        h("line", x1=x, x2=x, y1=TOP - 2, y2=HEIGHT - BOTTOM, class_="moment"),
        h("text", moment.label, x=x + 4, y=TOP + 12, class_="moment-label"),
    )


def _path(line: Line, xs: Sequence[float], at_x: Any, at_y: Any) -> Html:
    commands, pen_down = [], False
    for x, y in zip(xs, line.values, strict=True):
        if y is None:
            pen_down = False
            continue
        commands.append(f"{'L' if pen_down else 'M'}{_px(at_x(x))} {_px(at_y(y))}")
        pen_down = True
    return h("path", d="".join(commands), class_=f"line {line.tone}{' dash' if line.dash else ''}")


def _fill(line: Line, xs: Sequence[float], at_x: Any, at_y: Any, low: float) -> Html:
    points = [(x, low if y is None else y) for x, y in zip(xs, line.values, strict=True)]
    outline = "".join(f"L{_px(at_x(x))} {_px(at_y(y))}" for x, y in points)
    start, end = _px(at_x(points[0][0])), _px(at_x(points[-1][0]))
    return h(
        "path", d=f"M{start} {_px(at_y(low))}{outline}L{end} {_px(at_y(low))}Z", class_=f"fill {line.tone}"
    )


def _key(line: Line) -> Html:
    return h(
        "span", h("i", class_=f"swatch {line.tone}{' dash' if line.dash else ''}"), line.label, class_="key"
    )


def _table(chart: Chart) -> Html:
    step = max(1, -(-len(chart.x) // MAX_TABLE_ROWS))
    head = "slowest share" if chart.kind == "tail" else "time"
    rows = [
        h(
            "tr",
            h("th", x_label(round(chart.x[i], 3), chart.kind), scope="row"),
            [h("td", NOTHING if (v := line.values[i]) is None else number(v)) for line in chart.lines],
        )
        for i in range(0, len(chart.x), step)
    ]
    note = f"Every {step}th point; the run folder has them all." if step > 1 else None
    return h(
        "div",
        h("p", note, class_="quiet") if note else None,
        h(
            "table",
            h("caption", f"{chart.title} ({chart.unit})", class_="hidden"),
            h(
                "thead",
                h(
                    "tr",
                    h("th", head, scope="col"),
                    [h("th", f"{line.label}, {chart.unit}", scope="col") for line in chart.lines],
                ),
            ),
            h("tbody", rows),
        ),
        class_="scroll",
    )


def _px(value: float) -> float:
    return round(value, 1)


def _short(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)
