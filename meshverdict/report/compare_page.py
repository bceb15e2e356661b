"""The page of a comparison: two runs side by side, in tables and in overlaid timelines. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict import __version__
from meshverdict.report.agreement import FACTOR
from meshverdict.report.compare_words import description, measure_words
from meshverdict.report.render.chart import Chart, Line
from meshverdict.report.render.details import as_details
from meshverdict.report.render.figure import figure
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.page import footer, page
from meshverdict.report.render.parts import NOTHING, chip, section, table
from meshverdict.report.render.sections import probe_cells

if TYPE_CHECKING:
    from meshverdict.report.agreement import Agreement
    from meshverdict.report.compare import Comparison, Overlay, Side


def as_html(comparison: Comparison) -> str:
    """A self-contained page."""
    charts = [
        chart for at, overlay in enumerate(comparison.overlays) for chart in overlay_charts(at, overlay)
    ]
    parts = [
        h(
            "div",
            h("p", "Two runs side by side", class_="word"),
            h("p", description(comparison), class_="sentence"),
            class_="verdict unsure",
        ),
        _refused(comparison) if not comparison.comparable else None,
        h("div", _side_card("A", comparison.a), _side_card("B", comparison.b), class_="groups sides"),
        [h("p", warning, class_="notice") for warning in comparison.warnings],
    ]
    body = [
        h(
            "header",
            h("p", "meshverdict · comparison", class_="brand"),
            h("h1", comparison.a.title),
        ),
        h(
            "main",
            h("section", parts, id="sides"),
            _agreement(comparison.agreement) if comparison.agreement else None,
            _probe_table(comparison),
            _measure_table(comparison),
            _overlay_section(charts),
        ),
        footer(
            f"Made by meshverdict {__version__}:"
            f" meshverdict compare {comparison.a.origin} {comparison.b.origin}"
        ),
    ]
    return page(f"Comparison: {comparison.a.title}", body, charts=[chart.as_data() for chart in charts])


def overlay_charts(at: int, overlay: Overlay) -> tuple[Chart, Chart]:
    """Goodput and p99 of one case, both runs in one picture."""
    short = overlay.case.split(":")[0]
    length = max(len(overlay.a.t), len(overlay.b.t))
    step = overlay.a.bin_s if len(overlay.a.t) >= len(overlay.b.t) else overlay.b.bin_s
    x = [i * step for i in range(length)]

    def line(label: str, tone: str, values: tuple[float | None, ...], *, dash: bool) -> Line:
        return Line(label, tone, [*values, *([None] * (length - len(values)))], dash=dash)

    return (
        Chart(
            key=f"{at}-goodput",
            title=f"{short}: answered requests per second",
            summary="Both runs, each from the start of its load.",
            unit="requests/s",
            x=x,
            lines=[line("A", "a", overlay.a.ok, dash=False), line("B", "b", overlay.b.ok, dash=True)],
        ),
        Chart(
            key=f"{at}-p99",
            title=f"{short}: p99 latency of answered requests",
            summary="Both runs, each from the start of its load.",
            unit="ms",
            x=x,
            lines=[line("A", "a", overlay.a.p99_ms, dash=False), line("B", "b", overlay.b.p99_ms, dash=True)],
            log=True,
        ),
    )


def _refused(comparison: Comparison) -> Html:
    reasons = h("ul", [h("li", reason) for reason in comparison.refusals])
    return h("div", h("h2", "These two cannot be compared"), reasons, class_="box invalid", role="alert")


def _side_card(name: str, side: Side) -> Html:
    took = f"{side.seconds:.0f} s" if side.seconds is not None else NOTHING
    items = (("verdict", side.verdict), ("status", side.status), ("took", took), ("folder", side.origin))
    return h(
        "div",
        h("h3", h("i", class_=f"swatch {name.lower()}"), f" {name}"),
        h("dl", [[h("dt", key), h("dd", value)] for key, value in items]),
        h("ul", [h("li", reason) for reason in side.reasons]) if side.reasons else None,
        class_="group",
    )


def _agreement(agreement: Agreement) -> Html:
    tones = {True: "good", False: "bad", None: "unsure"}
    rows = [
        h(
            "tr",
            h("th", line.what, scope="row"),
            h("td", line.embedded),
            h("td", line.real),
            h("td", chip(line.word, tones[line.agree])),
            h("td", ", ".join(line.because) if line.agree is False else ""),
        )
        for line in agreement.lines
    ]
    head = ("", "embedded lab", "real cluster", "", "may be because of")
    intro = (
        f"{agreement.sentence} Effects are compared within each run, never latencies across machines; times of"
        f" enforcement within a factor of {FACTOR:g} count as alike."
    )
    shown = table(head, rows, caption="Agreement of the embedded lab and the real cluster")
    return section("agreement", "Does the embedded lab tell the truth?", intro, shown, as_details())


def _probe_table(comparison: Comparison) -> Html | None:
    if not comparison.probes:
        return None
    rows = [
        h(
            "tr",
            h("th", line.name, scope="row"),
            h("td", line.tolerance, class_="mono"),
            [probe_cells(p) for p in (line.a_before, line.a_after, line.b_before, line.b_after)],
        )
        for line in comparison.probes
    ]
    head = ("probe", "may answer", "A before", "", "A after", "", "B before", "", "B after", "")
    return section(
        "probes",
        "Steady-state probes",
        "What each probe answered before and after the method, and whether that was within its tolerance.",
        table(head, rows, caption="Steady-state probes of both runs"),
    )


def _measure_table(comparison: Comparison) -> Html | None:
    if not comparison.measures:
        return None
    rows = [
        h(
            "tr",
            [
                h("th" if i < 1 else "td", text, class_="number" if i > 2 else None)
                for i, text in enumerate(words)
            ],
        )
        for words in map(measure_words, comparison.measures)
    ]
    return section(
        "measures",
        "Load",
        "The same windows of both runs. B / A is 1 where they are alike; how far from 1 chance alone takes it"
        " is what two runs cannot tell.",
        table(("case", "window", "measure", "A", "B", "B / A"), rows, caption="Measures of both runs"),
    )


def _overlay_section(charts: list[Chart]) -> Html | None:
    if not charts:
        return None
    drawn = h("div", [figure(chart) for chart in charts], class_="figures")
    return section("timelines", "Timelines", "Both runs, each from the start of its own load.", drawn)
