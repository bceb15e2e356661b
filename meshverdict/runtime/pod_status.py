"""The status of a pod, as Kubernetes would write it, from what its containers do. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshverdict.runtime.container_state import ContainerRecord, Running, State, Terminated, Waiting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.cluster.store import Manifest


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is known beside the containers.

    Attributes:
        started: When the node first saw the pod, Unix seconds.
        sandbox: Its network exists.
        failure: Reason and message when the pod as a whole was ended (``DeadlineExceeded``, ``Evicted``).
        deleting: It is being deleted; its containers are not started again.
    """

    pod_ip: str
    host_ip: str
    started: float
    sandbox: bool
    failure: tuple[str, str] | None = None
    deleting: bool = False


def timestamp(seconds: float) -> str:
    """A time as Kubernetes writes it, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod_status(
    pod: Manifest, containers: Sequence[ContainerRecord], facts: PodFacts, now: float
) -> dict[str, Any]:
    """The whole status; conditions and times that have not changed are kept from the pod's old status."""
    old = pod.get("status") or {}
    apps = [c for c in containers if c.kind == "app"]
    inits = [c for c in containers if c.kind != "app"]
    phase = pod_phase(pod["spec"].get("restartPolicy", "Always"), inits, apps, facts)
    generation = pod["metadata"].get("generation", 1)
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "phase": phase,
        "conditions": _conditions(pod, inits, apps, facts, phase=phase, now=now),
        "hostIP": facts.host_ip,
        "hostIPs": [{"ip": facts.host_ip}],
        "startTime": old.get("startTime") or timestamp(facts.started),
        "qosClass": old.get("qosClass") or qos_class(pod["spec"]),
    }
    if facts.pod_ip:
        status |= {"podIP": facts.pod_ip, "podIPs": [{"ip": facts.pod_ip}]}
    if facts.failure:
        status |= {"reason": facts.failure[0], "message": facts.failure[1]}
    if inits:
        status["initContainerStatuses"] = [container_status(c) for c in inits]
    status["containerStatuses"] = [container_status(c) for c in apps]
    for key in ("nominatedNodeName", "resourceClaimStatuses", "ephemeralContainerStatuses"):
        if key in old:
            status[key] = old[key]
    return status


def pod_phase(
    policy: str, inits: Sequence[ContainerRecord], apps: Sequence[ContainerRecord], facts: PodFacts
) -> str:
    """Pending, Running, Succeeded or Failed, by the kubelet's rules."""
    failed_init = any(c.kind == "init" and c.finished and not c.succeeded for c in inits)
    if facts.failure or (failed_init and policy == "Never"):
        return "Failed"
    if not all(_initialized(c) for c in inits):
        return "Pending"
    ends = [c.state for c in apps if isinstance(c.state, Terminated) and (facts.deleting or c.finished)]
    if len(ends) == len(apps):
        return "Failed" if any(end.exit_code for end in ends) else "Succeeded"
    waits = any(isinstance(c.state, Waiting) and c.last is None for c in apps)
    return "Pending" if waits else "Running"


def _initialized(record: ContainerRecord) -> bool:
    return record.begun if record.kind == "sidecar" else record.succeeded


def qos_class(spec: Mapping[str, Any]) -> str:
    """BestEffort, Guaranteed or Burstable, from requests and limits."""
    resources = [c.get("resources") or {} for c in (*spec["containers"], *(spec.get("initContainers") or ()))]
    used = [(r.get("requests") or {}, r.get("limits") or {}) for r in resources]
    names = ("cpu", "memory")
    if not any(name in part for pair in used for part in pair for name in names):
        return "BestEffort"
    for requests, limits in used:
        if any(
            name not in limits or str(requests.get(name, limits[name])) != str(limits[name]) for name in names
        ):
            return "Burstable"
    return "Guaranteed"


def _conditions(
    pod: Manifest,
    inits: Sequence[ContainerRecord],
    apps: Sequence[ContainerRecord],
    facts: PodFacts,
    *,
    phase: str,
    now: float,
) -> list[dict[str, Any]]:
    over = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "")
    unready = [c.name for c in (*[i for i in inits if i.kind == "sidecar"], *apps) if not c.ready]
    ready: tuple[bool, str, str] = (not unready and not over, "", "")
    if over:
        ready = (False, over, "")
    elif unready:
        ready = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    incomplete = [c.name for c in inits if not _initialized(c)]
    initialized: tuple[bool, str, str] = (True, "PodCompleted" if phase == "Succeeded" else "", "")
    if incomplete:
        message = f"containers with incomplete status: [{' '.join(incomplete)}]"
        initialized = (False, "ContainersNotInitialized", message)
    wanted = {
        "PodReadyToStartContainers": (facts.sandbox and not over, "", ""),
        "Initialized": initialized,
        "Ready": _gated(pod, ready),
        "ContainersReady": ready,
    }
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    generation = pod["metadata"].get("generation", 1)
    conditions = [_condition(kind, value, old.get(kind), generation, now) for kind, value in wanted.items()]
    conditions += [c for kind, c in old.items() if kind not in wanted and kind != "PodScheduled"]
    scheduled = old.get("PodScheduled") or {}
    conditions.append(
        {**_condition("PodScheduled", (True, "", ""), old.get("PodScheduled"), generation, now), **scheduled}
    )
    return conditions


def _gated(pod: Manifest, ready: tuple[bool, str, str]) -> tuple[bool, str, str]:
    if not ready[0]:
        return ready
    values = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or ()}
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if values.get(kind) != "True":
            found = (
                f'the status of pod readiness gate "{kind}" is not "True", but {values.get(kind, "False")}'
            )
            if kind not in values:
                found = f'corresponding condition of pod readiness gate "{kind}" does not exist.'
            return (False, "ReadinessGatesNotReady", found)
    return ready


def _condition(
    kind: str, value: tuple[bool, str, str], old: Mapping[str, Any] | None, generation: int, now: float
) -> dict[str, Any]:
    truth, reason, message = value
    status = "True" if truth else "False"
    same = old is not None and old.get("status") == status
    since = old["lastTransitionTime"] if same and old and old.get("lastTransitionTime") else timestamp(now)
    condition = {
        "type": kind,
        "observedGeneration": generation,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": since,
    }
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def container_status(record: ContainerRecord) -> dict[str, Any]:
    """One entry of ``containerStatuses``."""
    spec = record.spec
    status: dict[str, Any] = {
        "name": record.name,
        "state": state_manifest(record.state),
        "lastState": {"terminated": state_manifest(record.last)["terminated"]} if record.last else {},
        "ready": record.ready or (record.kind == "init" and record.succeeded),
        "restartCount": record.restarts,
        "image": spec.get("image", ""),
        "imageID": f"process://{spec.get('image', '')}" if record.pulled else "",
    }
    if record.container_id:
        status["containerID"] = record.container_id
    status["started"] = record.started
    if record.container_id:
        resources = spec.get("resources") or {}
        if resources.get("requests"):
            status["allocatedResources"] = resources["requests"]
        status["resources"] = resources
    if spec.get("volumeMounts"):
        status["volumeMounts"] = [_mount(m) for m in spec["volumeMounts"]]
    return status


def _mount(mount: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        shown |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return shown


def state_manifest(state: State) -> dict[str, Any]:
    """``{"running": {...}}`` and so on."""
    if isinstance(state, Running):
        return {"running": {"startedAt": timestamp(state.started)}}
    if isinstance(state, Waiting):
        waiting = {"reason": state.reason}
        if state.message:
            waiting["message"] = state.message
        return {"waiting": waiting}
    ended: dict[str, Any] = {"exitCode": state.exit_code, "reason": state.reason}
    if state.message:
        ended["message"] = state.message
    ended |= {"startedAt": timestamp(state.started), "finishedAt": timestamp(state.finished)}
    if state.container_id:
        ended["containerID"] = state.container_id
    return {"terminated": ended}
