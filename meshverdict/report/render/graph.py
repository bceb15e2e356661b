"""Draw a service graph as plain SVG: who called whom, left to right, and who was turned away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import TIMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.report.document import Edge

BOX_W, BOX_H = 164, 46
GAP_X, GAP_Y = 74, 46
PAD = 16


def service_graph(title: str, edges: Sequence[Edge], *, of: Sequence[Edge] = ()) -> Html:
    """The graph of some edges, as an SVG with a description for those who cannot see it.

    Args:
        title: For the description.
        edges: To be drawn.
        of: All edges of the run, so that graphs of its parts have one layout; those that are not in *edges* are
            drawn faintly: nobody opened such a connection in this part.
    """
    here = {(edge.source, edge.destination, edge.port) for edge in edges}
    idle = {(e.source, e.destination, e.port): e for e in of if (e.source, e.destination, e.port) not in here}
    columns = layers([*of, *edges])
    tallest = max((len(column) for column in columns), default=1)
    places = {
        node: (
            PAD + at * (BOX_W + GAP_X),
            PAD + 10 + row * (BOX_H + GAP_Y) + (tallest - len(column)) * (BOX_H + GAP_Y) / 2,
        )
        for at, column in enumerate(columns)
        for row, node in enumerate(column)
    }
    width = 2 * PAD + len(columns) * BOX_W + (len(columns) - 1) * GAP_X
    height = 2 * PAD + 26 + tallest * (BOX_H + GAP_Y)
    return h(
        "svg",
        [_edge(edge, places, columns, idle=True) for edge in idle.values()],
        [_edge(edge, places, columns) for edge in edges],
        [_node(node, *place) for node, place in places.items()],
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=f"{title}: " + "; ".join(edge_words(edge) for edge in edges),
        class_="graph",
        width=width,
    )


def layers(edges: Sequence[Edge]) -> list[list[str]]:
    """The nodes in columns: each one right of everything that calls it (cycles stop where they began)."""
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
    columns: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for node, at in depth.items():
        columns[at].append(node)
    return [column for column in columns if column]


def edge_words(edge: Edge) -> str:
    """An edge as a sentence."""
    calls = f"{edge.source} to {edge.destination} port {edge.port}"
    parts = [f"{edge.forwarded:,} forwarded"] if edge.forwarded else []
    parts += [f"{edge.dropped:,} dropped"] if edge.dropped else []
    return f"{calls}: {', '.join(parts)}"


def _node(name: str, x: float, y: float) -> Html:
    namespace, _, workload = name.rpartition("/")
    return h(
        "g",
        h("title", name),
        h("rect", x=x, y=y, width=BOX_W, height=BOX_H, rx=8, class_="node"),
        h("text", _fit(workload), x=x + BOX_W / 2, y=y + (26 if not namespace else 19), class_="node-name"),
        h("text", _fit(namespace), x=x + BOX_W / 2, y=y + 35, class_="node-space") if namespace else None,
    )


def _edge(
    edge: Edge, places: Mapping[str, tuple[float, float]], columns: list[list[str]], *, idle: bool = False
) -> Html:
    (x1, y1), (x2, y2) = places[edge.source], places[edge.destination]
    start_x, start_y, end_x, end_y = x1 + BOX_W, y1 + BOX_H / 2, x2, y2 + BOX_H / 2
    span = _column(edge.destination, columns) - _column(edge.source, columns)
    if span == 1:
        bend = GAP_X / 2
        path = f"M{start_x} {start_y}C{start_x + bend} {start_y} {end_x - bend} {end_y} {end_x - 7} {end_y}"
        label_x, label_y = (start_x + end_x) / 2, (start_y + end_y) / 2 - 8
    else:
        # Past the columns between: an arc below the boxes.
        start_x, start_y, end_x, end_y = x1 + BOX_W / 2, y1 + BOX_H, x2 + BOX_W / 2, y2 + BOX_H
        dip = max(start_y, end_y) + GAP_Y
        path = f"M{start_x} {start_y}C{start_x} {dip} {end_x} {dip} {end_x} {end_y + 7}"
        label_x, label_y = (start_x + end_x) / 2, (start_y + end_y) / 8 + dip * 0.75 - 6
    blocked = edge.dropped and not edge.forwarded and not idle
    state = "idle" if idle else "blocked" if blocked else "partly" if edge.dropped else "open"
    return h(
        "g",
        h("title", "no new connection in this part" if idle else edge_words(edge)),
        h("path", d=path, class_=f"edge {state}"),
        _head(end_x, end_y, down=span != 1, state=state),
        h("text", "✕", x=label_x, y=label_y + 14, class_="cross") if blocked else None,
        h(
            "text",
            f":{edge.port}" if idle else _label(edge),
            x=label_x,
            y=label_y,
            class_=f"edge-label {state}",
        ),
    )


def _head(x: float, y: float, *, down: bool, state: str) -> Html:
    d = f"M{x} {y}l-5 8h10z" if down else f"M{x} {y}l-8 -5v10z"
    return h("path", d=d, class_=f"head {state}")


def _label(edge: Edge) -> str:
    if edge.dropped:
        return f":{edge.port} dropped {edge.dropped:,}{TIMES}"
    return f":{edge.port}"


def _column(node: str, columns: list[list[str]]) -> int:
    return next(at for at, column in enumerate(columns) if node in column)


def _fit(text: str, limit: int = 20) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
