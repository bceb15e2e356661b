"""The charts of what workloads and machine said of themselves: threads, queue, CPU, memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from meshverdict.report.render.chart import Chart, Line
from meshverdict.report.render.figure import figure
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import section
from meshverdict.report.render.phases import phase_bands, phase_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshverdict.analysis.telemetry import Samples
    from meshverdict.report.document import Report

_MB = 1e6


def load_section(report: Report) -> Html | None:
    """How busy the pods that told it, and the machine, were."""
    charts = load_charts(report)
    if not charts:
        return None
    return section(
        "load",
        "How busy it was",
        "Once a second, from the pods' own metrics and from the kernel. Overload shows here first: busy threads at"
        " their limit, a queue that grows, somebody who always waits for a core.",
        h("div", [figure(chart) for chart in charts], class_="figures"),
    )


def load_charts(report: Report) -> list[Chart]:
    """Every chart of the section."""
    charts = [chart for pod in report.pods for chart in _pod(report, pod)]
    machine = report.machine
    if machine is not None:
        lines = [
            _line(machine, "busy", "cores busy", "ok", 100, fill=True),
            _line(machine, "pressure", "somebody waits for a core", "error", 100, dash=True),
            _line(machine, "steal", "taken away from below", "other", 100),
        ]
        charts += _chart(report, machine, ("machine", "The whole machine: % of the time", "%"), lines)
    return charts


def _pod(report: Report, pod: Samples) -> list[Chart]:
    name = pod.source
    threads = [
        _line(pod, "busy_threads", "busy threads", "ok", 1, fill=True),
        _line(pod, "queue", "connections that wait", "error", 1),
        _line(pod, "threads", "threads", "before", 1, dash=True),
    ]
    cpu = Line("cores used", "p50", pod.rate("cpu_seconds"), fill=True)
    memory = [_line(pod, "rss_bytes", "resident memory", "p99", 1 / _MB)]
    return [
        *_chart(report, pod, ("threads", f"{name}: threads and queue", ""), threads),
        *_chart(report, pod, ("cpu", f"{name}: CPU, in cores", "cores"), [cpu]),
        *_chart(report, pod, ("memory", f"{name}: memory, in MB", "MB"), memory),
    ]


def _line(
    samples: Samples,
    column: str,
    label: str,
    tone: str,
    factor: float,
    *,
    dash: bool = False,
    fill: bool = False,
) -> Line | None:
    values = samples.columns.get(column)
    if values is None:
        return None
    return Line(label, tone, [None if v is None else v * factor for v in values], dash=dash, fill=fill)


def _chart(
    report: Report, samples: Samples, names: tuple[str, str, str], lines: Sequence[Line | None]
) -> list[Chart]:
    """The chart of key, title and unit; none when nothing was told about it."""
    key, title, unit = names
    told = [line for line in lines if line is not None and any(v is not None for v in line.values)]
    shown = [i for i, t in enumerate(samples.t) if t >= report.t0]
    if not told or not shown:
        return []
    kept = [
        Line(line.label, line.tone, [line.values[i] for i in shown], line.dash, line.fill) for line in told
    ]
    x = [samples.t[i] - report.t0 for i in shown]
    tops = ", ".join(
        f"{line.label} up to {max((v for v in line.values if v is not None), default=0):.3g}" for line in kept
    )
    return [
        Chart(
            key=re.sub(r"[^a-zA-Z0-9]+", "-", f"{samples.source}-{key}"),
            title=title,
            summary=f"{tops}{' ' + unit if unit else ''}.",
            unit=unit,
            x=x,
            lines=kept,
            bands=phase_bands(report, x[-1]),
            moments=phase_moments(report),
        )
    ]
