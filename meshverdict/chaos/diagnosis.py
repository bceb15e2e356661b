"""Name the guilty tier of every fault that was injected, by the mesh's telemetry and without it, and count who was right."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.edges import EdgeSample, parse_edges, totals
from meshverdict.analysis.flows import is_of
from meshverdict.analysis.guilty import LEAST_MS, Path, guilty_tier, narrowed, suspects, waiting
from meshverdict.analysis.load_table import load_table
from meshverdict.analysis.telemetry import Samples, parse_samples
from meshverdict.analysis.windows import WARM_UP_S
from meshverdict.chaos import record, telemetry
from meshverdict.chaos.answers import AS_EXPECTED, NOT_EXPECTED
from meshverdict.chaos.session import current
from meshverdict.model.errors import RecordError, UsageError
from meshverdict.model.record_reader import read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshverdict.analysis.load_table import LoadTable

# The mesh is read once a second and its lines tell of the second before; the first of a fault is mixed.
_LAG_S: Final = 1.0
# On a busy machine latencies wander by more than a few milliseconds: nobody is suspected for less than half of what
# requests take anyway.
LEAST_GROWTH: Final = 0.5


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was said of one stretch of the run.

    Attributes:
        tier: Who was at fault; empty when nobody was.
        mesh: Whom the mesh's telemetry names; None for nobody.
        clients: Whom the clients' view leaves.
        apps: Whom the clients' view and the applications' own metrics leave.
    """

    tier: str
    mesh: str | None
    clients: tuple[str, ...]
    apps: tuple[str, ...]


class Evidence:
    """What a run's files tell, for any stretch of it.

    Args:
        paths: By prefix of endpoints, the tiers that such requests pass through.
        usual: Start and end of the time in which nothing was wrong.
    """

    def __init__(self, paths: dict[str, list[str]], usual: tuple[float, float]) -> None:
        folder = current().folder
        found = read_record(folder / "load.jsonl")
        lines = _lines(folder / telemetry.FILE)
        self._paths = paths
        self._usual = usual
        self._table: LoadTable = load_table(found.seconds, ratio=found.header.ratio)
        self._edges: tuple[EdgeSample, ...] = parse_edges(lines)
        self._pods: tuple[Samples, ...] = parse_samples(lines)[0]
        self._usual_ms = max(self._mean(prefix, *usual) for prefix in paths)

    def of(self, tier: str, start: float, end: float) -> Diagnosis:
        """What is said of [start, end)."""
        before = totals(self._edges, self._usual[0] + _LAG_S, self._usual[1] + _LAG_S)
        during = totals(self._edges, start + _LAG_S, end + _LAG_S)
        seen = tuple(
            Path(tuple(tiers), self._mean(prefix, start, end) - self._mean(prefix, *self._usual))
            for prefix, tiers in self._paths.items()
        )
        least_ms = max(LEAST_MS, LEAST_GROWTH * self._usual_ms)
        left = suspects(seen, least_ms=least_ms)
        busy = {
            name: (then, now)
            for name in {tier for tiers in self._paths.values() for tier in tiers}
            if (then := self._busy(name, *self._usual)) is not None
            and (now := self._busy(name, start, end)) is not None
        }
        return Diagnosis(
            tier, guilty_tier(waiting(before, during), least_ms=least_ms), left, narrowed(left, seen, busy)
        )

    def has_edges(self, start: float, end: float) -> bool:
        """Whether any sidecar told of a request in [start, end)."""
        return bool(totals(self._edges, start + _LAG_S, end + _LAG_S))

    def _mean(self, prefix: str, start: float, end: float) -> float:
        names = [name for name in self._table.names if name.startswith(prefix)]
        rows = self._table.rows(start=math.ceil(start), end=math.floor(end), names=names)
        mean = self._table.mean_ms(rows)
        if mean is None:
            raise RecordError(
                f"no request to {prefix} between two faults' moments; raise the rate, or let them last"
            )
        return mean

    def _busy(self, tier: str, start: float, end: float) -> float | None:
        values = [
            value
            for pod in self._pods
            if is_of(pod.source, tier)
            for t, value in zip(pod.t, pod.columns.get("busy_threads", ()), strict=False)
            if value is not None and start <= t < end
        ]
        return sum(values) / len(values) if values else None


def guilty_tiers_named(paths: dict[str, list[str]], least: float = 0.9, usual: str = "baseline") -> str:
    """How many of the injected faults are put down to the right tier, with the mesh's telemetry and without; phase-aware.

    Before the method nobody may be named by anybody. After it, the mesh's telemetry must name at least a share of
    `least` rightly, and more than the clients' view does.

    Args:
        paths: By beginning of endpoints' names, the tiers that such requests pass through, as ``namespace/workload``.
        least: Share that the mesh's telemetry must name, 0 to 1.
        usual: Name of the phase in which nothing was wrong.
    """
    session = current()
    begin, end = _quiet(paths, usual)
    if not session.timeline.treated:
        middle = (begin + end) / 2
        evidence = Evidence(paths, (begin, middle))
        if not evidence.has_edges(middle, end):
            raise RecordError(
                "no sidecar told of any request in this phase: the mesh could have named nobody"
            )
        quiet = evidence.of("", middle, end)
        named = {name for name in (quiet.mesh, *quiet.clients, *quiet.apps) if name}
        said = "no fault was injected, and " + (
            f"{', '.join(sorted(named))} is named" if named else "nobody is named"
        )
        return (NOT_EXPECTED if named else AS_EXPECTED) + said
    if not session.faults:
        return NOT_EXPECTED + "no fault was injected"
    evidence = Evidence(paths, (begin, end))
    session.diagnoses[:] = [evidence.of(f.tier, f.start, f.end) for f in session.faults]
    counts, sentence = score(session.diagnoses)
    right = counts["mesh"] >= least * len(session.diagnoses) and counts["mesh"] > counts["clients"]
    return (AS_EXPECTED if right else NOT_EXPECTED) + sentence


def faults_were_felt(paths: dict[str, list[str]], least: float = 0.9, usual: str = "baseline") -> str:
    """Whether clients felt the faults that were injected: some path became slower with each of most of them.

    Args:
        paths: As in guilty_tiers_named.
        least: Share of the faults, 0 to 1.
        usual: Name of the phase in which nothing was wrong.
    """
    session = current()
    evidence = Evidence(paths, _quiet(paths, usual))
    felt = sum(bool(evidence.of(f.tier, f.start, f.end).clients) for f in session.faults)
    right = bool(session.faults) and felt >= least * len(session.faults)
    return (AS_EXPECTED if right else NOT_EXPECTED) + f"clients felt {felt} of {len(session.faults)} faults"


def _quiet(paths: dict[str, list[str]], usual: str) -> tuple[float, float]:
    """Start and end of the phase in which nothing was wrong, as soon as the record covers what has been."""
    session = current()
    phase = session.timeline.find(usual)
    if phase is None or not paths:
        raise UsageError(f"no phase {usual!r} to compare with, or no `paths`")
    path = session.folder / "load.jsonl"
    start = read_record(path).header.start
    record.table_covering(path, record.window_of(session.timeline, phase=None, last_s=None, load_start=start))
    return max(phase.start, start + WARM_UP_S), phase.end or session.timeline.clock()


def score(diagnoses: Sequence[Diagnosis]) -> tuple[dict[str, int], str]:
    """How many were named rightly by each view, and a sentence; several suspects are no name. Pure."""
    counts = {
        "mesh": sum(d.mesh == d.tier for d in diagnoses),
        "clients": sum(d.clients == (d.tier,) for d in diagnoses),
        "apps": sum(d.apps == (d.tier,) for d in diagnoses),
    }
    wrong = sum(d.mesh is not None and d.mesh != d.tier for d in diagnoses)
    left = [
        sum(len(view) for view in views) / max(1, len(diagnoses))
        for views in zip(*((d.clients, d.apps) for d in diagnoses), strict=True)
    ] or [0.0, 0.0]
    return counts, (
        f"of {len(diagnoses)} faults the guilty tier was named rightly {counts['mesh']} times with the mesh's telemetry"
        f" (wrongly {wrong}), {counts['clients']} times by the clients' view alone, which leaves {left[0]:.1f} suspects on"
        f" average, and {counts['apps']} times by the clients' view with the app's own metrics ({left[1]:.1f} suspects)"
    )


def _lines(path: Any) -> list[dict[str, Any]]:
    if not path.is_file():
        raise RecordError(f"{path}: no telemetry in this run; leave the control's `telemetry` on")
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
