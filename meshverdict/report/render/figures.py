"""The charts of a run's report: its timeline, and how slow its slowest answers were."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from meshverdict.report.render.axis import number
from meshverdict.report.render.chart import Chart, Line
from meshverdict.report.render.figure import figure
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.load import load_charts
from meshverdict.report.render.overload import overload_charts
from meshverdict.report.render.parts import section
from meshverdict.report.render.phases import phase_bands, phase_moments

if TYPE_CHECKING:
    from meshverdict.report.document import CaseReport, Report


def all_charts(report: Report) -> list[Chart]:
    """Every chart of the page."""
    timelines = [chart for case in report.cases for chart in timeline_charts(report, case)]
    tails = [chart for case in report.cases if (chart := tail_chart(report, case)) is not None]
    return timelines + overload_charts(report) + tails + load_charts(report)


def timeline(report: Report) -> Html | None:
    """Rate, errors and latency of each case over time, with the moments of the treatment."""
    charts = [chart for case in report.cases for chart in timeline_charts(report, case)]
    if not charts:
        return None
    left_out = "Left out of the figures above by rule: " + "; ".join(report.dropped_time) + "."
    return section(
        "timeline",
        "Timeline",
        "Every second of the run. Shaded: the phases. Vertical lines: when the treatment was applied and"
        " removed. Latency is of the requests that were answered; its scale is logarithmic, so that a slow"
        " tail does not hide the rest. Drag to zoom, double-click to zoom out.",
        h("p", report.load_line, class_="quiet"),
        h("div", [figure(chart) for chart in charts], class_="figures"),
        h("p", left_out, class_="quiet") if report.dropped_time else None,
    )


def timeline_charts(report: Report, case: CaseReport) -> tuple[Chart, ...]:
    """The two charts of a case; none when it made no request."""
    series, t0 = case.series, report.t0
    if not series.t:
        return ()
    x = [t - t0 for t in series.t]
    end = x[-1] + series.bin_s
    bands, moments = phase_bands(report, end), phase_moments(report)
    words = ". ".join(f"{w.name}: {cell.words}" for w, cell in zip(report.windows, case.cells, strict=True))
    return (
        Chart(
            key=f"{_key(case)}-rate",
            title=f"{_short_title(case)}: requests per second",
            summary=words,
            unit="requests/s",
            x=x,
            lines=[Line("answered", "ok", series.ok, fill=True), Line("errors", "error", series.errors)],
            bands=bands,
            moments=moments,
        ),
        Chart(
            key=f"{_key(case)}-latency",
            title=f"{_short_title(case)}: latency of answered requests",
            summary=words,
            unit="ms",
            x=x,
            lines=[Line("p50", "p50", series.p50_ms), Line("p99", "p99", series.p99_ms, dash=True)],
            log=True,
            bands=bands,
            moments=moments,
        ),
    )


def distribution(report: Report) -> Html | None:
    """The latency distribution of each case, with a log axis that gives the tail its room."""
    charts = [chart for case in report.cases if (chart := tail_chart(report, case)) is not None]
    if not charts:
        return None
    return section(
        "distribution",
        "Latency distribution",
        "How slow the slowest answers were. To the right are ever rarer requests: at 99 % one in a hundred"
        " was slower. Where the lines lie on each other, the treatment cost nothing.",
        h("div", [figure(chart) for chart in charts], class_="figures"),
    )


def tail_chart(report: Report, case: CaseReport) -> Chart | None:
    """One line per window on a common axis of nines; None where nothing was answered."""
    if not case.tails:
        return None
    longest = max((points for _, points in case.tails), key=len)
    lines = []
    roles = {w.name: w.role for w in report.windows}
    for name, points in case.tails:
        values = [value for _, value in points] + [None] * (len(longest) - len(points))
        lines.append(Line(name, roles[name], values, dash=roles[name] == "during"))
    ends = ", ".join(f"{name} up to {number(points[-1][1])} ms" for name, points in case.tails)
    return Chart(
        key=f"{_key(case)}-tail",
        title=f"{_short_title(case)}: latency by share of requests",
        summary=f"Slowest answers: {ends}.",
        unit="ms",
        x=[nines for nines, _ in longest],
        lines=lines,
        kind="tail",
        log=True,
    )


def _key(case: CaseReport) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", case.case.key).strip("-") or "root"


def _short_title(case: CaseReport) -> str:
    return case.case.title.split(":")[0]
