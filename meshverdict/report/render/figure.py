"""A chart on a page: its title and key, the drawing, the place of its live form, and its figures as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshverdict.report.render.axis import number, x_label
from meshverdict.report.render.drawing import svg
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import NOTHING

if TYPE_CHECKING:
    from meshverdict.report.render.chart import Chart, Line

MAX_TABLE_ROWS: Final = 60


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


def _key(line: Line) -> Html:
    return h(
        "span", h("i", class_=f"swatch {line.tone}{' dash' if line.dash else ''}"), line.label, class_="key"
    )


def _table(chart: Chart) -> Html:
    step = max(1, -(-len(chart.x) // MAX_TABLE_ROWS))
    head = {"tail": "slowest share", "load": "requests a second"}.get(chart.kind, "time")
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
