"""What the kubelet knows of a container: the values from which a pod's status is computed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["init", "sidecar", "app"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not running; *reason* is what kubectl shows."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Running since *started* (Unix seconds)."""

    started: float


@dataclass(frozen=True, slots=True)
class Terminated:
    """Ended; the exit code of signal N is 128 + N, as a shell says it."""

    exit_code: int
    reason: str
    started: float
    finished: float
    container_id: str = ""
    message: str = ""


State = Waiting | Running | Terminated


@dataclass(slots=True)
class ContainerRecord:
    """One container of one pod.

    Attributes:
        spec: The container as the pod's manifest has it.
        begun: It was started once before; a sidecar that has begun lets the next containers start.
        started: Its startup probe has succeeded (or it has none and it runs).
        ready: Its readiness probe says so (or it has none and it runs).
        pulled: Its image was found.
        restarting: It has ended and will be started again.
    """

    name: str
    kind: Kind
    spec: dict[str, Any]
    state: State
    last: Terminated | None = None
    restarts: int = 0
    begun: bool = False
    started: bool = False
    ready: bool = False
    pulled: bool = False
    restarting: bool = False
    container_id: str = field(default="")

    @property
    def finished(self) -> bool:
        """It has ended and will not be started again."""
        return isinstance(self.state, Terminated) and not self.restarting

    @property
    def succeeded(self) -> bool:
        """It has ended for good, with exit code 0."""
        return self.finished and isinstance(self.state, Terminated) and self.state.exit_code == 0


def new_container_id() -> str:
    """An id in the form of Kubernetes' container ids."""
    return f"process://{secrets.token_hex(32)}"


def records(pod_spec: dict[str, Any]) -> list[ContainerRecord]:
    """The records of a pod that has not started: init containers first."""
    waiting = Waiting("PodInitializing" if pod_spec.get("initContainers") else "ContainerCreating")
    found = []
    for spec in pod_spec.get("initContainers") or ():
        kind: Kind = "sidecar" if spec.get("restartPolicy") == "Always" else "init"
        found.append(ContainerRecord(spec["name"], kind, spec, waiting))
    found += [ContainerRecord(spec["name"], "app", spec, waiting) for spec in pod_spec["containers"]]
    return found
