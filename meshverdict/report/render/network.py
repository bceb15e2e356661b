"""What the network saw: who called whom, who was turned away, and which pods a policy selects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.analysis.flows import DROPPED, FlowRow
from meshverdict.report.network_facts import of_the_application
from meshverdict.report.render.graph import edge_words, service_graph
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import NOTHING, TIMES, chip, section, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshverdict.report.document import ConnectionRow, Edge, EndpointRow, Report


def service_graphs(report: Report) -> Html | None:
    """Who called whom, before and with the treatment."""
    if not report.graphs:
        return None
    every = [edge for _, edges in report.graphs for edge in edges]
    return section(
        "graph",
        "Service graph",
        _legend(every),
        h("div", [_graph(title, edges, every) for title, edges in report.graphs], class_="graphs"),
    )


def _legend(every: Sequence[Edge]) -> str:
    seen = any(edge.traffic for edge in every)
    mesh = (
        "Requests are what the sidecars counted: the thicker an arrow, the more of them; blue while fewer than 1% fail,"
        " orange from half on. Its label has the 99th percentile of whole requests as the caller saw them, and how many"
        f" attempts each took ({TIMES}1.00: no retry). Where no sidecar stood, an arrow means that connections were opened. "
    )
    flows = "Who opened connections to whom, from the flow log. "
    return (mesh if seen else flows) + (
        "A dashed arrow with a cross was turned away by policy; a faint one was used in the other part only, though a"
        " connection that was open may live on. Left out: name lookups, health checks by the node, and this run's own"
        " probers."
    )


def _graph(title: str, edges: Sequence[Edge], every: Sequence[Edge]) -> Html:
    drawing = service_graph(title, edges, of=every)
    return h(
        "figure",
        h("figcaption", h("span", title, class_="chart-title")),
        h("div", drawing, class_="scroll graph-box", tabindex="0", role="group", aria_label=title),
        h("details", h("summary", "Show as a list"), h("ul", [h("li", edge_words(edge)) for edge in edges])),
        class_="figure",
    )


def dropped(report: Report) -> Html:
    """Who was dropped and who was let through."""
    if not report.flow_rows:
        text = "The flow log is empty." if report.has_flows else "This run has no flow log (flows.jsonl)."
        return section("flows", "Who was dropped", text)
    own = [row for row in report.flow_rows if of_the_application(row)]
    rest = [row for row in report.flow_rows if not of_the_application(row)]
    return section(
        "flows",
        "Who was dropped",
        "Behind Apache a denied connection looks like any other 503. Only the flow log proves that policy"
        f" did it. Times to the first denial and back: {report.enforcement_source}.",
        _flow_table(own, "Flows of the application") if own else None,
        h(
            "details",
            h("summary", "The rest: this run's probers, name lookups, health checks by the node"),
            _flow_table(rest, "Other flows"),
        )
        if rest
        else None,
    )


def _flow_table(rows: Sequence[FlowRow], caption: str) -> Html:
    lines = [
        h(
            "tr",
            h("td", chip(row.verdict, "bad" if row.verdict == DROPPED else "good")),
            h("td", row.source),
            h("td", row.destination),
            h("td", f"{row.port}/{row.protocol}", class_="mono whole"),
            h("td", f"{row.count:,}", class_="number"),
            h("td", row.reason),
        )
        for row in rows
    ]
    return table(("verdict", "from", "to", "port", "count", "reason"), lines, caption=caption)


def connections(report: Report) -> Html | None:
    """Every connection that was tried all through the run, and when it changed."""
    if not report.connections:
        return None
    head = (
        "from",
        "to",
        "tried",
        "opened",
        "did not open",
        "apply → denied",
        "removal → allowed",
        "a connection that was open",
    )
    return section(
        "connections",
        "Who may connect to whom",
        "Behind a proxy a policy looks like a slow answer, so new connections were also tried directly, all"
        " through the run. A time is as fine as the pause between two tries.",
        table(head, [_connection(row) for row in report.connections], caption="Connections that were tried"),
    )


def _connection(row: ConnectionRow) -> Html:
    opened, closed = row.attempts
    pause = f"every {row.resolution_ms:g} ms" if row.resolution_ms is not None else NOTHING
    denied = f"{row.to_denied_ms:,.0f} ms, {row.denied_as}" if row.to_denied_ms is not None else "never"
    allowed = f"{row.to_allowed_ms:,.0f} ms" if row.to_allowed_ms is not None else ""
    leak = chip(f"{row.opened_after_denial:,} got through afterwards", "bad")
    return h(
        "tr",
        h("th", row.source, scope="row"),
        h("td", row.destination),
        h("td", pause, class_="whole"),
        h("td", f"{opened:,}", class_="number"),
        h("td", f"{closed:,}", class_="number"),
        h("td", denied.rstrip(", "), [" ", leak] if row.opened_after_denial else None),
        h("td", allowed),
        h("td", row.open_connection),
    )


def endpoints(report: Report) -> Html | None:
    """Policy enforcement of each pod before and during the treatment, as `cilium endpoint list` shows it."""
    if not report.endpoints:
        return None
    head = ("pod", "ingress enforcement", "egress enforcement", "labels", "IPv4")
    return section(
        "endpoints",
        "Endpoints",
        "Whether any policy selects a pod, for traffic to it (ingress) and from it (egress), before the"
        " treatment and with it.",
        table(head, [_endpoint(row) for row in report.endpoints], caption="Endpoints"),
    )


def _endpoint(row: EndpointRow) -> Html:
    return h(
        "tr",
        h("th", row.pod, scope="row"),
        _change(row.ingress),
        _change(row.egress),
        h("td", [h("span", label, class_="mono label") for label in row.labels]),
        h("td", row.address, class_="mono whole"),
    )


def _change(modes: tuple[str, str]) -> Html:
    before, during = modes
    if before == during:
        return h("td", before)
    return h("td", before, " → ", h("strong", during, class_="changed"))
