"""A comparison for a person, a pull request, a program, or a browser. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from meshverdict import __version__
from meshverdict.model.errors import UsageError
from meshverdict.report.compare import DESCRIPTION
from meshverdict.report.render.chart import Chart, Line, figure, number
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.page import footer, page
from meshverdict.report.render.parts import NOTHING, TIMES, section, table
from meshverdict.report.render.sections import probe_cells

if TYPE_CHECKING:
    from meshverdict.report.compare import Comparison, Measure, Overlay, ProbeLine, Side
    from meshverdict.report.journal import Probe

FORMAT = "comparison/1"
_WORDS = {True: "met", False: "not met", None: "unknown"}


def render_compare(comparison: Comparison, output: str) -> str:
    """The comparison as ``text``, ``md``, ``json`` or ``html``.

    Raises:
        UsageError: Another output was asked for.
    """
    renderers = {"text": as_text, "md": as_markdown, "json": as_json, "html": as_html}
    if output not in renderers:
        raise UsageError(f"--output {output}: choose one of {', '.join(renderers)}")
    return renderers[output](comparison)


def as_json(comparison: Comparison) -> str:
    """JSON by docs/schemas/compare.json."""
    return json.dumps(as_value(comparison), indent=2, ensure_ascii=False)


def as_value(comparison: Comparison) -> dict[str, Any]:
    """What the JSON says."""
    return {
        "format": FORMAT,
        "kind": DESCRIPTION,
        "comparable": comparison.comparable,
        "refusals": list(comparison.refusals),
        "warnings": list(comparison.warnings),
        "a": _side_value(comparison.a),
        "b": _side_value(comparison.b),
        "probes": [_probe_value(line) for line in comparison.probes],
        "measures": [
            {
                "case": m.case, "window": m.window, "name": m.name, "unit": m.unit,
                "a": m.a, "b": m.b, "ratio": m.ratio,
            }
            for m in comparison.measures
        ],
        "verdict_command": comparison.command,
        "verdict_minutes": comparison.minutes,
    }  # fmt: skip


def as_markdown(comparison: Comparison) -> str:
    """A table that fits a pull-request comment."""
    lines = [
        f"### {_cell(comparison.a.title)}: two runs side by side",
        "",
        f"> {description(comparison)}",
        "",
    ]
    lines += [f"- **A** `{_code(comparison.a.origin)}`: {comparison.a.verdict}"]
    lines += [f"- **B** `{_code(comparison.b.origin)}`: {comparison.b.verdict}", ""]
    if not comparison.comparable:
        return "\n".join([*lines, "**Not comparable:**", "", *(f"- {_cell(r)}" for r in comparison.refusals)])
    if comparison.probes:
        lines += [
            "| probe | tolerance | A before | A after | B before | B after |",
            "|---|---|---|---|---|---|",
        ]
        for line in comparison.probes:
            cells = (line.a_before, line.a_after, line.b_before, line.b_after)
            shown = " | ".join(_cell(_probe_words(p)) for p in cells)
            lines.append(f"| {_cell(line.name)} | {_cell(line.tolerance)} | {shown} |")
        lines.append("")
    if comparison.measures:
        lines += ["| case | window | measure | A | B | B / A |", "|---|---|---|--:|--:|--:|"]
        lines += [f"| {' | '.join(map(_cell, _measure_words(m)))} |" for m in comparison.measures]
        lines.append("")
    lines += [f"- ⚠ {_cell(warning)}" for warning in comparison.warnings]
    return "\n".join(lines).rstrip()


def as_text(comparison: Comparison) -> str:
    """For a terminal."""
    lines = [
        f"A  {comparison.a.verdict:9} {comparison.a.origin}",
        f"B  {comparison.b.verdict:9} {comparison.b.origin}",
    ]
    if not comparison.comparable:
        return "\n".join(
            [*lines, "", "Not comparable:", *(f"  - {reason}" for reason in comparison.refusals)]
        )
    lines += ["", "Steady-state probes"] if comparison.probes else []
    for line in comparison.probes:
        lines.append(f"  {line.name}   [{line.tolerance}]")
        lines += [
            f"    {who}  before: {_probe_words(before)}   after: {_probe_words(after)}"
            for who, before, after in (("A", line.a_before, line.a_after), ("B", line.b_before, line.b_after))
        ]
    lines += ["", "Load"] if comparison.measures else []
    last = None
    for measure in comparison.measures:
        group = (measure.case, measure.window)
        if group != last:
            lines.append(f"  {measure.case}, {measure.window}")
            last = group
        _, _, name, a, b, ratio = _measure_words(measure)
        lines.append(f"    {name:22} {a:>10} {b:>10} {ratio:>8}")
    lines += ["", *(f"warning: {warning}" for warning in comparison.warnings)] if comparison.warnings else []
    return "\n".join([*lines, "", description(comparison)])


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


def description(comparison: Comparison) -> str:
    """What two single runs can say, and what to type for more."""
    minutes = f" (about {max(1, round(comparison.minutes))} minutes)" if comparison.minutes else ""
    return (
        "A description, not a verdict: two runs differ by chance alone. For a verdict with an interval, run"
        f" pairs: {comparison.command}{minutes}."
    )


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
        for words in map(_measure_words, comparison.measures)
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


def _measure_words(measure: Measure) -> tuple[str, str, str, str, str, str]:
    a, b, ratio = (NOTHING if v is None else number(v) for v in (measure.a, measure.b, measure.ratio))
    unit = f"{measure.name}, {measure.unit}"
    return measure.case, measure.window, unit, a, b, ratio if ratio == NOTHING else f"{TIMES}{ratio}"


def _probe_words(probe: Probe | None) -> str:
    if probe is None or (probe.value is None and probe.met is None):
        return "not checked"
    return f"{probe.value if probe.value is not None else NOTHING} ({_WORDS[probe.met]})"


def _probe_value(line: ProbeLine) -> dict[str, Any]:
    def one(probe: Probe | None) -> dict[str, Any] | None:
        if probe is None or (probe.value is None and probe.met is None):
            return None
        return {"value": probe.value, "met": probe.met}

    return {
        "name": line.name,
        "tolerance": line.tolerance,
        "a": {"before": one(line.a_before), "after": one(line.a_after)},
        "b": {"before": one(line.b_before), "after": one(line.b_after)},
    }


def _side_value(side: Side) -> dict[str, Any]:
    return {
        "origin": side.origin,
        "title": side.title,
        "status": side.status,
        "verdict": side.verdict.lower(),
        "reasons": list(side.reasons),
        "seconds": side.seconds,
    }


def _cell(text: str) -> str:
    """Text for a Markdown table: no markup of its own, no new lines, no column ends."""
    text = " ".join(text.split())
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")
