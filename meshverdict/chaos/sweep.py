"""Try the values of a rate limit one after the other, under too much load: which one is right, and what a wrong one costs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from meshverdict.analysis.overload import limited_share
from meshverdict.analysis.snowball import SweepPoint, advise
from meshverdict.chaos import overload, rate_limit
from meshverdict.chaos.answers import AS_EXPECTED, NOT_EXPECTED
from meshverdict.chaos.manifests import read_manifests
from meshverdict.chaos.record import Window
from meshverdict.chaos.served import policies_served
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, RecordError, UsageError

PHASE: Final = "sweep"
# From below half of the right value to above twice of it, so that both can be told.
SHARES: Final = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.15, 1.3, 1.6, 2.1)
# Of each step, the part that counts: its beginning belongs to the value before.
_COUNTED: Final = 0.6


def sweep_rate_limit(
    paths: list[str] | str, seconds: float = 84.0, shares: list[float] | None = None
) -> dict[str, Any]:
    """Apply a rate limit with one value after the other, from low to high, under the load that runs.

    The load must be more than the capacity, twice of it, say. What was found is in run.json, and `meshverdict sweep`
    reads it there.

    Args:
        paths: Files with the rate limit.
        seconds: For all steps together.
        shares: The values, as shares of what `find_capacity` found.
    """
    session = current()
    if session.load is None:
        raise UsageError(
            "sweep_rate_limit: no load runs; start one above the capacity with start_load of_capacity"
        )
    if not any(rate_limit.limits_of([m]) for p in _listed(paths) for m in read_manifests(Path(p))):
        raise UsageError(f"sweep_rate_limit: no token bucket in {', '.join(_listed(paths))}")
    values = sorted(float(share) for share in shares or SHARES)
    step_s = float(seconds) / len(values)
    session.timeline.enter(PHASE)
    steps = [_step(paths, share, step_s) for share in values]
    _, last = steps[-1]
    loaded = overload.record_until(last)
    points = []
    for limit, window in steps:
        good = overload.case_1_goodput(loaded, window)
        points.append(SweepPoint(round(limit, 2), round(good, 2), _queue_at(window.end)))
    advice = advise(points)
    if advice is None:
        raise LabError("no value of the rate limit led to any goodput: see whether the app answers at all")
    found = {
        "value": advice.limit,
        "goodput": advice.goodput,
        "goodput_at_half": advice.at_half,
        "goodput_at_double": advice.at_double,
        "points": [
            {
                "limit": point.limit,
                "goodput": point.goodput,
                "queue": point.queue,
                "limited": round(limited_share(loaded, window.start, window.end) or 0.0, 4),
                "sustained": point.sustained,
            }
            for point, (_, window) in zip(points, steps, strict=True)
        ],
    }
    session.measures["sweep"] = found
    return found


def sweep_matches_knee(within: float = 0.1) -> str:
    """Whether the value that the sweep found is the capacity that `find_capacity` found, without any limit; phase-aware.

    Args:
        within: How far it may be off, as a share of the capacity.
    """
    session = current()
    found = session.measures.get("sweep")
    if found is None:
        missing = session.timeline.treated and session.timeline.method_over
        return f"{NOT_EXPECTED if missing else AS_EXPECTED}no value was tried"
    knee = session.found_capacity()
    off = found["value"] / knee - 1
    right = abs(off) <= float(within)
    return (
        f"{AS_EXPECTED if right else NOT_EXPECTED}the sweep's value is {found['value']:.1f} requests a second, the knee"
        f" without a limit {knee:.1f} ({off:+.1%}); goodput {found['goodput']:.1f} with it, {_told(found, 'half')} with"
        f" half of it, {_told(found, 'double')} with twice of it"
    )


def _told(found: dict[str, Any], what: str) -> str:
    value = found[f"goodput_at_{what}"]
    return "unknown" if value is None else f"{value:.1f}"


def _listed(paths: list[str] | str) -> list[str]:
    return [paths] if isinstance(paths, str) else paths


def _step(paths: list[str] | str, share: float, seconds: float) -> tuple[float, Window]:
    """One value; the limit, and the seconds that count."""
    session = current()
    limit = share * session.found_capacity()
    begun = time.monotonic()
    rate_limit.apply_policy(paths, limit_per_s=limit)
    said = policies_served(paths, timeout=seconds)
    if not said.startswith(AS_EXPECTED):
        raise LabError(f"a limit of {limit:.1f} requests a second: {said}")
    # However long it took to be served, what counts lies after that.
    session.hold(max(_COUNTED * seconds + 1.0, seconds - (time.monotonic() - begun)))
    end = int(time.time())
    return limit, Window(end - max(1, int(_COUNTED * seconds)), end)


def _queue_at(moment: float) -> float:
    """Requests that waited in all replicas, at the last samples before a moment.

    Raises:
        RecordError: No replica told, so nobody knows whether a value can be kept up.
    """
    found: list[float] = []
    for pod in overload.pods():
        told = [
            queue
            for t, queue in zip(pod.t, pod.columns.get("queue", ()), strict=False)
            if queue is not None and moment - 3.0 < t <= moment + 0.5
        ]
        found += told[-1:]
    if not found:
        raise RecordError(
            "no app told of its queue at the end of a step: the control's `telemetry` must be on"
        )
    return sum(found)
