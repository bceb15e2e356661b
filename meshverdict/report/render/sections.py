"""The parts of a run's report, top to bottom, each one function from the report's value to markup."""

from __future__ import annotations

from meshverdict.analysis.flows import DROPPED
from meshverdict.report.document import CaseCell, CaseReport, EndpointRow, Report
from meshverdict.report.journal import Activity, Probe
from meshverdict.report.judge import DEVIATES, HOLDS, INVALID
from meshverdict.report.render.chart import Band, Chart, Line, Moment, figure, number
from meshverdict.report.render.graph import edge_words, service_graph
from meshverdict.report.render.html import Html, h

_VERDICT = {
    HOLDS: ("good", "✓", "The claim held in this run."),
    DEVIATES: ("bad", "✗", "The claim did not hold in this run."),
    INVALID: ("unsure", "!", "This run could not measure the claim."),
}
_STATE = {
    "answers": ("✓", "answers"),
    "fails": ("✗", "fails every time"),
    "mixed": ("◐", "answers in part"),
    "silent": ("–", "no requests"),
}
_TONES = ("before", "during", "after", "other")


def verdict(report: Report) -> Html:
    """The first screen: what was claimed, and whether it held."""
    tone, icon, sentence = _VERDICT[report.judgement.word]
    return h(
        "section",
        validity(report) if report.judgement.word == INVALID else None,
        h(
            "div",
            h("p", h("span", icon, class_="icon", aria_hidden="true"), report.judgement.word, class_="word"),
            h("p", sentence, class_="sentence"),
            h("p", report.claim, class_="claim") if report.claim else None,
            h("ul", [h("li", reason) for reason in report.judgement.reasons])
            if report.judgement.word == DEVIATES
            else None,
            class_=f"verdict {tone}",
        ),
        case_table(report) if report.cases else None,
        h("dl", [_fact(f.label, f.value, f.note) for f in report.facts], class_="facts")
        if report.facts
        else None,
        [h("p", notice, class_="notice") for notice in report.notices],
        id="verdict",
        aria_label="Verdict",
    )


def validity(report: Report) -> Html:
    """Why the run must not be believed; shown before anything else."""
    return h(
        "div",
        h("h2", "Do not draw conclusions from this run"),
        h(
            "p",
            "It could not measure what it set out to measure. The figures below are shown only to find out why.",
        ),
        h("ul", [h("li", reason) for reason in report.judgement.reasons]),
        class_="box invalid",
        role="alert",
    )


def case_table(report: Report) -> Html:
    """Each case in each window, in plain words."""
    head = [
        h("th", w.name, h("span", f"{_role(w.role)}, {w.seconds:.0f} s", class_="role"), scope="col")
        for w in report.windows
    ]
    rows = [
        h(
            "tr",
            h(
                "th",
                h("span", case.case.title, class_="case-title"),
                h("span", case.case.path, class_="path") if case.case.path else None,
                h("span", ", ".join(case.case.names), class_="path mono"),
                scope="row",
            ),
            [_case_cell(cell) for cell in case.cells],
        )
        for case in report.cases
    ]
    return h(
        "div",
        h(
            "table",
            h("caption", "What a user saw", class_="hidden"),
            h("thead", h("tr", h("td"), head)),
            h("tbody", rows),
        ),
        class_="scroll cases",
    )


def timeline(report: Report) -> Html | None:
    """Rate, errors and latency of each case over time, with the moments of the treatment."""
    charts = [chart for case in report.cases if case.series.t for chart in case_charts(report, case)]
    if not charts:
        return None
    return section(
        "timeline",
        "Timeline",
        "Every second of the run. Shaded: the phases. Vertical lines: when the treatment was applied and removed. "
        "Latency is of the requests that were answered; the scale is logarithmic, so that a slow tail does not hide the rest.",
        h("p", report.load_line, class_="quiet"),
        h("div", [figure(chart) for chart in charts], class_="figures"),
        h(
            "p",
            "Left out of the figures above by rule: " + "; ".join(report.dropped_time) + ".",
            class_="quiet",
        )
        if report.dropped_time
        else None,
    )


def case_charts(report: Report, case: CaseReport) -> tuple[Chart, Chart]:
    """The two charts of a case."""
    series, t0 = case.series, report.t0
    x = [t - t0 for t in series.t]
    end = x[-1] + series.bin_s
    bands = [
        Band(p.name, _band_role(p.name, report), max(0.0, p.start - t0), min(end, p.end - t0))
        for p in report.phases
    ]
    moments = [Moment(m.label, m.t - t0) for m in report.marks]
    short = case.case.title.split(":")[0]
    words = ". ".join(f"{w.name}: {cell.words}" for w, cell in zip(report.windows, case.cells, strict=True))
    return (
        Chart(
            key=f"{case.case.key.strip('/').replace('/', '-') or 'root'}-rate",
            title=f"{short}: requests per second",
            summary=words,
            unit="requests/s",
            x=x,
            lines=[Line("answered", "ok", series.ok, fill=True), Line("errors", "error", series.errors)],
            bands=bands,
            moments=moments,
        ),
        Chart(
            key=f"{case.case.key.strip('/').replace('/', '-') or 'root'}-latency",
            title=f"{short}: latency of answered requests",
            summary=words,
            unit="ms",
            x=x,
            lines=[Line("p50", "p50", series.p50_ms), Line("p99", "p99", series.p99_ms, dash=True)],
            log=True,
            bands=bands,
            moments=moments,
        ),
    )


def hypothesis(report: Report) -> Html | None:
    """Each probe of the steady-state hypothesis before and after."""
    if not report.hypothesis:
        return None
    head = [h("th", text, scope="col") for text in ("probe", "may answer", "before", "", "after", "")]
    rows = [
        h(
            "tr",
            h("th", before.name, scope="row"),
            h("td", before.tolerance, class_="mono"),
            _probe(before),
            _probe(after),
        )
        for before, after in report.hypothesis
    ]
    return section(
        "hypothesis",
        "Steady-state hypothesis",
        "What had to be true before the experiment touched anything, and had to be true again afterwards. "
        "A check stops at its first unmet probe.",
        h("div", h("table", h("thead", h("tr", head)), h("tbody", rows)), class_="scroll"),
        h("details", h("summary", "What the experiment did, step by step"), _activities(report)),
    )


def service_graphs(report: Report) -> Html | None:
    """Who called whom, before and with the treatment."""
    if not report.graphs:
        return None
    return section(
        "graph",
        "Service graph",
        "Who opened connections to whom, from the flow log. A red dashed arrow was turned away by policy.",
        [
            h(
                "figure",
                h("figcaption", h("span", title, class_="chart-title")),
                h(
                    "div",
                    service_graph(title, edges),
                    class_="scroll graph-box",
                    tabindex="0",
                    role="group",
                    aria_label=title,
                ),
                h(
                    "details",
                    h("summary", "Show as a list"),
                    h("ul", [h("li", edge_words(e)) for e in edges]),
                ),
                class_="figure",
            )
            for title, edges in report.graphs
        ],
    )


def dropped(report: Report) -> Html:
    """Who was dropped and who was let through."""
    if not report.flow_rows:
        text = "The flow log is empty." if report.has_flows else "This run has no flow log (flows.jsonl)."
        return section("flows", "Who was dropped", text)
    head = [h("th", text, scope="col") for text in ("verdict", "from", "to", "port", "count", "reason")]
    rows = [
        h(
            "tr",
            h("td", h("span", row.verdict, class_="chip " + ("bad" if row.verdict == DROPPED else "good"))),
            h("td", row.source),
            h("td", row.destination),
            h("td", f"{row.port}/{row.protocol}", class_="mono"),
            h("td", f"{row.count:,}", class_="number"),
            h("td", row.reason),
        )
        for row in report.flow_rows
    ]
    return section(
        "flows",
        "Who was dropped",
        "Behind Apache a denied connection looks like any other 503. Only the flow log proves that policy did it. "
        f"Times to the first denial and back: {report.enforcement_source}.",
        h("div", h("table", h("thead", h("tr", head)), h("tbody", rows)), class_="scroll"),
    )


def endpoints(report: Report) -> Html | None:
    """Policy enforcement of each pod before and during the treatment, as `cilium endpoint list` shows it."""
    if not report.endpoints:
        return None
    head = [
        h("th", t, scope="col")
        for t in ("endpoint", "pod", "ingress enforcement", "egress enforcement", "labels", "IPv4")
    ]
    return section(
        "endpoints",
        "Endpoints",
        "Whether any policy selects a pod, for traffic to it (ingress) and from it (egress), before and with the treatment.",
        h(
            "div",
            h("table", h("thead", h("tr", head)), h("tbody", [_endpoint(row) for row in report.endpoints])),
            class_="scroll",
        ),
    )


def distribution(report: Report) -> Html | None:
    """The latency distribution of each case, with a log axis that gives the tail its room."""
    charts = [chart for case in report.cases if (chart := tail_chart(case)) is not None]
    if not charts:
        return None
    return section(
        "distribution",
        "Latency distribution",
        "How slow the slowest answers were. To the right are ever rarer requests: at 99 % one in a hundred was slower. "
        "Lines that lie on each other mean that the treatment cost nothing.",
        h("div", [figure(chart) for chart in charts], class_="figures"),
    )


def tail_chart(case: CaseReport) -> Chart | None:
    """One line per window on a common axis of nines; None where nothing was answered."""
    if not case.tails:
        return None
    longest = max((points for _, points in case.tails), key=len)
    lines = []
    for at, (name, points) in enumerate(case.tails):
        values = [value for _, value in points] + [None] * (len(longest) - len(points))
        lines.append(Line(name, _TONES[min(at, 3)], values, dash=at == 1))
    ends = ", ".join(f"{name} up to {number(points[-1][1])} ms" for name, points in case.tails)
    return Chart(
        key=f"{case.case.key.strip('/').replace('/', '-') or 'root'}-tail",
        title=f"{case.case.title.split(':')[0]}: latency by share of requests",
        summary=f"Slowest answers: {ends}.",
        unit="ms",
        x=[nines for nines, _ in longest],
        lines=lines,
        kind="tail",
        log=True,
    )


def provenance(report: Report) -> Html:
    """What ran where."""
    groups = [
        h(
            "div",
            h("h3", group.title),
            h("dl", [[h("dt", key.replace("_", " ")), h("dd", value)] for key, value in group.items]),
            class_="group",
        )
        for group in report.provenance
    ]
    return section("provenance", "What ran where", None, h("div", groups, class_="groups"))


def lab_box(report: Report) -> Html:
    """What this lab is not."""
    return h(
        "section",
        h(
            "div",
            h("h2", "What this lab is not"),
            h("ul", [h("li", line) for line in report.lab_box]),
            class_="box lab",
        ),
        id="lab",
    )


def section(identifier: str, title: str, intro: str | None, *children: object) -> Html:
    """A section with a heading and a sentence that explains it."""
    return h(
        "section", h("h2", title), h("p", intro, class_="intro") if intro else None, children, id=identifier
    )  # type: ignore[arg-type]


def _fact(label: str, value: str, note: str) -> Html:
    return h("div", h("dt", label), h("dd", value, h("span", note, class_="note") if note else None))


def _case_cell(cell: CaseCell) -> Html:
    icon, word = _STATE[cell.state]
    c = cell.cell
    detail = f"{c.ok:,} of {c.requests:,}" if c.requests else ""
    latency = (
        f"p50 {number(c.p50_ms)} ms · p99 {number(c.p99_ms)} ms"
        if c.p50_ms is not None and c.p99_ms is not None
        else ""
    )
    worst = ", ".join(f"{outcome} × {n:,}" for outcome, n in c.outcomes if outcome != "ok")
    return h(
        "td",
        h("span", h("span", icon, class_="icon", aria_hidden="true"), word, class_=f"state {cell.state}"),
        [h("span", text, class_="detail") for text in (detail, latency, worst) if text],
    )


def _probe(probe: Probe | None) -> list[Html]:
    if probe is None or (probe.value is None and probe.met is None):
        return [h("td", "not checked", class_="quiet", colspan="2")]
    met = {True: ("good", "✓ met"), False: ("bad", "✗ not met"), None: ("unsure", "? unknown")}[probe.met]
    return [h("td", probe.value or "–", class_="mono"), h("td", h("span", met[1], class_=f"chip {met[0]}"))]


def _activities(report: Report) -> Html:
    return h(
        "ol",
        [_activity(a, "method") for a in report.activities],
        [_activity(a, "rollback") for a in report.rollbacks],
    )


def _activity(activity: Activity, part: str) -> Html:
    took = f" ({activity.end - activity.start:.1f} s)" if activity.start and activity.end else ""
    state = (
        h("span", f"✗ {activity.failure}", class_="chip bad")
        if activity.failure
        else h("span", "✓", class_="chip good")
    )
    return h("li", f"{part}: {activity.kind} “{activity.name}”{took} ", state)


def _endpoint(row: EndpointRow) -> Html:
    return h(
        "tr",
        h("td", row.endpoint, class_="number"),
        h("th", row.pod, scope="row"),
        _change(row.ingress),
        _change(row.egress),
        h("td", [h("span", label, class_="mono label") for label in row.labels]),
        h("td", row.address, class_="mono"),
    )


def _change(modes: tuple[str, str]) -> Html:
    before, during = modes
    if before == during:
        return h("td", before)
    return h("td", before, " → ", h("strong", during, class_="changed"))


def _role(role: str) -> str:
    return {"before": "before", "during": "treatment in place", "after": "treatment removed"}[role]


def _band_role(name: str, report: Report) -> str:
    return next((w.role for w in report.windows if w.name == name), "before")
