"""Faults at tiers: programs that stand still for a part of the time, and who can tell where.

A tier is stalled from inside its own pod, by the signals that stop and continue its worker processes; a Redis, which has
none, by its own CLIENT PAUSE. Every stall ends by itself, also when nobody is left to end it.
"""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.flows import is_of
from meshverdict.chaos import stall_programs
from meshverdict.chaos.execute import Place, execute_in_all
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from meshverdict.chaos.session import Session

_EXEC_MARGIN_S: Final = 10


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that was injected.

    Attributes:
        tier: ``namespace/workload``.
        start: Unix seconds.
        end: Unix seconds.
        stall_ms: How long each stall was.
    """

    tier: str
    start: float
    end: float
    stall_ms: float


def stall_tier(
    tier: str, seconds: float, stall_ms: float = 100.0, every_ms: float = 400.0, container: str | None = None
) -> dict[str, Any]:
    """Let a tier stand still for a part of the time; returns when it is over.

    Args:
        tier: Workload as ``namespace/name``.
        seconds: How long in all.
        stall_ms: How long each stall is.
        every_ms: A stall begins so often.
        container: Of its pods; by default the first.
    """
    fault = _stall(current(), tier, float(seconds), (float(stall_ms), float(every_ms)), container)
    return asdict(fault)


def inject_faults(  # noqa: PLR0917 - an experiment names its arguments
    tiers: list[str],
    faults: int = 20,
    seconds: float = 3.0,
    rest_s: float = 1.5,
    stalls_ms: list[float] | None = None,
    every_ms: float = 400.0,
    seed: int | None = None,
) -> list[dict[str, Any]]:
    """Stall one tier after the other, each drawn at random, with a rest between; fails if the load ends meanwhile.

    Args:
        tiers: Workloads as ``namespace/name``.
        faults: How many.
        seconds: How long each lasts.
        rest_s: Seconds between two.
        stalls_ms: Shortest and longest stall, [80, 200] by default; each fault draws its own.
        every_ms: A stall begins so often.
        seed: Of the draws; by default the campaign's.
    """
    session = current()
    low, high = stalls_ms or (80.0, 200.0)
    draw = random.Random(session.options.seed if seed is None else seed)  # noqa: S311 - to be repeated, not to be secret
    session.faults.clear()
    for _ in range(int(faults)):
        tier, stall_ms = draw.choice(sorted(tiers)), round(draw.uniform(low, high), 1)
        session.faults.append(_stall(session, tier, float(seconds), (stall_ms, float(every_ms))))
        session.hold(float(rest_s))
    return [asdict(fault) for fault in session.faults]


def release_tiers(tiers: list[str]) -> list[str]:
    """End every stall of these tiers now; fails if any of their processes still stands still.

    Args:
        tiers: Workloads as ``namespace/name``.
    """
    session = current()
    return [
        name
        for tier in tiers
        for name in _run(session, tier, None, ["sh", "-c", stall_programs.RELEASE], 10.0)
    ]


def _stall(
    session: Session, tier: str, seconds: float, rhythm_ms: tuple[float, float], container: str | None = None
) -> Fault:
    stall_ms, every_ms = rhythm_ms
    if not 0 < stall_ms < every_ms:
        raise UsageError(f"stall_ms {stall_ms:g}: above 0 and below every_ms {every_ms:g}")
    stalls = max(1, round(1000 * seconds / every_ms))
    script = stall_programs.REDIS if _is_redis(session, tier) else stall_programs.SIGNALS
    command = stall_programs.stall(
        script, stalls, stall_ms / 1000, (every_ms - stall_ms) / 1000, stall_programs.WORKERS
    )
    start = time.time()
    _run(session, tier, container, command, seconds)
    return Fault(tier, round(start, 3), round(time.time(), 3), stall_ms)


def _is_redis(session: Session, tier: str) -> bool:
    pod = _pods(session, tier)[0]
    return "redis" in str(pod["spec"]["containers"][0].get("image", "")).rpartition("/")[2]


def _pods(session: Session, tier: str) -> list[dict[str, Any]]:
    namespace, _, name = tier.partition("/")
    if namespace not in session.namespaces:
        raise UsageError(f"tier {tier!r}: namespace {namespace!r} is not labelled meshverdict.io/lab=true")
    found = [
        pod
        for pod in session.pods()
        if pod["metadata"]["namespace"] == namespace
        and is_of(pod["metadata"]["name"], name)
        and not pod["metadata"].get("deletionTimestamp")
    ]
    if not found:
        raise UsageError(f"tier {tier!r}: no pod of that workload")
    return found


def _run(session: Session, tier: str, container: str | None, command: list[str], seconds: float) -> list[str]:
    """Run a command in all pods of a tier at once; answers their names."""
    places = [
        Place(
            pod["metadata"]["namespace"],
            pod["metadata"]["name"],
            container or pod["spec"]["containers"][0]["name"],
        )
        for pod in _pods(session, tier)
    ]
    try:
        execute_in_all(session.access, places, command, timeout=seconds + _EXEC_MARGIN_S)
    except LabError as error:
        raise LabError(f"tier {tier}: {error}; see whether its image has a shell") from error
    return [f"{place.namespace}/{place.pod}" for place in places]
