"""CronJob: a Job at each time of the schedule, and the finished ones let go beyond the history's limits.

Everything follows from the Jobs that are there: the last time is the latest one that a Job was made for, so a
plan that runs twice makes no second Job.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from meshverdict.cluster.cron import Schedule, ScheduleError, parse_schedule, time_zone
from meshverdict.cluster.store import Manifest

from . import job
from .changes import Change, Create, Delete, Emit, Requeue, UpdateStatus, View
from .meta import (
    annotations_of,
    deleting,
    is_true,
    name_of,
    namespace_of,
    namespace_terminating,
    owner_reference,
    seconds,
    stamp,
    uid_of,
    with_status,
)

RESOURCE = "cronjobs.batch"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_TOO_MANY = 100
_LATE = 0.1  # seconds after a time at which it is certainly over
_MISSED = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
_RUNNING = "Not starting job because prior execution is running and concurrency policy is Forbid"


@dataclass(frozen=True, slots=True)
class _Due:
    """The latest time that has passed without a Job, the next one, and whether far too many passed."""

    time: float | None
    next: float | None
    too_many: bool


def plan(view: View, cron: Manifest, now: float) -> list[Change]:
    """Tell what became of the Jobs, tidy up, and start the next one when its time has come."""
    jobs = sorted(view.owned(job.RESOURCE, uid_of(cron)), key=_started)
    running = [j for j in jobs if not _finished(j)]
    status, changes = _status(cron, jobs, running)
    if status != (cron.get("status") or {}):
        changes.append(UpdateStatus(RESOURCE, with_status(cron, status)))
    changes += _tidy(cron, jobs)
    if deleting(cron) or namespace_terminating(view, namespace_of(cron)):
        return changes
    zone: tzinfo = UTC
    given = cron["spec"].get("timeZone")
    try:
        zone = time_zone(given) if given else UTC
    except ScheduleError as error:
        return [*changes, Emit(cron, "Warning", "UnknownTimeZone", f'invalid timeZone: "{given}": {error}')]
    if cron["spec"].get("suspend"):
        return changes
    try:
        schedule = parse_schedule(cron["spec"]["schedule"])
    except ScheduleError as error:
        text = f'unparseable schedule: "{cron["spec"]["schedule"]}": {error}'
        return [*changes, Emit(cron, "Warning", "UnParseableCronJobSchedule", text)]
    due = _due(cron, status, schedule, zone, now)
    if due.time is not None:
        made = _job(cron, due.time, zone)
        if view.get(job.RESOURCE, namespace_of(cron), name_of(made)) is None:
            changes += _start(cron, made, running, due, now)
    if due.next is not None:
        changes.append(Requeue(due.next - now + _LATE))
    return changes


def _status(cron: Manifest, jobs: list[Manifest], running: list[Manifest]) -> tuple[Manifest, list[Change]]:
    """The status that the Jobs mean, and what to tell about those that ended or went."""
    before = dict(cron.get("status") or {})
    # Whoever may write a status may write anything there.
    known = {reference.get("uid"): reference for reference in before.get("active") or ()}
    mine = [j for j in running if SCHEDULED in annotations_of(j)]
    by_uid = {uid_of(j): j for j in jobs}
    told: list[Change] = []
    for reference in before.pop("active", None) or ():
        found = by_uid.get(reference.get("uid", ""))
        if found is None:
            name = reference.get("name", "")
            told.append(Emit(cron, "Normal", "MissingJob", f"Active job went missing: {name}"))
        elif _finished(found):
            how = "Complete" if is_true(found, "Complete") else "Failed"
            text = f"Saw completed job: {name_of(found)}, condition: {how}"
            told.append(Emit(cron, "Normal", "SawCompletedJob", text))
    for other in running:
        if SCHEDULED not in annotations_of(other):
            text = f"Saw a job that the controller did not create or forgot: {name_of(other)}"
            told.append(Emit(cron, "Warning", "UnexpectedJob", text))
    after = {**({"active": [known.get(uid_of(j)) or _reference(j) for j in mine]} if mine else {}), **before}
    times = [_scheduled(j) for j in jobs if SCHEDULED in annotations_of(j)]
    if times and max(times) > seconds(before.get("lastScheduleTime")):
        after["lastScheduleTime"] = stamp(max(times))
    ends = [seconds(j["status"].get("completionTime")) for j in jobs if is_true(j, "Complete")]
    if ends and max(ends) > seconds(before.get("lastSuccessfulTime")):
        after["lastSuccessfulTime"] = stamp(max(ends))
    return after, told


def _scheduled(found: Manifest) -> float:
    """The time that a Job was made for; 0 when its annotation is none: anybody may write there."""
    try:
        return seconds(annotations_of(found).get(SCHEDULED))
    except ValueError:
        return 0.0


def _due(cron: Manifest, status: Manifest, schedule: Schedule, zone: tzinfo, now: float) -> _Due:
    earliest = min(now, seconds(status.get("lastScheduleTime") or cron["metadata"].get("creationTimestamp")))
    deadline = cron["spec"].get("startingDeadlineSeconds")
    if deadline is not None:
        earliest = max(earliest, now - deadline)
    following = schedule.after(now, zone)
    first = schedule.after(earliest, zone)
    if first is None or first > now:
        return _Due(None, following, too_many=False)
    second = schedule.after(first, zone)
    if second is None or second > now:
        return _Due(first, following, too_many=False)
    missed = int((now - first) // (second - first)) + 1
    latest = _last(schedule, first, zone, now)
    return _Due(latest, following, too_many=missed > _TOO_MANY and deadline is None)


def _last(schedule: Schedule, first: float, zone: tzinfo, now: float) -> float:
    """The last time that is not after *now*; *first* is one of them. By halves: there may be millions in between."""
    if schedule.every:
        return first + (now - first) // schedule.every * schedule.every
    before, after, found = first, now, first
    while after - before > 1:
        middle = (before + after) / 2
        time = schedule.after(middle, zone)
        if time is not None and time <= now:
            before = found = time
        else:
            after = middle
    return found


def _start(cron: Manifest, made: Manifest, running: list[Manifest], due: _Due, now: float) -> list[Change]:
    """The new Job, unless it comes too late or the policy holds it back."""
    changes: list[Change] = []
    time = due.time or now
    if due.too_many:
        changes.append(Emit(cron, "Warning", "TooManyMissedTimes", _MISSED))
    deadline = cron["spec"].get("startingDeadlineSeconds")
    if deadline is not None and time + deadline < now:
        when = datetime.fromtimestamp(time, UTC).strftime("%a, %d %b %Y %H:%M:%S %z")
        text = f"Missed scheduled time to start a job: {when}"
        return [*changes, Emit(cron, "Warning", "MissSchedule", text)]
    active = [j for j in running if SCHEDULED in annotations_of(j)]
    policy = cron["spec"].get("concurrencyPolicy")
    if policy == "Forbid" and active:
        return [*changes, Emit(cron, "Normal", "JobAlreadyActive", _RUNNING)]
    if policy == "Replace":
        changes += [change for other in active for change in _delete(cron, other)]
    event = Emit(cron, "Normal", "SuccessfulCreate", "Created job {name}")
    return [*changes, Create(job.RESOURCE, made, event)]


def _job(cron: Manifest, time: float, zone: tzinfo) -> Manifest:
    template = copy.deepcopy(cron["spec"]["jobTemplate"])
    meta = template.get("metadata") or {}
    when = datetime.fromtimestamp(time, zone).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{name_of(cron)}-{int(time) // 60}",
            "namespace": namespace_of(cron),
            "labels": meta.get("labels") or {},
            "annotations": {**(meta.get("annotations") or {}), SCHEDULED: when},
            "ownerReferences": [owner_reference(cron)],
        },
        "spec": template["spec"],
    }


def _tidy(cron: Manifest, jobs: list[Manifest]) -> list[Change]:
    """Delete the oldest finished Jobs beyond the two limits."""
    changes: list[Change] = []
    for limit, kind in (("successfulJobsHistoryLimit", "Complete"), ("failedJobsHistoryLimit", "Failed")):
        most = cron["spec"].get(limit)
        ended = [j for j in jobs if is_true(j, kind) and not deleting(j)]
        if most is not None:
            extra = ended[: max(len(ended) - int(most), 0)]
            changes += [change for old in extra for change in _delete(cron, old)]
    return changes


def _delete(cron: Manifest, old: Manifest) -> list[Change]:
    gone = Delete(job.RESOURCE, namespace_of(old), name_of(old), uid_of(old))
    return [gone, Emit(cron, "Normal", "SuccessfulDelete", f"Deleted job {name_of(old)}")]


def _finished(found: Manifest) -> bool:
    return is_true(found, "Complete") or is_true(found, "Failed")


def _started(found: Manifest) -> tuple[float, str]:
    begun = (found.get("status") or {}).get("startTime") or found["metadata"].get("creationTimestamp")
    return seconds(begun), name_of(found)


def _reference(found: Manifest) -> Manifest:
    return {
        "kind": "Job",
        "namespace": namespace_of(found),
        "name": name_of(found),
        "uid": uid_of(found),
        "apiVersion": "batch/v1",
        "resourceVersion": found["metadata"].get("resourceVersion", ""),
    }
