"""What a report says about zones: who talked to whom within and across them, and what staying in one was worth. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshverdict.analysis.loose import mapping, mappings, number
from meshverdict.analysis.zones import ZoneLoad, edges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from meshverdict.analysis.windows import Windows
    from meshverdict.analysis.zones import Passed, ZoneEdge


@dataclass(frozen=True, slots=True)
class ZoneMap:
    """The traffic of one window."""

    window: str
    role: str
    edges: tuple[ZoneEdge, ...]


@dataclass(frozen=True, slots=True)
class Saving:
    """What affinity saved in this run, beside the formula.

    Attributes:
        connection: ``pooled`` or ``fresh``.
        round_trips: Of one request between the app and its cache.
        rtt_ms: Round trip between the zones, milliseconds.
        crossing: Share of packets that crossed: without affinity, with it.
        mean_ms: Mean latency: without, with.
        cost: A month's traffic across zones: without, with.
        saved_ms: Measured.
        formula_ms: Computed.
        price_per_gb: What the cost was computed with.
    """

    connection: str
    round_trips: int
    rtt_ms: float
    crossing: tuple[float, float]
    mean_ms: tuple[float, float]
    cost: tuple[float, float]
    saved_ms: float
    formula_ms: float
    price_per_gb: float


@dataclass(frozen=True, slots=True)
class ZoneReport:
    """Everything about zones.

    Attributes:
        maps: A map for each window that has traffic.
        saving: None where the run did not ask.
        loads: What the called pods of each zone carried, by phase and beginning of the called pods' names.
        pods: Packets a second that each called pod got, by phase; empty where the run did not ask.
    """

    maps: tuple[ZoneMap, ...]
    saving: Saving | None
    loads: tuple[tuple[str, str, ZoneLoad], ...]
    pods: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]


def zone_report(passed: Sequence[Passed], windows: Windows, found: Mapping[str, Any]) -> ZoneReport | None:
    """What is to be said; None for a run in one zone.

    Args:
        passed: From the telemetry.
        windows: Of the run.
        found: ``measures.zones`` of run.json.
    """
    maps = [ZoneMap(w.name, w.role, edges(passed, [w])) for w in windows.counted]
    kept = tuple(one for one in maps if one.edges)
    if not kept and not found:
        return None
    return ZoneReport(
        kept,
        _saving(mapping(found.get("saving"))),
        _loads(mapping(found.get("load_by_zone"))),
        _pods(mapping(found.get("load_by_pod"))),
    )


def _saving(told: Mapping[str, Any]) -> Saving | None:
    sides = [mapping(told.get(side)) for side in ("without", "with")]
    cost = mapping(told.get("cost_per_month"))
    values = [
        number(value)
        for value in (
            *(side.get("crossing") for side in sides),
            *(side.get("mean_ms") for side in sides),
            *(cost.get(side) for side in ("without", "with")),
            *(told.get(k) for k in ("saved_ms", "formula_ms", "rtt_ms", "round_trips", "price_per_gb")),
        )
    ]
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return None
    c0, c1, m0, m1, p0, p1, saved, formula, rtt, turns, price = numbers
    if m0 <= 0:
        return None
    words = str(told.get("connection") or "")
    return Saving(words, int(turns), rtt, (c0, c1), (m0, m1), (p0, p1), saved, formula, price)


def _loads(told: Mapping[str, Any]) -> tuple[tuple[str, str, ZoneLoad], ...]:
    found = []
    for phase, by_called in told.items():
        for called, zones in mapping(by_called).items():
            for one in mappings(zones):
                pods, share, overload = (number(one.get(key)) for key in ("pods", "share", "overload"))
                if pods is not None and share is not None and overload is not None:
                    load = ZoneLoad(str(one.get("zone") or ""), int(pods), share, overload)
                    found.append((str(phase), str(called), load))
    return tuple(found)


def _pods(told: Mapping[str, Any]) -> tuple[tuple[str, tuple[tuple[str, float], ...]], ...]:
    return tuple(
        (phase, tuple((pod, value) for pod, n in mapping(pods).items() if (value := number(n)) is not None))
        for phase, pods in told.items()
    )
