"""A chart as a value: it is drawn twice, as an SVG without any script and by the page's script.

The live chart (uPlot, see docs/adr) replaces the SVG on screen where scripts run; paper always shows the SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

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
        kind: ``time`` (x in seconds) or ``tail`` (x in nines: 0 is the fastest, 1 the p90, 2 the p99), or ``load`` (x in
            requests a second).
        log: Whether the y axis is logarithmic.
    """

    key: str
    title: str
    summary: str
    unit: str
    x: Sequence[float]
    lines: Sequence[Line]
    kind: Literal["time", "tail", "load"] = "time"
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


def _short(value: float) -> float:
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value, 1)
