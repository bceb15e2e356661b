"""What a run's files say about an overload: the flow of the load, and for each tier what arrived and how busy it was.

Between the files (load record, telemetry) and the definitions (`analysis.snowball`); pure.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshverdict.analysis.snowball import Flow, amplification, arrived, collapses, metastable, recovery_s
from meshverdict.analysis.windows import Phase
from meshverdict.model.record import GOOD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from meshverdict.analysis.edges import EdgeSample
    from meshverdict.analysis.telemetry import Samples
    from meshverdict.model.record_reader import LoadRecord

# Names of phases that an experiment with a trigger marks.
TRIGGER: Final = "trigger"
AFTERMATH: Final = "aftermath"
# The record's word for an answer of 429.
LIMITED: Final = "limited"
# Telemetry is read once a second: the sample that tells about a second comes after it.
SAMPLE_S: Final = 1.0
_LONGEST_S: Final = 7 * 86400


def flow_of(record: LoadRecord) -> Flow | None:
    """The load as users offered it and as they were served; None for a record without any second, or of more than a week."""
    offered: Counter[int] = Counter()
    good: Counter[int] = Counter()
    for second in record.generator:
        offered[second.t] += second.scheduled
    for line in record.seconds:
        if line.outcome == GOOD:
            good[line.t] += line.n
    # A clock that was set while the load ran makes a record of years; it is judged invalid elsewhere.
    if not offered or max(offered) - min(offered) > _LONGEST_S:
        return None
    # The last second of a generator is cut; a request that ends later belongs to nobody's second.
    seconds = range(min(offered), max(offered) + 1)
    return Flow.of(seconds.start, [offered[t] for t in seconds], [good[t] for t in seconds])


@dataclass(frozen=True, slots=True)
class Tier:
    """What arrived at one tier, over time.

    Attributes:
        name: ``namespace/workload``.
        source: Who counted: ``mesh`` (the callers' sidecars) or ``app`` (the server's own metrics).
        t: Unix seconds.
        arrivals: Requests a second that arrived there; None where that is not known.
    """

    name: str
    source: str
    t: tuple[float, ...]
    arrivals: tuple[float | None, ...]

    def amplification(self, flow: Flow, start: float, end: float) -> float | None:
        """Requests here for each arrival of a user between two moments; None where it was not seen."""
        seen = [
            (t, n) for t, n in zip(self.t, self.arrivals, strict=True) if n is not None and start < t <= end
        ]
        if len(seen) < 2:
            return None
        # Rates are means since the sample before, so each stands for its own stretch.
        stretch = seen[-1][0] - seen[0][0]
        total = sum(n * (t - was) for (was, _), (t, n) in itertools.pairwise(seen))
        offered = flow.between(start, end)
        return amplification(total / stretch, float(offered.offered.mean())) if len(offered.offered) else None


def tiers(edges: Iterable[EdgeSample], pods: Sequence[Samples]) -> tuple[Tier, ...]:
    """Each tier's arrivals: as the mesh saw them where it did, else as the servers themselves tell."""
    by_tier: dict[str, Counter[float]] = {}
    for sample in edges:
        if sample.protocol == "http":
            by_tier.setdefault(sample.service, Counter())[sample.t] += sample.attempts
    moments = sorted({t for counts in by_tier.values() for t in counts})
    found = [_mesh_tier(name, counts, moments) for name, counts in by_tier.items()]
    return tuple(sorted([*found, *_servers(pods)], key=lambda tier: (tier.name, tier.source)))


def _mesh_tier(name: str, counts: Counter[float], moments: Sequence[float]) -> Tier:
    """Attempts a second; a moment at which an edge told nothing is a stretch without attempts."""
    rates: list[float | None] = [None]
    rates += [counts[t] / (t - was) for was, t in itertools.pairwise(moments)]
    return Tier(name, "mesh", tuple(moments), tuple(rates))


def _servers(pods: Sequence[Samples]) -> list[Tier]:
    return [tier for pod in pods if (tier := _server(pod)) is not None]


def _server(pod: Samples) -> Tier | None:
    if "handled" not in pod.columns:
        return None
    columns = pod.columns
    nothing = (None,) * len(pod.t)
    inside = [
        None if queued is None or busy is None else queued + busy
        for queued, busy in zip(
            columns.get("queue", nothing), columns.get("busy_threads", nothing), strict=True
        )
    ]
    counts = arrived(columns["handled"], inside)
    rates: list[float | None] = [None]
    for i in range(1, len(pod.t)):
        n, stretch = counts[i], pod.t[i] - pod.t[i - 1]
        rates.append(None if n is None or stretch <= 0 else n / stretch)
    return Tier(pod.source, "app", pod.t, tuple(rates))


@dataclass(frozen=True, slots=True)
class Story:
    """What a trigger did to a service.

    Attributes:
        baseline: The phase before the trigger.
        trigger: When it began and ended, unix seconds.
        before: Goodput a second before it.
        share_before: The same as a share of what was offered; None where nothing was.
        after: Goodput a second, from its end to the end of the phase after it.
        recovery_s: See `snowball.recovery_s`; None when it did not recover.
        metastable: See `snowball.metastable`.
        collapses: Stretches in which the service was down.
        observed_s: How long it was watched after the trigger.
    """

    baseline: Phase
    trigger: Phase
    before: float | None
    after: float | None
    recovery_s: float | None
    metastable: bool | None
    collapses: tuple[tuple[int, int], ...]
    observed_s: float
    share_before: float | None = None

    @property
    def words(self) -> str:
        """The story in a few words, such as ``recovered 12 s after the trigger``."""
        if self.recovery_s is not None and not self.metastable:
            if self.recovery_s == 0:
                return "was as before when the trigger ended"
            return f"recovered {self.recovery_s:.0f} s after the trigger"
        down = f"had not recovered {self.observed_s:.0f} s after the trigger"
        if not self.metastable:
            return down
        if self.recovery_s is None:
            return f"was metastable: it {down}"
        return f"was metastable: it recovered only {self.recovery_s:.0f} s after the trigger"


def story(flow: Flow, phases: Sequence[Phase], end: float | None = None) -> Story | None:
    """What happened around the first phase called ``trigger``; None in a run without one, or with nothing before it.

    Args:
        flow: Of the whole load.
        phases: Of the run, in time order; the phase just before the trigger is the baseline.
        end: Where to look no further, unix time; by default the end of the phase after the trigger.
    """
    at = next((i for i, phase in enumerate(phases) if phase.name == TRIGGER), 0)
    if not at:
        return None
    baseline, trigger = phases[at - 1], phases[at]
    last = end if end is not None else (phases[at + 1].end if at + 1 < len(phases) else flow.end)
    seen = flow.between(flow.start, last)
    before, after = seen.between(baseline.start, baseline.end), seen.between(trigger.end, last)
    return Story(
        baseline,
        trigger,
        before.goodput,
        after.goodput,
        recovery_s(seen, before, trigger.end),
        metastable(seen, before, trigger.end),
        collapses(seen.between(baseline.start, last)),
        max(0.0, min(last, seen.end) - trigger.end),
        before.share,
    )


def limited_share(record: LoadRecord, start: float, end: float) -> float | None:
    """Share of the requests between two moments that were turned away with 429; None without requests."""
    lines = [line for line in record.seconds if line.t >= start and line.t + 1 <= end]
    total = sum(line.n for line in lines)
    return sum(line.n for line in lines if line.outcome == LIMITED) / total if total else None


def all_busy_share(pods: Sequence[Samples], start: float, end: float) -> float | None:
    """Share of the samples between two moments that found every thread of some server busy; None without samples."""
    found = [
        busy >= threads
        for pod in pods
        for t, busy, threads in zip(
            pod.t, pod.columns.get("busy_threads", ()), pod.columns.get("threads", ()), strict=False
        )
        if busy is not None and threads is not None and start <= t < end
    ]
    return sum(found) / len(found) if found else None
