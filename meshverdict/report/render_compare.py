"""A comparison for a person, a pull request, a program, or a browser. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from meshverdict.model.errors import UsageError
from meshverdict.report.compare import DESCRIPTION
from meshverdict.report.compare_page import as_html
from meshverdict.report.compare_words import cell, description, measure_words, probe_words
from meshverdict.report.fidelity import DOCUMENT

if TYPE_CHECKING:
    from meshverdict.report.agreement import Agreement
    from meshverdict.report.compare import Comparison, ProbeLine, Side
    from meshverdict.report.journal import Probe

FORMAT = "comparison/1"


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
        "agreement": None if comparison.agreement is None else comparison.agreement.as_dict(),
        "verdict_command": comparison.command,
        "verdict_minutes": comparison.minutes,
    }  # fmt: skip


def as_markdown(comparison: Comparison) -> str:
    """A table that fits a pull-request comment."""
    lines = [
        f"### {cell(comparison.a.title)}: two runs side by side",
        "",
        f"> {description(comparison)}",
        "",
    ]
    lines += [f"- **A** `{_code(comparison.a.origin)}`: {comparison.a.verdict}"]
    lines += [f"- **B** `{_code(comparison.b.origin)}`: {comparison.b.verdict}", ""]
    if not comparison.comparable:
        return "\n".join([*lines, "**Not comparable:**", "", *(f"- {cell(r)}" for r in comparison.refusals)])
    if comparison.probes:
        lines += [
            "| probe | tolerance | A before | A after | B before | B after |",
            "|---|---|---|---|---|---|",
        ]
        for line in comparison.probes:
            cells = (line.a_before, line.a_after, line.b_before, line.b_after)
            shown = " | ".join(cell(probe_words(p)) for p in cells)
            lines.append(f"| {cell(line.name)} | {cell(line.tolerance)} | {shown} |")
        lines.append("")
    if comparison.measures:
        lines += ["| case | window | measure | A | B | B / A |", "|---|---|---|--:|--:|--:|"]
        lines += [f"| {' | '.join(map(cell, measure_words(m)))} |" for m in comparison.measures]
        lines.append("")
    lines += _agreement_markdown(comparison.agreement) if comparison.agreement else []
    lines += [f"- ⚠ {cell(warning)}" for warning in comparison.warnings]
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
            f"    {who}  before: {probe_words(before)}   after: {probe_words(after)}"
            for who, before, after in (("A", line.a_before, line.a_after), ("B", line.b_before, line.b_after))
        ]
    lines += ["", "Load"] if comparison.measures else []
    last = None
    for measure in comparison.measures:
        group = (measure.case, measure.window)
        if group != last:
            lines.append(f"  {measure.case}, {measure.window}")
            last = group
        _, _, name, a, b, ratio = measure_words(measure)
        lines.append(f"    {name:22} {a:>10} {b:>10} {ratio:>8}")
    lines += _agreement_text(comparison.agreement) if comparison.agreement else []
    lines += ["", *(f"warning: {warning}" for warning in comparison.warnings)] if comparison.warnings else []
    return "\n".join([*lines, "", description(comparison)])


def _agreement_text(agreement: Agreement) -> list[str]:
    lines = ["", f"Embedded lab and real cluster: {agreement.sentence}"]
    for line in agreement.lines:
        lines.append(f"  {line.word:14} {line.what}: {line.embedded} | {line.real}")
        if line.agree is False and line.because:
            lines.append(f"  {'':14}   may be because of: {', '.join(line.because)} ({DOCUMENT})")
    return lines


def _agreement_markdown(agreement: Agreement) -> list[str]:
    lines = [f"**{cell(agreement.sentence)}**", ""]
    lines += ["| | embedded lab | real cluster | | may be because of |", "|---|---|---|---|---|"]
    for line in agreement.lines:
        because = ", ".join(line.because) if line.agree is False else ""
        cells = (line.what, line.embedded, line.real, line.word, because)
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return [*lines, "", f"What the embedded lab does differently by design: `{DOCUMENT}`.", ""]


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


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")
