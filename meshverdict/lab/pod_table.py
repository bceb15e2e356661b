"""The table that `kubectl get po -A` prints, for people who have no kubectl. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

HEADINGS = ("NAMESPACE", "NAME", "READY", "STATUS", "RESTARTS", "AGE")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def age(seconds: float) -> str:
    """A duration as kubectl writes it: 45s, 5m29s, 74m, 3h10m, 2d."""
    whole = max(0, int(seconds))
    if whole < 2 * _MINUTE:
        return f"{whole}s"
    if whole < 10 * _MINUTE:
        return f"{whole // _MINUTE}m{whole % _MINUTE}s".replace("m0s", "m")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    return f"{whole // _DAY}d"


def pod_status(pod: dict[str, Any]) -> str:
    """The STATUS column: the phase, unless a container or a deletion says something more exact."""
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for container in status.get("containerStatuses") or ():
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            if state.get(kind, {}).get("reason"):
                return str(state[kind]["reason"])
    return str(status.get("reason") or status.get("phase") or "Unknown")


def rows(pods: Iterable[dict[str, Any]], now: datetime) -> list[Sequence[str]]:
    """One row a pod, without the headings."""
    table: list[Sequence[str]] = []
    for pod in pods:
        meta, status = pod["metadata"], pod.get("status") or {}
        containers = status.get("containerStatuses") or []
        ready = sum(1 for c in containers if c.get("ready"))
        created = datetime.fromisoformat(meta["creationTimestamp"])
        table.append(
            (
                meta["namespace"],
                meta["name"],
                f"{ready}/{len(pod['spec']['containers'])}",
                pod_status(pod),
                str(sum(c.get("restartCount", 0) for c in containers)),
                age((now - created.astimezone(UTC)).total_seconds()),
            )
        )
    return table


def render(pods: Iterable[dict[str, Any]], now: datetime) -> str:
    """The table as text, columns three blanks apart as kubectl does."""
    lines = [HEADINGS, *rows(pods, now)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    return "\n".join(
        "   ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )
