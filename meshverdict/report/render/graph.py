"""Draw a service graph as plain SVG: who called whom, from top to bottom, how much, how well, and who was turned away.

Thickness is the rate, colour the share of errors, dashes a drop; everything that colour says is in words too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshverdict.report.render.axis import number
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import TIMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.report.document import Edge, Traffic

BOX_W, BOX_H = 164, 46
GAP_X, GAP_Y = 34, 66
PAD = 14
LINE: Final = 14
# Width of a letter of a label, with room to spare.
LETTER: Final = 6.6
# Room for the label of an edge that passes by a row.
BESIDE: Final = 150
MAX_WIDTH: Final = 9.0
# Shares of errors from which an edge is coloured as troubled, and as failing.
TROUBLED, FAILING = 0.01, 0.5


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are: upper left corners by node, rows from the top, the busiest edge's rate."""

    places: Mapping[str, tuple[float, float]]
    rows: Sequence[Sequence[str]]
    width: float
    height: float
    fastest: float

    def row(self, node: str) -> int:
        return next(at for at, row in enumerate(self.rows) if node in row)

    def label_at(self, edge: Edge) -> float:
        """How far along an edge its label stands: nearer to the end at which it is apart from other edges."""
        if self.places[edge.source][0] == self.places[edge.destination][0]:
            return 0.5
        return 0.68 if len(self.rows[self.row(edge.destination)]) > 1 else 0.32


def service_graph(title: str, edges: Sequence[Edge], *, of: Sequence[Edge] = ()) -> Html:
    """The graph of some edges, as an SVG with a description for those who cannot see it.

    Args:
        title: For the description.
        edges: To be drawn.
        of: All edges of the run, so that graphs of its parts have one layout and one scale; those that are not in
            *edges* are drawn faintly: nobody called in this part.
    """
    here = {(edge.source, edge.destination, edge.port) for edge in edges}
    idle = {(e.source, e.destination, e.port): e for e in of if (e.source, e.destination, e.port) not in here}
    layout = _layout([*of, *edges])
    drawn = [(edge, True) for edge in idle.values()] + [(edge, False) for edge in edges]
    width = max([layout.width, *(_right_end(edge, layout) for edge in (*of, *edges))])
    pairs: dict[tuple[str, str], int] = {}
    parts = []
    for edge, is_idle in drawn:
        pair = (edge.source, edge.destination)
        pairs[pair] = pairs.get(pair, -1) + 1
        parts.append(_edge(edge, layout, pairs[pair], idle=is_idle))
    return h(
        "svg",
        parts,
        [_node(node, *place) for node, place in layout.places.items()],
        viewBox=f"0 0 {width:g} {layout.height:g}",
        role="img",
        aria_label=f"{title}: " + "; ".join(edge_words(edge) for edge in edges),
        class_="graph",
        width=width,
    )


def _layout(edges: Sequence[Edge]) -> _Layout:
    rows = layers(edges)
    widest = max((len(row) for row in rows), default=1)
    span = widest * (BOX_W + GAP_X) - GAP_X
    places = {
        node: (
            PAD + (span - len(row) * (BOX_W + GAP_X) + GAP_X) / 2 + at * (BOX_W + GAP_X),
            PAD + depth * (BOX_H + GAP_Y),
        )
        for depth, row in enumerate(rows)
        for at, node in enumerate(row)
    }
    fastest = max((edge.traffic.rate for edge in edges if edge.traffic), default=0.0)
    # A narrow graph needs room for labels beside its one column too.
    width = 2 * PAD + span + BESIDE + (BESIDE / 2 if widest == 1 else 0)
    return _Layout(places, rows, width, 2 * PAD + len(rows) * (BOX_H + GAP_Y) - GAP_Y, fastest)


def layers(edges: Sequence[Edge]) -> list[list[str]]:
    """The nodes in rows: each one below everything that calls it (cycles stop where they began)."""
    nodes = dict.fromkeys(name for edge in edges for name in (edge.source, edge.destination))
    depth = dict.fromkeys(nodes, 0)
    for _ in range(len(nodes)):
        moved = False
        for edge in edges:
            wanted = depth[edge.source] + 1
            if edge.source != edge.destination and depth[edge.destination] < wanted < len(nodes):
                depth[edge.destination], moved = wanted, True
        if not moved:
            break
    rows: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for node, at in depth.items():
        rows[at].append(node)
    return [row for row in rows if row]


def edge_words(edge: Edge) -> str:
    """An edge as a sentence."""
    calls = f"{edge.source} to {edge.destination}" + (f" port {edge.port}" if edge.port else "")
    parts = _traffic_words(edge.traffic) if edge.traffic else []
    if edge.forwarded and not edge.traffic:
        parts.append(f"{edge.forwarded:,} forwarded")
    parts += [f"{edge.dropped:,} dropped"] if edge.dropped else []
    return f"{calls}: {', '.join(parts)}"


def _traffic_words(traffic: Traffic) -> list[str]:
    what = "requests" if traffic.protocol == "http" else "new connections"
    if not traffic.requests:
        return ["open connections in use", *_encryption(traffic)]
    parts = [f"{traffic.requests:,} {what} ({_rate(traffic)})"]
    if traffic.errors:
        parts.append(f"{_share(traffic.error_share)} errors")
    if traffic.denied:
        parts.append(f"{traffic.denied:,} denied by authorization")
    if traffic.p99_ms is not None:
        parts.append(f"p99 {number(traffic.p99_ms)} ms")
    if traffic.amplification is not None:
        parts.append(f"{traffic.amplification:.2f} attempts each")
    odd = [f"{answer} {TIMES} {n:,}" for answer, n in traffic.answers if answer not in {"200 -", "0 -"}]
    return [*parts, *odd, *_encryption(traffic)]


def _encryption(traffic: Traffic) -> list[str]:
    return {True: ["mutual TLS"], False: ["plain text"], None: []}[traffic.mtls]


def _node(name: str, x: float, y: float) -> Html:
    namespace, _, workload = name.rpartition("/")
    return h(
        "g",
        h("title", name),
        h("rect", x=x, y=y, width=BOX_W, height=BOX_H, rx=8, class_="node"),
        h("text", _fit(workload), x=x + BOX_W / 2, y=y + (26 if not namespace else 19), class_="node-name"),
        h("text", _fit(namespace), x=x + BOX_W / 2, y=y + 35, class_="node-space") if namespace else None,
    )


def _edge(edge: Edge, layout: _Layout, twin: int, *, idle: bool) -> Html:
    """An edge; *twin* counts the edges before it between the same two nodes."""
    state = "idle" if idle else _state(edge)
    path, head, (x, y) = _route(edge, layout, twin)
    lines = [f":{edge.port}"] if idle else _label(edge)
    return h(
        "g",
        h("title", "nobody called in this part" if idle else edge_words(edge)),
        h("path", d=path, class_=f"edge {state}", stroke_width=_width(edge, layout, idle=idle)),
        h("path", d=head, class_=f"head {state}"),
        h("text", "✕", x=x - 12, y=y + 4, class_="cross") if state == "blocked" else None,
        [
            h(
                "text",
                line,
                x=round(x, 1),
                y=round(y + (at - (len(lines) - 1) / 2) * LINE + 4, 1),
                class_=f"edge-label {state}",
            )
            for at, line in enumerate(lines)
        ],
    )


def _route(edge: Edge, layout: _Layout, twin: int) -> tuple[str, str, tuple[float, float]]:
    """Path, arrow head, and where the label begins."""
    (x1, y1), (x2, y2) = layout.places[edge.source], layout.places[edge.destination]
    shift = 26 * twin
    if layout.row(edge.destination) - layout.row(edge.source) == 1:
        start_x, start_y, end_x, end_y = x1 + BOX_W / 2 + shift, y1 + BOX_H, x2 + BOX_W / 2 + shift, y2
        bend = GAP_Y / 2
        path = f"M{start_x:g} {start_y:g}C{start_x:g} {start_y + bend:g} {end_x:g} {end_y - bend:g} {end_x:g} {end_y - 7:g}"
        head = f"M{end_x:g} {end_y:g}l-5 -8h10z"
        along = layout.label_at(edge)
        lean = 3 * along**2 - 2 * along**3
        return path, head, (start_x + (end_x - start_x) * lean + 12, start_y + (end_y - start_y) * along)
    # Past the rows between: an arc on the right.
    start_x, start_y, end_x, end_y = x1 + BOX_W, y1 + BOX_H / 2, x2 + BOX_W, y2 + BOX_H / 2
    far = max(start_x, end_x) + 64 + shift
    path = f"M{start_x:g} {start_y:g}C{far:g} {start_y:g} {far:g} {end_y:g} {end_x + 7:g} {end_y:g}"
    head = f"M{end_x:g} {end_y:g}l8 -5v10z"
    reach = 0.125 * start_x + 0.75 * far + 0.125 * end_x
    return path, head, (reach + 8, (start_y + end_y) / 2)


def _right_end(edge: Edge, layout: _Layout) -> float:
    """Where the label of an edge ends."""
    _, _, (begin, _) = _route(edge, layout, 0)
    return begin + LETTER * max((len(line) for line in _label(edge)), default=0) + PAD


def _state(edge: Edge) -> str:
    if (
        edge.dropped
        and not edge.forwarded
        and not (edge.traffic and edge.traffic.requests > edge.traffic.errors)
    ):
        return "blocked"
    share = edge.traffic.error_share if edge.traffic else 0.0
    if share >= FAILING:
        return "failing"
    return "partly" if edge.dropped or share >= TROUBLED else "open"


def _width(edge: Edge, layout: _Layout, *, idle: bool) -> float:
    if idle:
        return 1.3
    if edge.traffic is None or not layout.fastest:
        return 2.0
    return round(1.5 + (MAX_WIDTH - 1.5) * math.sqrt(edge.traffic.rate / layout.fastest), 1)


def _label(edge: Edge) -> list[str]:
    port = f":{edge.port}" if edge.port else ""
    traffic = edge.traffic
    lines = [port]
    if traffic is not None and traffic.requests:
        lines = [f"{port} {_rate(traffic)}".strip()]
        figures = [f"p99 {number(traffic.p99_ms)} ms"] if traffic.p99_ms is not None else []
        if traffic.amplification is not None and traffic.protocol == "http":
            figures.append(f"{TIMES}{traffic.amplification:.2f}")
        lines.append(" ".join(figures))
        if traffic.errors:
            lines.append(f"{_share(traffic.error_share)} errors")
    if edge.dropped:
        lines.append(f"dropped {edge.dropped:,}{TIMES}")
    return [line for line in lines if line]


def _rate(traffic: Traffic) -> str:
    unit = "/s" if traffic.protocol == "http" else " conn./s"
    return f"{number(traffic.rate)}{unit}"


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def _fit(text: str, limit: int = 20) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
