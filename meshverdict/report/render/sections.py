"""The words and tables of a run's report, each a function from the report's value to markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshverdict.report.judge import DEVIATES, HOLDS, INVALID
from meshverdict.report.render.axis import number
from meshverdict.report.render.details import as_details
from meshverdict.report.render.html import Html, h
from meshverdict.report.render.parts import NOTHING, TIMES, chip, section, table

if TYPE_CHECKING:
    from meshverdict.report.document import CaseCell, CaseReport, Report
    from meshverdict.report.journal import Activity, Probe

_VERDICT = {
    HOLDS: ("good", "✓", "The claim held in this run."),
    DEVIATES: ("bad", "✗", "The claim did not hold in this run."),
    INVALID: ("unsure", "!", "This run could not measure the claim."),
}
_STATE = {
    "answers": ("✓", "answers"),
    "fails": ("✗", "fails every time"),
    "mixed": ("◐", "answers in part"),
    "silent": (NOTHING, "no requests"),
}
_ROLES = {"before": "before", "during": "treatment in place", "after": "treatment removed"}


def verdict(report: Report) -> Html:
    """The first screen: what was claimed, and whether it held."""
    word = report.judgement.word
    tone, icon, sentence = _VERDICT[word]
    if report.control and word != INVALID:
        sentence = "A control run: the treatment was left out on purpose, to be compared with its pair."
    return h(
        "section",
        validity(report) if word == INVALID else None,
        h(
            "div",
            h("p", h("span", icon, class_="icon", aria_hidden="true"), word, class_="word"),
            h("p", sentence, class_="sentence"),
            h("p", report.claim, class_="claim") if report.claim else None,
            h("ul", [h("li", reason) for reason in report.judgement.reasons]) if word == DEVIATES else None,
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
        h("p", "It could not measure what it set out to. The figures below only help to find out why."),
        h("ul", [h("li", reason) for reason in report.judgement.reasons]),
        class_="box invalid",
        role="alert",
    )


def case_table(report: Report) -> Html:
    """Each case in each window, in plain words."""
    head = [
        h("th", w.name, h("span", f"{_ROLES[w.role]}, {w.seconds:.0f} s", class_="role"), scope="col")
        for w in report.windows
    ]
    return h(
        "div",
        h(
            "table",
            h("caption", "What a user saw, phase by phase"),
            h("thead", h("tr", h("td"), head)),
            h("tbody", [_case_row(case) for case in report.cases]),
        ),
        class_="scroll cases",
    )


def hypothesis(report: Report) -> Html | None:
    """Each probe of the steady-state hypothesis before and after."""
    if not report.hypothesis:
        return None
    rows = [
        h(
            "tr",
            h("th", before.name, scope="row"),
            h("td", before.tolerance, class_="mono"),
            probe_cells(before),
            probe_cells(after),
        )
        for before, after in report.hypothesis
    ]
    head = ("probe", "may answer", "before", "", "after", "")
    return section(
        "hypothesis",
        "Steady-state hypothesis",
        "What had to be true before the experiment touched anything, and was asked again afterwards."
        " A check stops at its first unmet probe.",
        table(head, rows, caption="Steady-state hypothesis"),
        h("details", h("summary", "What the experiment did, step by step"), _activities(report)),
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
    lines = h("ul", [h("li", line) for line in report.lab_box])
    more = as_details() if report.embedded else None
    return h("section", h("div", h("h2", "What this lab is not"), lines, more, class_="box lab"), id="lab")


def probe_cells(probe: Probe | None) -> list[Html]:
    """Two cells: what a probe answered, and whether that was within its tolerance."""
    if probe is None or (probe.value is None and probe.met is None):
        return [h("td", "not checked", class_="quiet", colspan="2")]
    word, tone = {True: ("✓ met", "good"), False: ("✗ not met", "bad"), None: ("? unknown", "unsure")}[
        probe.met
    ]
    return [h("td", probe.value or NOTHING, class_="mono"), h("td", chip(word, tone))]


def _case_row(case: CaseReport) -> Html:
    return h(
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


def _case_cell(cell: CaseCell) -> Html:
    icon, word = _STATE[cell.state]
    c = cell.cell
    details = [f"{c.ok:,} of {c.requests:,} answered"] if c.requests else []
    if c.p50_ms is not None and c.p99_ms is not None:
        details.append(f"p50 {number(c.p50_ms)} ms · p99 {number(c.p99_ms)} ms")
    details.append(", ".join(f"{outcome} {TIMES} {n:,}" for outcome, n in c.outcomes if outcome != "ok"))
    return h(
        "td",
        h("span", h("span", icon, class_="icon", aria_hidden="true"), word, class_=f"state {cell.state}"),
        [h("span", text, class_="detail") for text in details if text],
        data_window=c.window,
    )


def _fact(label: str, value: str, note: str) -> Html:
    return h(
        "div",
        h("dt", label),
        h("dd", value, h("span", note, class_="note") if note else None),
    )


def _activities(report: Report) -> Html:
    return h(
        "ol",
        [_activity(activity, "method") for activity in report.activities],
        [_activity(activity, "rollback") for activity in report.rollbacks],
    )


def _activity(activity: Activity, part: str) -> Html:
    took = f" ({activity.end - activity.start:.1f} s)" if activity.start and activity.end else ""
    state = chip(f"✗ {activity.failure}", "bad") if activity.failure else chip("✓", "good")
    return h("li", f"{part}: {activity.kind} “{activity.name}”{took} ", state)
