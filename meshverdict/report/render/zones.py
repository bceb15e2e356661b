"""The map of the zones: who talks to whom within and across them, before and under affinity, and what that is worth.

Thickness is the rate; what crosses is drawn in another colour than what stays, and says so in words.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import TIMES, section, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshverdict.analysis.zones import ZoneEdge
    from meshverdict.report.document import Report
    from meshverdict.report.zone_facts import Saving, ZoneMap, ZoneReport

_ZONE_W: Final = 210
_BOX_W, _BOX_H = 120, 40
_GAP_X, _GAP_Y = 70, 70
_PAD, _HEAD = 14, 34
_MAX_LINE: Final = 9.0
# An end of a conversation: its namespace and its zone.
_Place = tuple[str, str]
_Talk = dict[tuple[_Place, _Place], list[float]]


def zones_section(report: Report) -> Html | None:
    """Maps, the saving beside its formula, and the load of each pod."""
    zones = report.zones
    if zones is None:
        return None
    busiest = max((e.packets for m in zones.maps for e in m.edges), default=1.0) or 1.0
    return section(
        "zones",
        "Between the zones",
        "Packets as the kernel counted them, questions and answers together, by namespace and zone.",
        h(
            "div",
            [
                h(
                    "div",
                    h("h3", f"{one.window} ({one.role} the treatment)"),
                    zone_map(one, busiest),
                    class_="graph-box",
                )
                for one in zones.maps
            ],
            class_="graphs",
        ),
        _shares(zones),
        _saving(zones.saving) if zones.saving else None,
        _loads(zones) if zones.loads else None,
        _pods(zones) if zones.pods else None,
    )


def conversations(edges: Iterable[ZoneEdge]) -> _Talk:
    """Packets and bytes a second by the two ends, both directions together."""
    found: _Talk = defaultdict(lambda: [0.0, 0.0])
    for edge in edges:
        a, b = sorted([(edge.source, edge.from_zone), (edge.destination, edge.to_zone)])
        total = found[a, b]
        total[0] += edge.packets
        total[1] += edge.bytes
    return found


def zone_map(one: ZoneMap, busiest: float) -> Html:
    """One window's map as an SVG: a box a zone, in it a box a namespace.

    Args:
        one: The window.
        busiest: Packets a second that are drawn thickest, the same for all maps of a report.
    """
    talk = conversations(one.edges)
    zones = sorted({zone for pair in talk for _, zone in pair})
    spaces = _in_order(talk)
    places = {
        (space, zone): (
            _PAD + at * (_ZONE_W + _GAP_X) + _ZONE_W / 2,
            _PAD + _HEAD + row * (_BOX_H + _GAP_Y) + _BOX_H / 2,
        )
        for at, zone in enumerate(zones)
        for row, space in enumerate(spaces)
    }
    width = 2 * _PAD + len(zones) * _ZONE_W + max(0, len(zones) - 1) * _GAP_X
    height = 2 * _PAD + _HEAD + len(spaces) * _BOX_H + max(0, len(spaces) - 1) * _GAP_Y + 10
    there = {place for pair in talk for place in pair}
    lines = sorted(talk.items(), key=lambda item: item[1][0])
    return h(
        "svg",
        [_zone(zone, at, height) for at, zone in enumerate(zones)],
        [
            _line(a, b, places, _MAX_LINE * math.sqrt(packets / (2 * busiest)))
            for (a, b), (packets, _) in lines
        ],
        [_box(place, places[place]) for place in sorted(there)],
        [_label(a, b, places, packets) for (a, b), (packets, _) in lines],
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=f"Traffic in {one.window}. {_words(talk)}",
        class_="graph",
    )


def _in_order(talk: _Talk) -> list[str]:
    """Namespaces so that who talks stands next to each other: the load first, then always the busiest neighbour."""
    between: dict[frozenset[str], float] = defaultdict(float)
    for ((a, _), (b, _)), (packets, _) in talk.items():
        between[frozenset((a, b))] += packets
    left = {space for pair in between for space in pair}
    ordered = ["load"] if "load" in left else sorted(left)[:1]
    left -= set(ordered)
    while left:
        last = ordered[-1]
        following = max(sorted(left), key=lambda space: between[frozenset((last, space))])
        ordered.append(following)
        left.remove(following)
    return ordered


def _zone(zone: str, at: int, height: float) -> Html:
    x = _PAD + at * (_ZONE_W + _GAP_X)
    return h(
        "g",
        h(
            "rect",
            x=x,
            y=_PAD,
            width=_ZONE_W,
            height=height - 2 * _PAD,
            rx=12,
            class_="band after",
        ),
        h("text", zone, x=x + 12, y=_PAD + 20, class_="node-space", style="text-anchor:start"),
    )


def _box(place: _Place, at: tuple[float, float]) -> Html:
    return h(
        "g",
        h(
            "rect",
            x=at[0] - _BOX_W / 2,
            y=at[1] - _BOX_H / 2,
            width=_BOX_W,
            height=_BOX_H,
            rx=8,
            class_="node",
        ),
        h("text", place[0], x=at[0], y=at[1] + 5, class_="node-name"),
    )


def _line(a: _Place, b: _Place, places: Mapping[_Place, tuple[float, float]], width: float) -> Html | None:
    if a == b:
        return None
    return h(
        "line",
        x1=places[a][0],
        y1=places[a][1],
        x2=places[b][0],
        y2=places[b][1],
        stroke_width=round(max(1.0, width), 1),
        class_="edge failing" if a[1] != b[1] else "edge open",
    )


def _label(a: _Place, b: _Place, places: Mapping[_Place, tuple[float, float]], packets: float) -> Html:
    """Packets a second; on a line that crosses nearer to its first end, because two of them meet in the middle."""
    start, end, text = places[a], places[b], f"{_short(packets)}/s"
    if a == b:
        return h("text", f"within: {text}", x=start[0], y=start[1] + _BOX_H / 2 + 14, class_="edge-label")
    part = 0.3 if a[1] != b[1] and a[0] != b[0] else 0.5
    x, y = start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])
    return h("text", text, x=round(x + 6, 1), y=round(y - 3, 1), class_="edge-label")


def _words(talk: Mapping[tuple[_Place, _Place], Sequence[float]]) -> str:
    return "; ".join(
        f"{a[0]} in {a[1]} and {b[0]} in {b[1]}: {_short(packets)} packets a second"
        for (a, b), (packets, _) in sorted(talk.items())
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _shares(zones: ZoneReport) -> Html:
    rows = []
    for one in zones.maps:
        pairs: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        for (a, b), (packets, size) in conversations(one.edges).items():
            total = pairs[min(a[0], b[0]), max(a[0], b[0])]
            total[0] += packets
            if a[1] != b[1]:
                total[1] += packets
                total[2] += size
        rows += [
            h(
                "tr",
                h("th", one.window, scope="row"),
                [
                    h("td", text)
                    for text in (
                        f"{a} and {b}" if a != b else f"{a} among themselves",
                        _short(packets),
                        f"{1 - crossing / packets:.1%}",
                        f"{size / 1e3:.1f} kB/s",
                    )
                ],
            )
            for (a, b), (packets, crossing, size) in sorted(pairs.items())
            if packets
        ]
    head = ["phase", "between", "packets/s", "stayed in their zone", "crossed"]
    return table(head, rows, caption="What stayed in its zone, and what crossed")


def _saving(saving: Saving) -> Html:
    """The measurement beside the formula."""
    formula = (
        f"{saving.round_trips} round trips {TIMES} ({saving.crossing[0]:.3f} - {saving.crossing[1]:.3f} crossing)"
        f" {TIMES} {saving.rtt_ms:.3f} ms"
    )
    rows = [
        ("mean latency without, with affinity", f"{saving.mean_ms[0]:.2f} ms, {saving.mean_ms[1]:.2f} ms"),
        (
            "saved, measured",
            f"{saving.saved_ms:.2f} ms: {saving.saved_ms / saving.mean_ms[0]:.0%} of the request",
        ),
        (f"saved, by the formula: {formula}", f"{saving.formula_ms:.2f} ms"),
        (
            f"traffic across zones in a month, at {saving.price_per_gb:g} per GB",
            f"{saving.cost[0]:.2f}, then {saving.cost[1]:.2f}",
        ),
    ]
    return table(
        [f"{saving.connection} connections", ""],
        [h("tr", h("th", name, scope="row"), h("td", value)) for name, value in rows],
        caption="What affinity saved, beside the formula",
    )


def _loads(zones: ZoneReport) -> Html:
    """Whether a small zone's pods carry more than their share."""
    rows = [
        h(
            "tr",
            h("th", phase, scope="row"),
            [
                h("td", text)
                for text in (
                    called.rstrip("/"),
                    one.zone,
                    str(one.pods),
                    f"{one.share:.1%}",
                    f"{one.share / one.pods:.1%}" if one.pods else "",
                    f"{one.overload:.2f} {TIMES}",
                )
            ],
        )
        for phase, called, one in zones.loads
    ]
    head = ["phase", "called", "zone", "pods", "of the packets", "each pod", "beside an even share"]
    return table(head, rows, caption="What the called pods of each zone carried")


def _pods(zones: ZoneReport) -> Html:
    phases = [phase for phase, _ in zones.pods]
    by_phase = [dict(pods) for _, pods in zones.pods]
    names = sorted({pod for pods in by_phase for pod in pods})
    rows = [
        h("tr", h("th", name, scope="row"), [h("td", _short(pods.get(name, 0.0))) for pods in by_phase])
        for name in names
    ]
    return table(
        ["pod", *(f"{phase}: packets/s" for phase in phases)], rows, caption="What each called pod carried"
    )
