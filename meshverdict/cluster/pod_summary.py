"""A pod's state in one word, as kubectl shows it. Pure."""

from __future__ import annotations

from meshverdict.cluster.durations import duration, seconds_of
from meshverdict.cluster.store import Manifest


def pod_summary(pod: Manifest, now: float) -> tuple[int, int, str, str]:
    """Ready containers, all containers, the one word for its state, and restarts."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    sidecars = {c["name"] for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or []) + len(sidecars)
    reason = status.get("reason") or status.get("phase") or "Pending"
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    held_up, ready, restarts, last = _init_state(status, spec, sidecars)
    if held_up:
        reason = held_up
    else:
        running = False
        for container in reversed(status.get("containerStatuses") or []):
            restarts += container.get("restartCount", 0)
            last = max(last, _last_end(container))
            reason, is_ready = _state(container, reason)
            running = running or is_ready
            ready += int(is_ready)
        if reason == "Completed" and running:
            reason = "Running" if _is_ready(status) else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        reason = "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    shown = f"{restarts} ({duration(now - last)} ago)" if restarts and last else str(restarts)
    return ready, total, reason, shown


def _init_state(status: Manifest, spec: Manifest, sidecars: set[str]) -> tuple[str, int, int, float]:
    """Of the init containers: the word if they hold the pod up, ready sidecars, restarts, last end."""
    ready = restarts = 0
    last = 0.0
    statuses = status.get("initContainerStatuses") or []
    for index, container in enumerate(statuses):
        state = container.get("state") or {}
        restarts += container.get("restartCount", 0)
        last = max(last, _last_end(container))
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and terminated.get("exitCode") == 0:
            continue
        if container.get("name") in sidecars and container.get("started"):
            ready += int(bool(container.get("ready")))
            continue
        if terminated is not None:
            word = _ended(terminated)
        elif waiting and waiting.get("reason") not in {None, "", "PodInitializing"}:
            word = str(waiting["reason"])
        else:
            word = f"{index}/{len(spec.get('initContainers') or [])}"
        return f"Init:{word}", ready, restarts, last
    return "", ready, restarts, last


def _last_end(container: Manifest) -> float:
    ended = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
    return seconds_of(ended) if ended else 0.0


def _state(container: Manifest, reason: str) -> tuple[str, bool]:
    state = container.get("state") or {}
    waiting, terminated = state.get("waiting") or {}, state.get("terminated")
    if waiting.get("reason"):
        return str(waiting["reason"]), False
    if terminated is not None:
        return _ended(terminated), False
    return reason, bool(container.get("ready") and state.get("running") is not None)


def _ended(terminated: Manifest) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _is_ready(status: Manifest) -> bool:
    conditions = status.get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
