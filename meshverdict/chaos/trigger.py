"""Triggers: something stands still for a moment, and then everything is as before, or it is not.

Each marks the phase `trigger` while it lasts and `aftermath` from its end, which is what recovery is counted from.
"""

from __future__ import annotations

import time
from typing import Any, Final

from meshverdict.analysis.overload import AFTERMATH, TRIGGER
from meshverdict.chaos import stall_programs
from meshverdict.chaos.execute import execute, one_pod
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, UsageError

_LONGEST_S: Final = 600.0
_SLACK_S: Final = 15.0


def pause_redis(
    seconds: float = 2.0,
    ns: str = "d-redis",
    label_selector: str = "app=redis",
    container: str = "redis",
) -> dict[str, Any]:
    """Let Redis answer nobody for some seconds (`CLIENT PAUSE`), and wait until it answers again.

    SIGSTOP does not stop a container's first process from inside, so Redis is asked to stand still by itself. A PING
    that has to wait until the end shows that it did. Zero seconds pause nothing: the same phases, without a trigger.

    Args:
        seconds: How long.
        ns: Namespace of Redis.
        label_selector: Its pod.
        container: Its container.
    """
    seconds = _checked("pause_redis", seconds, ns)
    session = current()
    pod = one_pod(session.access, ns, label_selector)
    begun = _begin()
    if seconds:
        milliseconds = str(round(seconds * 1000))
        said = execute(
            session.access,
            ns,
            pod,
            container,
            ["redis-cli", "CLIENT", "PAUSE", milliseconds, "ALL"],
            timeout=_SLACK_S,
        )
        if said.strip() != "OK":
            raise LabError(f"redis in {ns}/{pod} does not pause: {said.strip()[:200]}")
        paused = time.time()
        execute(session.access, ns, pod, container, ["redis-cli", "PING"], timeout=seconds + _SLACK_S)
        if time.time() - paused < 0.5 * seconds:
            raise LabError(
                f"redis in {ns}/{pod} answered {time.time() - paused:.1f} s into a pause of {seconds:g} s"
            )
    return _end(begun)


def stop_processes(ns: str, label_selector: str, container: str, seconds: float = 2.0) -> dict[str, Any]:
    """Stop the processes of a container (SIGSTOP), all but its first one, and let them go on after some seconds.

    They go on also when the runner is gone by then: their container has a watch of its own.

    Args:
        ns: Namespace of the lab.
        label_selector: A pod of it.
        container: The container; it needs a shell.
        seconds: How long.
    """
    seconds = _checked("stop_processes", seconds, ns)
    session = current()
    pod = one_pod(session.access, ns, label_selector)
    begun = _begin()
    command = stall_programs.stall(stall_programs.SIGNALS, 1, seconds, 0.0, stall_programs.ALL)
    said = execute(session.access, ns, pod, container, command, timeout=seconds + _SLACK_S)
    return _end(begun) | {"processes": len(said.split())}


def _checked(what: str, seconds: float, ns: str) -> float:
    session = current()
    if ns not in session.namespaces:
        raise UsageError(
            f"{what}: namespace {ns!r} is not labelled meshverdict.io/lab=true, so it is not touched"
        )
    value = float(seconds)
    if not 0 <= value <= _LONGEST_S:
        raise UsageError(f"{what}: seconds {seconds!r}: from 0 to {_LONGEST_S:g}")
    return value


def _begin() -> float:
    current().timeline.enter(TRIGGER)
    return time.time()


def _end(begun: float) -> dict[str, Any]:
    current().timeline.enter(AFTERMATH)
    return {"seconds": round(time.time() - begun, 3)}
