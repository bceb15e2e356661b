"""A comparison in words that every output shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.report.render.axis import number
from meshverdict.report.render.parts import NOTHING, TIMES

if TYPE_CHECKING:
    from meshverdict.report.compare import Comparison, Measure
    from meshverdict.report.journal import Probe

_MET = {True: "met", False: "not met", None: "unknown"}


def description(comparison: Comparison) -> str:
    """What two single runs can say, and what to type for more."""
    minutes = f" (about {max(1, round(comparison.minutes))} minutes)" if comparison.minutes else ""
    return (
        "A description, not a verdict: two runs differ by chance alone. For a verdict with an interval, run"
        f" pairs: {comparison.command}{minutes}."
    )


def measure_words(measure: Measure) -> tuple[str, str, str, str, str, str]:
    """A row of a table: case, window, measure with its unit, A, B, B / A."""
    a, b, ratio = (NOTHING if v is None else number(v) for v in (measure.a, measure.b, measure.ratio))
    unit = f"{measure.name}, {measure.unit}"
    return measure.case, measure.window, unit, a, b, ratio if ratio == NOTHING else f"{TIMES}{ratio}"


def probe_words(probe: Probe | None) -> str:
    """What a probe answered, and whether that was within its tolerance."""
    if probe is None or (probe.value is None and probe.met is None):
        return "not checked"
    return f"{probe.value if probe.value is not None else NOTHING} ({_MET[probe.met]})"


def cell(text: str) -> str:
    """Text for a Markdown table: no markup of its own, no new lines, no column ends."""
    text = " ".join(text.split())
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return text
