"""Job: pods until enough of them succeed, too many fail, or the time is over.

A pod keeps a finalizer until its end is counted in the status, so that no end is lost and none is
counted twice.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from meshverdict.cluster.store import Manifest

from . import job_pods
from . import pods as pod_facts
from .changes import BURST, Change, Delete, Emit, Key, Requeue, UpdateStatus, View
from .meta import (
    claim,
    condition,
    controller_of,
    counters,
    deleting,
    is_true,
    name_of,
    namespace_of,
    namespace_terminating,
    seconds,
    stamp,
    uid_of,
    with_status,
)

RESOURCE = "jobs.batch"
_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
_TOO_MANY = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_TOO_LONG = ("DeadlineExceeded", "Job was active longer than specified deadline")


@dataclass(frozen=True, slots=True)
class _Count:
    """What the pods amount to. ``indexes`` are the completed ones."""

    active: list[Manifest]
    ending: list[Manifest]
    newly: list[Manifest]
    succeeded: int
    failed: int
    indexes: frozenset[int]


def plan(view: View, job: Manifest, now: float) -> list[Change]:
    """Count ends, decide, then make or stop pods."""
    pods, changes = claim(view, "pods", job, job_pods.selector(job))
    count = _count(job, pods)
    before = job.get("status") or {}
    changes += [job_pods.counted(p) for p in count.newly]
    if is_true(before, "Complete") or is_true(before, "Failed"):
        return changes + [_delete(p) for p in count.active] + _expire(job, now)
    conditions, told = _decide(job, count, now)
    over = any(c["type"] in {"SuccessCriteriaMet", "FailureTarget"} for c in conditions)
    suspended = bool(job["spec"].get("suspend")) and not over
    if deleting(job) or namespace_terminating(view, namespace_of(job)):
        work: list[Change] = []
    elif over or suspended:
        work = [_delete(p) for p in count.active]
    else:
        work = _work(job, pods, count, now)
    status = _status(job, count, conditions, now)
    if over and not count.active and not count.ending:
        status, closing = _close(job, status, now)
        told += closing
    if status != before:
        changes.insert(0, UpdateStatus(RESOURCE, with_status(job, status)))
    return changes + told + work


def gone(view: View, key: Key, now: float) -> list[Change]:
    """Nobody counts the pods of a Job that is gone."""
    del now
    return [
        job_pods.counted(pod)
        for pod in view.list("pods", key[0])
        if job_pods.uncounted(pod)
        and (ref := controller_of(pod)) is not None
        and ref["name"] == key[1]
        and view.find(ref["uid"]) is None
    ]


def _count(job: Manifest, pods: list[Manifest]) -> _Count:
    before = job.get("status") or {}
    waiting = [p for p in pods if job_pods.uncounted(p)]
    good = [p for p in waiting if pod_facts.phase(p) == "Succeeded"]
    bad = [p for p in waiting if job_pods.failed(p)]
    succeeded = int(before.get("succeeded", 0)) + len(good)
    indexes = job_pods.parse_indexes(before.get("completedIndexes", ""))
    if job_pods.indexed(job):
        indexes |= {job_pods.index_of(p) for p in good}
        succeeded = len(indexes)
    active = [p for p in pods if pod_facts.active(p)]
    ending = [p for p in pods if deleting(p) and not pod_facts.finished(p)]
    failed = int(before.get("failed", 0)) + len(bad)
    return _Count(active, ending, good + bad, succeeded, failed, frozenset(indexes))


def _decide(job: Manifest, count: _Count, now: float) -> tuple[list[Manifest], list[Change]]:
    """The conditions, and what to tell about them."""
    spec, before = job["spec"], job.get("status") or {}
    conditions = list(before.get("conditions") or ())
    if condition(before, "SuccessCriteriaMet") or condition(before, "FailureTarget"):
        return conditions, []
    if count.failed > spec.get("backoffLimit", 6) or _restarted_too_often(job, count.active):
        return [*conditions, _entry("FailureTarget", _TOO_MANY, now)], []
    deadline = spec.get("activeDeadlineSeconds")
    start = seconds(before.get("startTime"))
    if deadline is not None and start and not spec.get("suspend") and now - start >= deadline:
        return [*conditions, _entry("FailureTarget", _TOO_LONG, now)], []
    if _complete(job, count):
        return [*conditions, _entry("SuccessCriteriaMet", _REACHED, now)], []
    return _pause(job, conditions, now)


def _complete(job: Manifest, count: _Count) -> bool:
    completions = job["spec"].get("completions")
    if completions is None:  # a work queue: one success, and nobody at work any more
        return count.succeeded > 0 and not count.active
    return count.succeeded >= int(completions)


def _restarted_too_often(job: Manifest, active: list[Manifest]) -> bool:
    if job["spec"]["template"]["spec"].get("restartPolicy") != "OnFailure":
        return False
    total = sum(
        int(s.get("restartCount", 0))
        for p in active
        for s in (p.get("status") or {}).get("containerStatuses") or ()
    )
    return total > 0 and total >= job["spec"].get("backoffLimit", 6)


def _pause(job: Manifest, conditions: list[Manifest], now: float) -> tuple[list[Manifest], list[Change]]:
    old = next((c for c in conditions if c["type"] == "Suspended"), None)
    suspend = bool(job["spec"].get("suspend"))
    if suspend == (old is not None and old["status"] == "True"):
        return conditions, []
    text = ("JobSuspended", "Job suspended") if suspend else ("JobResumed", "Job resumed")
    entry = _entry("Suspended", text, now) | {"status": "True" if suspend else "False"}
    others = [c for c in conditions if c["type"] != "Suspended"]
    told = Emit(job, "Normal", "Suspended" if suspend else "Resumed", text[1])
    return [*others, entry], [told]


def _work(job: Manifest, pods: list[Manifest], count: _Count, now: float) -> list[Change]:
    """Pods to add, after the back-off, or to take away when there are too many; the deadline's timer."""
    spec = job["spec"]
    parallelism = int(spec.get("parallelism", 1))
    completions = spec.get("completions")
    if completions is not None:
        wanted = min(parallelism, int(completions) - count.succeeded)
    else:
        wanted = len(count.active) if count.succeeded else parallelism
    missing = wanted - len(count.active) - len(count.ending) * _waits_for_end(job)
    changes: list[Change] = []
    if missing < 0 and len(count.active) > wanted:
        changes += [_delete(p) for p in count.active[wanted - len(count.active) :]]
    elif missing > 0:
        wait = job_pods.backoff(pods, now)
        if wait:
            changes.append(Requeue(wait))
        else:
            changes += _create(job, count, missing)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None:
        start = seconds((job.get("status") or {}).get("startTime")) or now
        changes.append(Requeue(max(start + deadline - now, 0.01)))
    return changes


def _waits_for_end(job: Manifest) -> bool:
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def _create(job: Manifest, count: _Count, missing: int) -> list[Change]:
    if not job_pods.indexed(job):
        return [job_pods.create(job, None)] * min(missing, BURST)
    taken = count.indexes | {job_pods.index_of(p) for p in count.active}
    free = (i for i in range(int(job["spec"]["completions"])) if i not in taken)
    return [job_pods.create(job, i) for i in itertools.islice(free, min(missing, BURST))]


def _status(job: Manifest, count: _Count, conditions: list[Manifest], now: float) -> Manifest:
    before = job.get("status") or {}
    start = before.get("startTime") or stamp(now)
    indexes = job_pods.format_indexes(count.indexes)
    return {
        **({"conditions": conditions} if conditions else {}),
        **({} if job["spec"].get("suspend") else {"startTime": start}),
        **counters(active=len(count.active), succeeded=count.succeeded, failed=count.failed),
        **({"completedIndexes": indexes} if indexes else {}),
        "terminating": len(count.ending),
        "uncountedTerminatedPods": {},
        "ready": sum(map(pod_facts.ready, count.active)),
    }


def _close(job: Manifest, status: Manifest, now: float) -> tuple[Manifest, list[Change]]:
    """The last condition, once no pod runs any more."""
    why = next(c for c in status["conditions"] if c["type"] in {"SuccessCriteriaMet", "FailureTarget"})
    text = (why["reason"], why["message"])
    if why["type"] == "FailureTarget":
        conditions = [*status["conditions"], _entry("Failed", text, now)]
        return {**status, "conditions": conditions}, [Emit(job, "Warning", *text)]
    conditions = [*status["conditions"], _entry("Complete", text, now)]
    closed = {**status, "conditions": conditions, "completionTime": stamp(now)}
    return closed, [Emit(job, "Normal", "Completed", "Job completed")]


def _expire(job: Manifest, now: float) -> list[Change]:
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    if ttl is None or deleting(job):
        return []
    status = job["status"]
    ended = condition(status, "Complete") or condition(status, "Failed") or {}
    left = seconds(ended.get("lastTransitionTime")) + ttl - now
    return [Requeue(left)] if left > 0 else [_delete(job, RESOURCE)]


def _entry(kind: str, text: tuple[str, str], now: float) -> Manifest:
    time = stamp(now)
    return {
        "type": kind,
        "status": "True",
        "lastProbeTime": time,
        "lastTransitionTime": time,
        "reason": text[0],
        "message": text[1],
    }


def _delete(obj: Manifest, resource: str = "pods") -> Delete:
    return Delete(resource, namespace_of(obj), name_of(obj), uid_of(obj))
