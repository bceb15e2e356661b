"""Probes of an overload: how busy, how much was turned away, how far retries multiplied, and whether it came back.

They read the run's own files, by phase; the definitions are in `analysis.snowball`.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.edges import EdgeSample, parse_edges
from meshverdict.analysis.overload import (
    TRIGGER,
    Story,
    all_busy_share,
    flow_of,
    limited_share,
    story,
    tiers,
)
from meshverdict.analysis.snowball import absences
from meshverdict.analysis.telemetry import Samples, parse_samples
from meshverdict.analysis.windows import Phase
from meshverdict.chaos import record, telemetry
from meshverdict.chaos.session import current
from meshverdict.model.errors import RecordError, UsageError
from meshverdict.model.record_reader import read_record

if TYPE_CHECKING:
    from meshverdict.model.record_reader import LoadRecord

_STATISTICS: Final = ("max", "mean")


def busy_threads(statistic: str = "max", phase: str | None = None, last_s: float | None = None) -> float:
    """Threads of one replica of the app that hold a request, as it told once a second.

    Args:
        statistic: "max" or "mean", over seconds and replicas.
        phase: Name of a phase; by default the one that lasts.
        last_s: Only the last so many seconds of the phase.
    """
    return _gauge("busy_threads", statistic, phase, last_s)


def queue_length(statistic: str = "max", phase: str | None = None, last_s: float | None = None) -> float:
    """Connections that wait for a thread of one replica of the app, as it told once a second.

    Args:
        statistic: "max" or "mean", over seconds and replicas.
        phase: Name of a phase; by default the one that lasts.
        last_s: Only the last so many seconds of the phase.
    """
    return _gauge("queue", statistic, phase, last_s)


def all_threads_busy(phase: str | None = None, last_s: float | None = None) -> float:
    """Share of the samples, one a second of each replica of the app, with no thread left, 0 to 1.

    Args:
        phase: Name of a phase; by default the one that lasts.
        last_s: Only the last so many seconds of the phase.
    """
    window = window_of(phase, last_s)
    share = all_busy_share(pods(), window.start, window.end)
    if share is None:
        raise RecordError("no app told of its threads in this window: the control's `telemetry` must be on")
    return round(share, 4)


def limited(phase: str | None = None, last_s: float | None = None) -> float:
    """Share of the requests that were turned away with 429, 0 to 1.

    Args:
        phase: Name of a phase; by default the one that lasts.
        last_s: Only the last so many seconds of the phase.
    """
    window = window_of(phase, last_s)
    share = limited_share(record_until(window), window.start, window.end)
    if share is None:
        raise RecordError("no request in this window, so none was turned away")
    return round(share, 4)


def amplification(tier: str = "c-app-count/app-count-svc", phase: str | None = None) -> float:
    """Requests that arrived at a tier, retries included, for each request of a user.

    Args:
        tier: ``namespace/service`` as the sidecars call it, or ``namespace/pod`` (a beginning of it) for what the app's
            own metrics tell.
        phase: Name of a phase; by default the one that lasts.
    """
    window = window_of(phase)
    flow = flow_of(record_until(window))
    found = [t for t in tiers(edges(), pods()) if t.name.startswith(tier)]
    if not found or flow is None:
        names = ", ".join(sorted({t.name for t in tiers(edges(), pods())})) or "none"
        raise UsageError(f"amplification: nobody counts at tier {tier!r} (known: {names})")
    values = [v for t in found if (v := t.amplification(flow, window.start, window.end)) is not None]
    if not values:
        raise RecordError(f"amplification: nothing was counted at {tier!r} in this window")
    return round(sum(values), 3)


def recovery_time() -> float | None:
    """Seconds from the trigger's end to the first 5 seconds with 95 % of the goodput before it; null if there are none."""
    found = story_so_far().recovery_s
    return None if found is None else round(found, 1)


def metastable() -> bool | None:
    """Whether the service was still down 60 s after the trigger's end; null when it was not watched for so long."""
    return story_so_far().metastable


def what_became_of_it() -> str:
    """The whole story in a sentence: goodput before and after the trigger, recovery, retry amplification, 429s."""
    found = story_so_far()
    phase, after = current().timeline.find(TRIGGER), found.trigger.end
    if phase is None:
        raise UsageError("nothing was triggered")
    loaded = record_until(_until_now(found.trigger.start))
    flow = flow_of(loaded)
    parts = [
        f"The service {found.words}",
        f"goodput {_rate(found.before)} before, {_rate(found.after)} after",
    ]
    if flow is not None:
        multiplied = [
            f"{t.name} {value:.2f}"
            for t in tiers(edges(), pods())
            if (value := t.amplification(flow, after, after + found.observed_s)) is not None
            and t.source == "mesh"
        ]
        parts += [f"requests for each user's one: {', '.join(multiplied)}"] if multiplied else []
    share = limited_share(loaded, after, after + found.observed_s)
    parts += [f"{share:.0%} turned away"] if share else []
    return "; ".join(parts) + "."


def replica_absences(
    pod: str, at_least_s: float = 3.0, phase: str | None = None, *, unfinished: bool = False
) -> list[dict[str, float]]:
    """Times in which one replica got no request: ejections and returns, as the ejected saw them.

    Args:
        pod: Beginning of ``namespace/pod``.
        at_least_s: Shorter ones are chance.
        phase: Name of a phase; by default since the load's start.
        unfinished: Count also one that has not ended, up to the last sample.

    Returns:
        For each: seconds from the phase's start to the last request before (`gone`), and to the first one after
        (`back`).
    """
    found, start, end = _replicas(pod, phase)
    pairs = [
        (gone, back)
        for one in found
        for gone, back in absences(
            one.t,
            one.columns.get("handled", (None,) * len(one.t)),
            at_least_s=at_least_s,
            unfinished=unfinished,
        )
        if back > start and gone < end
    ]
    return [{"gone": round(gone - start, 1), "back": round(back - start, 1)} for gone, back in sorted(pairs)]


def replica_was_asked(pod: str, phase: str | None = None) -> bool:
    """Whether a replica handled any request in a phase, by its own count.

    Args:
        pod: Beginning of ``namespace/pod``.
        phase: Name of a phase; by default since the load's start.
    """
    found, start, end = _replicas(pod, phase)
    counts = [
        [
            value
            for t, value in zip(one.t, one.columns.get("handled", ()), strict=False)
            if value is not None and start <= t <= end
        ]
        for one in found
    ]
    return any(len(told) > 1 and told[-1] > told[0] for told in counts)


def _replicas(pod: str, phase: str | None) -> tuple[list[Samples], float, float]:
    """What the replicas told whose name so begins, and the start and end of a phase."""
    session = current()
    found = [p for p in pods() if p.source.startswith(pod)]
    if not found:
        known = ", ".join(p.source for p in pods()) or "none"
        raise UsageError(f"no pod {pod!r} told of itself (known: {known})")
    at = session.timeline.find(phase) if phase else None
    if phase and at is None:
        raise UsageError(f"there was no phase {phase!r}")
    start = at.start if at is not None else session.started
    end = at.end if at is not None and at.end is not None else time.time()
    return found, start, end


def _rate(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}/s"


def story_so_far() -> Story:
    """What the trigger has done up to now.

    Raises:
        UsageError: There was none.
    """
    session = current()
    now = session.timeline.clock()
    flow = flow_of(record_until(_until_now(session.started)))
    phases = [Phase(p["name"], p["start"], p["end"]) for p in session.timeline.as_json()]
    found = story(flow, phases, end=min(now, _after(phases, now))) if flow is not None else None
    if found is None:
        raise UsageError(
            "nothing was triggered, or no phase came before the trigger: use hold, then pause_redis"
        )
    return found


def _after(phases: list[Phase], now: float) -> float:
    """End of the phase after the trigger."""
    at = next((i for i, p in enumerate(phases) if p.name == TRIGGER), len(phases))
    return phases[at + 1].end if at + 1 < len(phases) else now


def _until_now(start: float) -> record.Window:
    return record.Window(int(start), int(current().timeline.clock()))


def window_of(phase: str | None, last_s: float | None = None) -> record.Window:
    """The seconds that a probe asks about.

    Raises:
        RecordError: No load was recorded.
        UsageError: There is no such phase.
    """
    session = current()
    path = session.folder / "load.jsonl"
    if not path.is_file():
        raise RecordError(
            f"{path}: no load was recorded; start one with the control's `load` or with start_load"
        )
    return record.window_of(
        session.timeline, phase=phase, last_s=last_s, load_start=read_record(path).header.start
    )


def record_until(window: record.Window) -> LoadRecord:
    """The load record, as soon as it covers the window."""
    path = current().folder / "load.jsonl"
    record.table_covering(path, window)
    return read_record(path)


def good_latency_ms(window: record.Window, q: float) -> float | None:
    """A quantile of the latency of good answers, in milliseconds; None without any."""
    table = record.table_covering(current().folder / "load.jsonl", window)
    rows = table.rows(start=window.start, end=window.end, outcomes=("ok",))
    return table.quantiles_ms(rows, (q,))[0]


def case_1_goodput(loaded: LoadRecord, window: record.Window) -> float:
    """Good answers a second of the app's endpoints."""
    good = sum(
        line.n
        for line in loaded.seconds
        if line.outcome == "ok" and line.name.startswith("/count/") and window.start <= line.t < window.end
    )
    return good / max(1, window.end - window.start)


def _gauge(name: str, statistic: str, phase: str | None, last_s: float | None) -> float:
    if statistic not in _STATISTICS:
        raise UsageError(f"{name}: statistic {statistic!r}: one of {', '.join(_STATISTICS)}")
    window = window_of(phase, last_s)
    values = [
        value
        for pod in pods()
        for t, value in zip(pod.t, pod.columns.get(name, ()), strict=False)
        if value is not None and window.start <= t < window.end
    ]
    if not values:
        raise RecordError(f"no app told {name} in this window: the control's `telemetry` must be on")
    return round(max(values) if statistic == "max" else sum(values) / len(values), 3)


def _lines() -> list[dict[str, Any]]:
    path = current().folder / telemetry.FILE
    text = path.read_text() if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in whole.splitlines()]


def pods() -> tuple[Samples, ...]:
    """What the apps have told of themselves."""
    return parse_samples(_lines())[0]


def edges() -> tuple[EdgeSample, ...]:
    """What the sidecars have counted."""
    return parse_edges(_lines())
