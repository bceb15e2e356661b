"""Turn what a run folder held into what its report says. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshverdict.analysis.cases import Case, cases
from meshverdict.analysis.flows import DROPPED, Enforcement, enforcement
from meshverdict.analysis.load_table import OK, LoadTable
from meshverdict.analysis.loose import mapping
from meshverdict.analysis.pairs import requests_in
from meshverdict.analysis.summary import Cell, series, summarise, tail
from meshverdict.analysis.usage import tier_use
from meshverdict.analysis.validity import Generator, generator, notices
from meshverdict.analysis.windows import Moments, Window, Windows, moments_of, phases_of
from meshverdict.report.document import (
    CaseCell,
    CaseReport,
    Fact,
    Group,
    Mark,
    Report,
    UsageRow,
    WindowHead,
)
from meshverdict.report.found import found_in
from meshverdict.report.graph_facts import graphs
from meshverdict.report.journal_words import shorten
from meshverdict.report.judge import answered, judge, windows_of
from meshverdict.report.lab_box import lab_box
from meshverdict.report.network_facts import (
    connection_rows,
    endpoint_rows,
    flow_table,
    of_the_application,
)
from meshverdict.report.overload import overload_in
from meshverdict.report.zone_facts import zone_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.report.contents import RunContents

MAX_FLOW_ROWS = 200


def build(contents: RunContents) -> Report:
    """The report of a run."""
    journal, run = contents.journal, contents.run or {}
    moments = moments_of(run)
    windows = windows_of(contents)
    table, time = contents.table, contents.load_time()
    made = generator(contents.load) if contents.load else None
    # Where the experiment names another sign of its treatment, a denial in the log is something else's: a dead zone's, say.
    times = enforcement(contents.flows if journal.in_effect is None else (), moments)
    start = time[0] if time else int(journal.start or 0)
    return Report(
        origin=contents.origin,
        title=journal.title,
        claim=journal.description,
        started=_utc(journal.start),
        judgement=judge(contents),
        facts=_facts(table, made, times, contents),
        windows=tuple(WindowHead(w.name, w.role, w.seconds) for w in windows.counted),
        cases=_cases(table, windows) if table is not None else (),
        phases=phases_of(run),
        marks=_marks(moments),
        t0=start,
        load_line=_load_line(contents),
        dropped_time=windows.dropped,
        notices=notices(contents.load) if contents.load else (),
        hypothesis=journal.pairs(),
        activities=journal.run,
        rollbacks=journal.rollbacks,
        enforcement_source=times.source,
        flow_rows=flow_table(contents.flows)[:MAX_FLOW_ROWS],
        has_flows=contents.has_flows,
        graphs=graphs(contents.flows, contents.edges, moments, time),
        endpoints=endpoint_rows(contents.section("measures").get("endpoints")),
        connections=connection_rows(contents.section("measures").get("connections")),
        provenance=_provenance(contents),
        lab_box=lab_box(contents),
        embedded=contents.section("cluster").get("kind") == "embedded",
        pods=contents.pods,
        machine=contents.machine,
        usage=_usage(contents, windows),
        zones=zone_report(contents.traffic, windows, mapping(contents.section("measures").get("zones"))),
        found=found_in(table, windows.counted, contents.section("measures")),
        overload=overload_in(contents),
        control=run.get("arm") == "control",
    )


def _facts(
    table: LoadTable | None, made: Generator | None, times: Enforcement, contents: RunContents
) -> tuple[Fact, ...]:
    facts = []
    if times.to_denied_ms is not None:
        facts.append(Fact("Apply → first denied", _ms(times.to_denied_ms), times.source))
    if times.to_allowed_ms is not None:
        facts.append(Fact("Removal → first allowed", _ms(times.to_allowed_ms), times.source))
    if table is not None and table.total:
        facts.append(Fact("Requests recorded", f"{table.total:,}", _lost(table, made)))
        first = cases(table.names)[0]
        lost = int(
            table.n[table.rows(names=first.names)].sum()
            - table.n[table.rows(names=first.names, outcomes=(OK,))].sum()
        )
        facts.append(
            Fact(
                f"{first.title.split(':')[0]} requests not answered",
                f"{lost:,}",
                "in the whole run, changes included",
            )
        )
    if contents.has_flows:
        dropped = [flow for flow in contents.flows if flow.verdict == DROPPED]
        own = sum(flow.count for flow in dropped if of_the_application(flow))
        others = sum(flow.count for flow in dropped) - own
        note = f"by network policy; {others:,} more of this run's probers" if others else "by network policy"
        facts.append(Fact("Connections dropped", f"{own:,}", note))
    return tuple(facts)


def _lost(table: LoadTable, made: Generator | None) -> str:
    """Whether each request that was due has its record: of a closed loop, which is due what it made, nothing is known."""
    if made is None or made.lag_p99_ms is None:
        return ""
    due = made.scheduled - made.dropped
    if table.total != due:
        return f"{due:,} were due: the record is not whole"
    unsent = max(0, due - made.sent)
    failed = f"; {unsent:,} found no connection to be sent on" if unsent else ""
    return f"none lost between generator and record{failed}"


def _cases(table: LoadTable, windows: Windows) -> tuple[CaseReport, ...]:
    return tuple(_case(table, case, windows.counted) for case in cases(table.names))


def _case(table: LoadTable, case: Case, windows: Sequence[Window]) -> CaseReport:
    cells = [summarise(table, case.title, case.names, window) for window in windows]
    good = [table.rows(start=w.start, end=w.end, names=case.names, outcomes=(OK,)) for w in windows]
    return CaseReport(
        case=case,
        cells=tuple(CaseCell(_state(cell), answered(cell), cell) for cell in cells),
        series=series(table, case.title, case.names),
        tails=tuple((w.name, tail(table, rows)) for w, rows in zip(windows, good, strict=True) if rows.any()),
    )


def _usage(contents: RunContents, windows: Windows) -> tuple[UsageRow, ...]:
    rows = []
    for window in windows.counted:
        requests = requests_in(contents.table, [window]) if contents.table is not None else 0
        if requests:
            rows += [
                UsageRow(window.name, used.tier, used.part, 1000 * used.cpu_s / requests, used.memory)
                for used in tier_use(contents.usage, [window])
            ]
    return tuple(rows)


def _state(cell: Cell) -> str:
    if not cell.requests:
        return "silent"
    if cell.ok == cell.requests:
        return "answers"
    return "mixed" if cell.ok else "fails"


def _marks(moments: Moments) -> tuple[Mark, ...]:
    found = (("treatment applied", moments.applied), ("treatment removed", moments.removed))
    return tuple(Mark(label, t) for label, t in found if t is not None)


def _load_line(contents: RunContents) -> str:
    if contents.load is None:
        return contents.load_problem or "No load record."
    header = contents.load.header
    how = {
        "poisson": "open loop, Poisson arrivals",
        "constant": "open loop, constant arrivals",
        "closed": "closed loop",
    }.get(header.arrivals, f"arrivals: {header.arrivals}")
    rate = f" at {header.rate:g} requests/s" if header.rate is not None else ""
    seed = f", seed {header.seed}" if header.seed is not None else ""
    deadline = (
        f"; an answer counts within {header.deadline_ms:g} ms" if header.deadline_ms is not None else ""
    )
    return f"{how[0].upper()}{how[1:]}{rate}{seed}, {header.locustfile} on {header.host}{deadline}."


def _provenance(contents: RunContents) -> tuple[Group, ...]:
    run, experiment = contents.run or {}, contents.section("experiment")
    this_run = {
        "run folder": contents.origin,
        "experiment": experiment.get("file"),
        "experiment sha256": experiment.get("sha256"),
        "arm": run.get("arm"),
        "pair": run.get("pair"),
        "seed": run.get("seed"),
    }
    groups = (
        ("This run", this_run),
        ("Settings", contents.section("settings")),
        ("Variables", contents.section("variables")),
        ("Cluster", contents.section("cluster")),
        ("Software", {**dict(contents.journal.software), **contents.section("software")}),
        ("Machine", contents.section("machine")),
    )
    return tuple(Group(title, _items(values)) for title, values in groups if _items(values))


def _items(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((str(key), shorten(value) or "") for key, value in values.items() if value is not None)


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:,.0f} ms"


def _utc(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
