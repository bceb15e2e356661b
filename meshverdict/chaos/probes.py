"""Probes: each answers one number, or one sentence that a tolerance can match.

Phase-aware probes know what must be found now: before the treatment the untreated answer, after the method
the treated one, and in a campaign's control arm the untreated one throughout. What they find is a sentence
that begins with "as expected", so that a journal can be read: `"tolerance": {"type": "regex", "pattern":
"^as expected"}`.
"""

from __future__ import annotations

import time
from typing import Any

from meshverdict.analysis.summary import Cell, summarise
from meshverdict.analysis.windows import Window as NamedWindow
from meshverdict.chaos import cases, connections, record, run_json
from meshverdict.chaos.answers import AS_EXPECTED, NOT_EXPECTED
from meshverdict.chaos.diagnosis import faults_were_felt, guilty_tiers_named
from meshverdict.chaos.expected import (
    comes_back,
    ejections_as_expected,
    goodput_kept,
    latency_bounded,
    limited_as_computed,
    threads_as_expected,
)
from meshverdict.chaos.intruders import tries_as_expected, try_to_reach
from meshverdict.chaos.overload import (
    all_threads_busy,
    amplification,
    busy_threads,
    limited,
    metastable,
    queue_length,
    recovery_time,
    replica_absences,
    what_became_of_it,
)
from meshverdict.chaos.price import cpu_per_request
from meshverdict.chaos.served import policies_served
from meshverdict.chaos.session import Session, current
from meshverdict.chaos.sidecars import sidecars_as_expected
from meshverdict.chaos.sweep import sweep_matches_knee
from meshverdict.chaos.version_shares import requests_lost, share_per_version, versions_as_expected
from meshverdict.chaos.zone_probes import (
    find_round_trip,
    load_by_pod,
    load_by_zone,
    local_share,
    local_share_as_expected,
    served_again,
    zone_saving,
)
from meshverdict.model.errors import LabError, RecordError, UsageError
from meshverdict.model.record_reader import read_record

__all__ = [
    "all_threads_busy",
    "amplification",
    "busy_threads",
    "case_answers",
    "comes_back",
    "connections_as_expected",
    "cpu_per_request",
    "dropped_flows",
    "drops_as_expected",
    "ejections_as_expected",
    "error_share",
    "faults_were_felt",
    "find_round_trip",
    "goodput",
    "goodput_kept",
    "guilty_tiers_named",
    "latency_bounded",
    "latency_quantile",
    "limited",
    "limited_as_computed",
    "load_by_pod",
    "load_by_zone",
    "local_share",
    "local_share_as_expected",
    "metastable",
    "policies_served",
    "queue_length",
    "recovery_time",
    "replica_absences",
    "requests_lost",
    "served_again",
    "share_per_version",
    "sidecars_as_expected",
    "sweep_matches_knee",
    "threads_as_expected",
    "treatment_gone",
    "treatment_in_effect",
    "tries_as_expected",
    "try_to_reach",
    "versions_as_expected",
    "what_became_of_it",
    "zone_saving",
]
_POLL_S = 0.02


def goodput(name: str | None = None, phase: str | None = None, last_s: float | None = None) -> float:
    """Requests a second that were answered as expected and in time.

    Args:
        name: Endpoint, as the locustfile names it, such as "/count/get"; "/count/" means all that begin so.
        phase: Name of a phase; by default the one that lasts.
        last_s: Only the last so many seconds of the phase.
    """
    return round(_cell(name, phase, last_s).goodput, 3)


def error_share(name: str | None = None, phase: str | None = None, last_s: float | None = None) -> float:
    """Share of requests that were not answered as expected and in time, between 0 and 1.

    Args:
        name: Endpoint or prefix; by default all.
        phase: Name of a phase; by default the one that lasts.
        last_s: Only the last so many seconds of the phase.
    """
    share = _cell(name, phase, last_s).error_share
    if share is None:
        raise RecordError(
            f"no request to {name or 'any endpoint'} in this window, so there is no share of errors"
        )
    return round(share, 6)


def latency_quantile(
    q: float = 0.5, name: str | None = None, phase: str | None = None, last_s: float | None = None
) -> float:
    """A quantile of the latency of good answers, in milliseconds.

    Args:
        q: 0.5 is the median, 0.99 the 99th percentile.
        name: Endpoint or prefix; by default all.
        phase: Name of a phase; by default the one that lasts.
        last_s: Only the last so many seconds of the phase.
    """
    table, names, window = _window(name, phase, last_s)
    rows = table.rows(start=window.start, end=window.end, names=names, outcomes=("ok",))
    value = table.quantiles_ms(rows, (float(q),))[0]
    if value is None:
        raise RecordError(f"no good answer of {name or 'any endpoint'} in this window, so it has no latency")
    return round(float(value), 3)


def _cell(name: str | None, phase: str | None, last_s: float | None) -> Cell:
    table, names, window = _window(name, phase, last_s)
    return summarise(table, name or "all", names, NamedWindow("asked", "before", window.start, window.end))


def _window(
    name: str | None, phase: str | None, last_s: float | None
) -> tuple[Any, tuple[str, ...], record.Window]:
    session = current()
    path = session.folder / "load.jsonl"
    if not path.is_file():
        raise RecordError(
            f"{path}: no load was recorded; start one with the control's `load` or with start_load"
        )
    window = record.window_of(
        session.timeline, phase=phase, last_s=last_s, load_start=read_record(path).header.start
    )
    table = record.table_covering(path, window)
    names = tuple(
        n for n in table.names if name is None or n == name or (name.endswith("/") and n.startswith(name))
    )
    if not names:
        raise UsageError(
            f"endpoint {name!r}: the record has none of that name (it has: {', '.join(table.names)})"
        )
    return table, names, window


def case_answers(case: int, treated: str = "fails", untreated: str = "answers", tries: int = 3) -> str:
    """Ask one of the lab's two cases through the ingress; phase-aware.

    Args:
        case: 1 is /count/get (through the app), 2 is /redis/GET/time (past it).
        treated: What must be found under the treatment: "answers" or "fails".
        untreated: What must be found without it.
        tries: Requests, sent at once; all must agree.
    """
    for value in (treated, untreated):
        if value not in {"answers", "fails"}:
            raise UsageError(f"case_answers: {value!r}: one of answers, fails")
    session = current()
    expected = treated if session.timeline.treated else untreated
    answers = cases.ask_often(session.ingress, cases.find_case(case), int(tries))
    found = cases.in_words(answers)
    good = sum(a.good for a in answers)
    right = good == len(answers) if expected == "answers" else good == 0
    if right:
        return f"{AS_EXPECTED}case {case} {found}"
    return f"{NOT_EXPECTED}case {case} {found}, expected: {expected}"


def connections_as_expected(timeout: float = 5.0, required: bool = False) -> str:  # noqa: FBT001, FBT002 - JSON
    """Who may connect to whom, by trying every pair of the control's `connections`; phase-aware.

    Args:
        timeout: Seconds that a change may take to show.
        required: Fail when it does not, for places that have no tolerance: the rollbacks.
    """
    session = current()
    seen = _seen(session)
    deadline = time.monotonic() + timeout
    right, sentence = connections.as_expected(seen, treated=session.timeline.treated, now=time.time())
    while not right and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        right, sentence = connections.as_expected(seen, treated=session.timeline.treated, now=time.time())
    if required and not right:
        raise LabError(f"after {timeout:g} s: {sentence}")
    return (AS_EXPECTED if right else NOT_EXPECTED) + sentence


def _seen(session: Session) -> list[connections.Seen]:
    if session.probers is None:
        raise UsageError("nobody tries connections in this run: add `connections` to the control's arguments")
    return session.probers.seen


def treatment_in_effect(timeout: float = 10.0) -> float | None:
    """Milliseconds from asking for the treatment to the first new connection that it changed.

    Args:
        timeout: Seconds to wait for it.

    Returns:
        None in a campaign's control arm, where there is no treatment.
    """
    return _moment("applied", "in_effect", timeout)


def treatment_gone(timeout: float = 10.0) -> float | None:
    """Milliseconds from asking for the removal to the first new connection that is as before.

    Args:
        timeout: Seconds to wait for it.

    Returns:
        None in a campaign's control arm, where there is no treatment.
    """
    return _moment("removed", "restored", timeout)


def _moment(start: str, end: str, timeout: float) -> float | None:
    session = current()
    if session.timeline.control_arm:
        return None
    if getattr(session.timeline, start) is None:
        raise UsageError(f"the treatment was not {start} yet; name it in the extension `meshverdict`")
    seen = _seen(session)
    deadline = time.monotonic() + timeout
    while True:
        found = run_json.elapsed_ms(run_json.treatment(session.timeline, seen), start, end)
        if found is not None:
            return found
        if time.monotonic() > deadline:
            raise LabError(f"{timeout:g} s after the treatment was {start}, no connection has changed")
        time.sleep(_POLL_S)


def dropped_flows(source: str, destination: str, phase: str | None = None) -> int:
    """How many connections or packets the cluster's flow log says were dropped.

    Args:
        source: Beginning of ``namespace/workload``, such as "b-apacherr/apacherr".
        destination: The same, such as "d-redis/".
        phase: Name of a phase; by default since the run's start.
    """
    session = current()
    if session.flow_log is None:
        raise LabError("there is no flow log in this run")
    start, end = session.started, time.time()
    if phase is not None:
        found = session.timeline.find(phase)
        if found is None:
            raise UsageError(f"dropped_flows: there was no phase {phase!r}")
        start, end = found.start, found.end or end
    return session.flow_log.dropped(source, destination, start=start, end=end)


def drops_as_expected(source: str, destination: str, timeout: float = 5.0) -> str:
    """Dropped flows exactly when the treatment is there: what proves a denial behind a proxy.

    Args:
        source: Beginning of ``namespace/workload``.
        destination: The same.
        timeout: Seconds that the flow log may lag behind.
    """
    session = current()
    treated = session.timeline.treated
    deadline = time.monotonic() + timeout
    count = dropped_flows(source, destination)
    while treated and count == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
        count = dropped_flows(source, destination)
    right = count > 0 if treated else count == 0
    expected = "some" if treated else "none"
    found = f"{count} dropped from {source} to {destination}, expected {expected}"
    return (AS_EXPECTED if right else NOT_EXPECTED) + found
