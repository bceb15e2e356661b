"""Faults at tiers: programs that stand still for a part of the time, and who can tell where.

A tier is stalled from inside its own pod, by the signals that stop and continue its worker processes; a Redis, which has
none, by its own CLIENT PAUSE. Every stall ends by itself, also when nobody is left to end it.
"""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream

from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from meshverdict.chaos.session import Session

_EXEC_MARGIN_S: Final = 10
# $1 stalls, each $2 seconds long with $3 seconds after it. The first process of a container cannot be stopped from inside
# it, so its children with the same name are: the workers of Apache, of gunicorn, of nginx. Should the program be killed,
# its watch lets them go on after $5 seconds.
_SIGNALS: Final = """
name=$(cat /proc/1/comm); pids=
for p in /proc/[0-9]*; do
  n=${p#/proc/}
  [ "$n" != 1 ] && [ "$(cat $p/comm 2>/dev/null)" = "$name" ] && pids="$pids $n"
done
[ -n "$pids" ] || { echo "no worker processes called $name" >&2; exit 3; }
(sleep $5; kill -CONT $pids) >/dev/null 2>&1 & watch=$!
trap 'kill -CONT $pids; kill $watch' EXIT
trap 'exit 4' HUP INT TERM
i=0
while [ $i -lt $1 ]; do kill -STOP $pids; sleep $2; kill -CONT $pids; sleep $3; i=$((i+1)); done
"""
_REDIS: Final = """
i=0
while [ $i -lt $1 ]; do redis-cli CLIENT PAUSE $(printf '%.0f' $4) ALL >/dev/null || exit 3; sleep $2; sleep $3; i=$((i+1)); done
"""
# First the programs that stall, known by their name; the brackets keep this one from being taken for one of them.
_RELEASE: Final = """
name=$(cat /proc/1/comm)
for p in /proc/[0-9]*; do grep -q 'meshverdict-[s]tall' $p/cmdline 2>/dev/null && kill -TERM ${p#/proc/} && sleep 0.5; done
for p in /proc/[0-9]*; do [ "$(cat $p/comm 2>/dev/null)" = "$name" ] && kill -CONT ${p#/proc/}; done
[ "$name" != redis-server ] || redis-cli CLIENT UNPAUSE >/dev/null || exit 3
sleep 0.05
for p in /proc/[0-9]*; do
  if grep -q '^State:.T' $p/status 2>/dev/null; then echo "process ${p#/proc/} still stands still" >&2; exit 4; fi
done
"""


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
    return [name for tier in tiers for name in _run(session, tier, None, ["sh", "-c", _RELEASE], 10.0)]


def _stall(
    session: Session, tier: str, seconds: float, rhythm_ms: tuple[float, float], container: str | None = None
) -> Fault:
    stall_ms, every_ms = rhythm_ms
    if not 0 < stall_ms < every_ms:
        raise UsageError(f"stall_ms {stall_ms:g}: above 0 and below every_ms {every_ms:g}")
    stalls = max(1, round(1000 * seconds / every_ms))
    script = _REDIS if _is_redis(session, tier) else _SIGNALS
    times = [
        f"{stall_ms / 1000:.3f}",
        f"{(every_ms - stall_ms) / 1000:.3f}",
        f"{stall_ms:g}",
        f"{seconds + 2:.0f}",
    ]
    start = time.time()
    _run(session, tier, container, ["sh", "-c", script, "meshverdict-stall", str(stalls), *times], seconds)
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
        and pod["metadata"]["name"].startswith(f"{name}-")
        and not pod["metadata"].get("deletionTimestamp")
    ]
    if not found:
        raise UsageError(f"tier {tier!r}: no pod of that workload")
    return found


def _run(session: Session, tier: str, container: str | None, command: list[str], seconds: float) -> list[str]:
    """Run a command in all pods of a tier at once; answers their names."""
    # `stream` changes the client that it is given, and others use ours at the same time.
    own = client.CoreV1Api(client.ApiClient(session.access.api.configuration))
    pods = _pods(session, tier)
    running = []
    for pod in pods:
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        where = container or pod["spec"]["containers"][0]["name"]
        try:
            opened = stream(
                own.connect_get_namespaced_pod_exec,
                name,
                namespace,
                container=where,
                command=command,
                stdout=True,
                stderr=True,
                stdin=False,
                tty=False,
                _preload_content=False,
            )
        except ApiException as error:
            raise LabError(f"pod {namespace}/{name}: nothing can be run in it ({error.reason})") from error
        running.append((f"{namespace}/{name}", opened))
    for name, opened in running:
        opened.run_forever(timeout=seconds + _EXEC_MARGIN_S)
        said = opened.read_stderr().strip()
        if opened.is_open() or opened.returncode != 0:
            raise LabError(
                f"pod {name}: {said or 'the command did not end'}; see whether its image has a shell"
            )
    return [name for name, _ in running]
