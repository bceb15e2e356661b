"""What the pods used, tier by tier and window by window: the price beside the effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import NOTHING, section, table

if TYPE_CHECKING:
    from meshverdict.report.document import Report, UsageRow

_MB = 1e6


def usage_section(report: Report) -> Html | None:
    """Processor time per request and memory, of each tier's own containers and of its sidecars."""
    if not report.usage:
        return None
    windows = list(dict.fromkeys(row.window for row in report.usage))
    parts = list(dict.fromkeys((row.tier, row.part) for row in report.usage))
    found = {(row.window, row.tier, row.part): row for row in report.usage}
    head = ["tier", *(text for name in windows for text in (f"{name}: CPU", "memory"))]
    rows = [
        h(
            "tr",
            h("th", tier, h("span", "sidecar" if part == "sidecar" else "its own containers", class_="note")),
            [_cells(found.get((window, tier, part))) for window in windows],
        )
        for tier, part in sorted(parts)
    ]
    return section(
        "usage",
        "What it cost",
        "Processor time for each request to the lab, idle work of the pods included, so it falls as the rate rises;"
        " and memory that is no file's. Programs of files that pods share are not counted.",
        table(head, [*rows, _total(report, windows)], caption="Processor time and memory of the pods"),
    )


def _total(report: Report, windows: list[str]) -> Html:
    cells = []
    for window in windows:
        mine = [row for row in report.usage if row.window == window]
        sizes = [row.memory for row in mine if row.memory is not None]
        cells.append(_texts(sum(row.cpu_ms for row in mine), sum(sizes) if sizes else None))
    return h("tr", h("th", "together", scope="row"), cells)


def _cells(row: UsageRow | None) -> list[Html]:
    return [h("td", NOTHING), h("td", NOTHING)] if row is None else _texts(row.cpu_ms, row.memory)


def _texts(cpu_ms: float, memory: float | None) -> list[Html]:
    size = NOTHING if memory is None else f"{memory / _MB:.0f} MB"
    return [h("td", f"{cpu_ms:.2f} ms"), h("td", size)]
