"""The run's phases and the treatment's moments, as every chart over time draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.report.render.chart import Band, Moment

if TYPE_CHECKING:
    from meshverdict.report.document import Report


def phase_bands(report: Report, end: float) -> list[Band]:
    """The phases, shaded, up to *end* seconds after the load's start."""
    roles = {w.name: w.role for w in report.windows}
    bands = [
        Band(p.name, roles.get(p.name, "before"), max(0.0, p.start - report.t0), min(end, p.end - report.t0))
        for p in report.phases
    ]
    return [band for band in bands if band.end > band.start]


def phase_moments(report: Report) -> list[Moment]:
    """When the treatment came and went."""
    return [Moment(m.label, m.t - report.t0) for m in report.marks]
