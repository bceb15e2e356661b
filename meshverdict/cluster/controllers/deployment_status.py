"""A Deployment's status: counters, and the conditions that ``kubectl rollout status`` reads."""

from __future__ import annotations

from collections.abc import Callable

from meshverdict.cluster.store import Manifest

from .changes import Change, Requeue, UpdateStatus
from .meta import condition, counters, name_of, replicas_of, seconds, stamp, with_status
from .rollout import bounds

_RESOURCE = "deployments.apps"
_NEVER = 2**31 - 1  # a progress deadline of this much is none


def plan(
    deployment: Manifest,
    sets: list[Manifest],
    new: Manifest | None,
    now: float,
    *,
    stored: Manifest | None,
    track: bool = True,
) -> list[Change]:
    """The status, and a Requeue for the progress deadline.

    Args:
        deployment: With the conditions that this plan has noted already.
        sets: All its ReplicaSets.
        new: The one with the current template.
        now: Unix seconds.
        stored: The status as it is stored; nothing is written when it would stay the same.
        track: Off: no verdict on progress.
    """
    before = deployment.get("status") or {}
    status = _counted(deployment, sets, new)
    conditions = list(before.get("conditions") or ())
    minimum = replicas_of(deployment) - bounds(deployment)[1]
    if status.get("availableReplicas", 0) >= minimum:
        available = _entry("Available", "True", "MinimumReplicasAvailable", now)
        available["message"] = "Deployment has minimum availability."
    else:
        available = _entry("Available", "False", "MinimumReplicasUnavailable", now)
        available["message"] = "Deployment does not have minimum availability."
    conditions = _put(conditions, available)
    if track:
        conditions = _progress(deployment, status, conditions, new, now)
    status["conditions"] = conditions
    changes: list[Change] = []
    if status != stored:
        changes.append(UpdateStatus(_RESOURCE, with_status(deployment, status)))
    return changes + (_wake(deployment, status, now) if track else [])


def complete(deployment: Manifest, status: Manifest) -> bool:
    """All replicas are of the new template, available, and nothing else is left."""
    wanted = replicas_of(deployment)
    return all(
        status.get(k, 0) == wanted for k in ("updatedReplicas", "replicas", "availableReplicas")
    ) and status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 1)


def created(deployment: Manifest, name: str, now: float) -> list[Change]:
    """The first word on progress, at once with the creation of ReplicaSet *name*."""
    if not _has_deadline(deployment):
        return []
    noted = _note(deployment, _set("NewReplicaSetCreated", f'Created new replica set "{name}"', now))
    return [UpdateStatus(_RESOURCE, noted)]


def found(deployment: Manifest, name: str, now: float) -> Manifest:
    """*deployment* with a first word on progress, if there was none, for a ReplicaSet found again."""
    if not _has_deadline(deployment) or condition(deployment.get("status") or {}, "Progressing"):
        return deployment
    return _note(deployment, _set("FoundNewReplicaSet", f'Found new replica set "{name}"', now))


def note_pause(deployment: Manifest, now: float) -> Manifest:
    """*deployment* with its Progressing condition telling of a pause or its end."""
    progress = condition(deployment.get("status") or {}, "Progressing")
    if not _has_deadline(deployment) or (progress and progress["reason"] == "ProgressDeadlineExceeded"):
        return deployment
    known = progress is not None and progress["reason"] == "DeploymentPaused"
    paused = bool(deployment["spec"].get("paused"))
    if paused == known:
        return deployment
    entry = _entry("Progressing", "Unknown", "DeploymentPaused" if paused else "DeploymentResumed", now)
    entry["message"] = "Deployment is paused" if paused else "Deployment is resumed"
    return _note(deployment, lambda conditions: _put(conditions, entry))


def _note(deployment: Manifest, change: Callable[[list[Manifest]], list[Manifest]]) -> Manifest:
    status = deployment.get("status") or {}
    noted = {**status, "conditions": change(list(status.get("conditions") or ()))}
    return {**deployment, "status": noted}


def _counted(deployment: Manifest, sets: list[Manifest], new: Manifest | None) -> Manifest:
    def total(field: str, of: list[Manifest]) -> int:
        return sum(int((rs.get("status") or {}).get(field, 0)) for rs in of)

    available = total("availableReplicas", sets)
    before = deployment.get("status") or {}
    terminating = [rs for rs in sets if "terminatingReplicas" in (rs.get("status") or {})]
    return {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        **counters(
            replicas=total("replicas", sets),
            updatedReplicas=total("replicas", [new] if new else []),
            readyReplicas=total("readyReplicas", sets),
            availableReplicas=available,
            unavailableReplicas=max(sum(map(replicas_of, sets)) - available, 0),
        ),
        **({"terminatingReplicas": total("terminatingReplicas", sets)} if terminating == sets else {}),
        **counters(collisionCount=int(before.get("collisionCount", 0))),
    }


def _progress(
    deployment: Manifest, status: Manifest, conditions: list[Manifest], new: Manifest | None, now: float
) -> list[Manifest]:
    if not _has_deadline(deployment):
        return [c for c in conditions if c["type"] != "Progressing"]
    before = deployment.get("status") or {}
    current = condition(before, "Progressing")
    settled = status.get("replicas", 0) == status.get("updatedReplicas", 0)
    if settled and current is not None and current["reason"] == "NewReplicaSetAvailable":
        return conditions
    subject = f'ReplicaSet "{name_of(new)}"' if new else f'Deployment "{name_of(deployment)}"'
    if complete(deployment, status):
        return _set("NewReplicaSetAvailable", f"{subject} has successfully progressed.", now)(conditions)
    if _moved(before, status):
        entry = _entry("Progressing", "True", "ReplicaSetUpdated", now)
        entry["message"] = f"{subject} is progressing."
        if current is not None and current["status"] == "True":
            entry["lastTransitionTime"] = current["lastTransitionTime"]
        return [*(c for c in conditions if c["type"] != "Progressing"), entry]
    if _timed_out(deployment, current, now):
        entry = _entry("Progressing", "False", "ProgressDeadlineExceeded", now)
        entry["message"] = f"{subject} has timed out progressing."
        return _put(conditions, entry)
    return conditions


def _moved(before: Manifest, status: Manifest) -> bool:
    def outdated(s: Manifest) -> int:
        return int(s.get("replicas", 0)) - int(s.get("updatedReplicas", 0))

    rising = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return outdated(status) < outdated(before) or any(status.get(k, 0) > before.get(k, 0) for k in rising)


def _timed_out(deployment: Manifest, current: Manifest | None, now: float) -> bool:
    if current is None or current["reason"] in {"NewReplicaSetAvailable", "DeploymentPaused"}:
        return False
    since = seconds(current.get("lastUpdateTime"))
    return current["reason"] == "ProgressDeadlineExceeded" or now >= since + _deadline(deployment)


def _wake(deployment: Manifest, status: Manifest, now: float) -> list[Change]:
    current = condition(status, "Progressing")
    over = {"NewReplicaSetAvailable", "ProgressDeadlineExceeded"}
    if current is None or current["reason"] in over or complete(deployment, status):
        return []
    due = seconds(current.get("lastUpdateTime")) + _deadline(deployment)
    return [Requeue(max(due - now, 1.0))]


def _deadline(deployment: Manifest) -> int:
    return int(deployment["spec"].get("progressDeadlineSeconds", _NEVER))


def _has_deadline(deployment: Manifest) -> bool:
    return _deadline(deployment) != _NEVER


def _entry(kind: str, value: str, reason: str, now: float) -> Manifest:
    time = stamp(now)
    return {
        "type": kind,
        "status": value,
        "lastUpdateTime": time,
        "lastTransitionTime": time,
        "reason": reason,
    }


def _set(reason: str, message: str, now: float) -> Callable[[list[Manifest]], list[Manifest]]:
    entry = _entry("Progressing", "True", reason, now) | {"message": message}
    return lambda conditions: _put(conditions, entry)


def _put(conditions: list[Manifest], entry: Manifest) -> list[Manifest]:
    """Replace by type; the same status and reason leave all as it was (times too)."""
    current = next((c for c in conditions if c["type"] == entry["type"]), None)
    if current is not None and current["status"] == entry["status"]:
        if current["reason"] == entry["reason"]:
            return conditions
        entry = {**entry, "lastTransitionTime": current["lastTransitionTime"]}
    return [*(c for c in conditions if c["type"] != entry["type"]), entry]
