"""The pods of a Job: what each counts for, which are missing, and what a new one looks like."""

from __future__ import annotations

import re
from collections.abc import Iterable

from meshverdict.cluster.store import Manifest

from . import pods as pod_facts
from .changes import Create, Emit, Update
from .meta import (
    annotations_of,
    condition,
    deleting,
    labels_of,
    name_of,
    owner_reference,
    seconds,
    uid_of,
    with_meta,
)

TRACKING = "batch.kubernetes.io/job-tracking"  # the finalizer of a pod that is not counted yet
INDEX = "batch.kubernetes.io/job-completion-index"
FIRST_BACKOFF, LONGEST_BACKOFF = 10.0, 600.0
_INDEXES = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_MOST_INDEXES = 1_000_000


def selector(job: Manifest) -> Manifest:
    """spec.selector, or the one that admission would have given."""
    given: Manifest | None = job["spec"].get("selector")
    return given or {"matchLabels": {"batch.kubernetes.io/controller-uid": uid_of(job)}}


def indexed(job: Manifest) -> bool:
    """Whether the pods have completion indexes."""
    return bool(job["spec"].get("completionMode") == "Indexed")


def uncounted(pod: Manifest) -> bool:
    """Whether its end has not been counted yet."""
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def counted(pod: Manifest) -> Update:
    """Let go of a pod whose end is counted."""
    left = [f for f in pod["metadata"].get("finalizers") or () if f != TRACKING]
    return Update("pods", with_meta(pod, finalizers=left or None))


def failed(pod: Manifest) -> bool:
    """Failed, or on its way out without having succeeded."""
    return pod_facts.phase(pod) == "Failed" or (deleting(pod) and pod_facts.phase(pod) != "Succeeded")


def index_of(pod: Manifest) -> int:
    """Its completion index, -1 for none."""
    value = annotations_of(pod).get(INDEX, "")
    return int(value) if re.fullmatch("[0-9]{1,9}", value) else -1


def parse_indexes(text: str) -> set[int]:
    """``0-2,4`` as numbers; what is no such text names none: whoever may write a status may write anything there."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        match = _INDEXES.fullmatch(part)
        last = int(match[2] or match[1]) if match else _MOST_INDEXES
        if match is None or last >= _MOST_INDEXES:
            return set()
        found.update(range(int(match[1]), last + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """Numbers as ``0-2,4``; two neighbours are written ``0,1``."""
    runs: list[list[int]] = []
    for i in sorted(indexes):
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ",".join(f"{r[0]}-{r[-1]}" if len(r) > 2 else ",".join(map(str, r)) for r in runs)


def backoff(pods: list[Manifest], now: float) -> float:
    """Seconds to wait before a new pod: 10 after a failure, twice as long after each further one in a row."""
    last_success = max((_ended(p) for p in pods if pod_facts.phase(p) == "Succeeded"), default=0.0)
    ends = [_ended(p) for p in pods if pod_facts.phase(p) == "Failed"]
    streak = [end for end in ends if end >= last_success]
    if not streak:
        return 0.0
    doublings = min(len(streak) - 1, 10)
    wait = min(FIRST_BACKOFF * float(2**doublings), LONGEST_BACKOFF)
    return max(max(streak) + wait - now, 0.0)


def _ended(pod: Manifest) -> float:
    status = pod.get("status") or {}
    states = [(s.get("state") or {}).get("terminated") or {} for s in status.get("containerStatuses") or ()]
    ends = [seconds(s.get("finishedAt")) for s in states if s.get("finishedAt")]
    ready = condition(status, "Ready")
    fallback = ready.get("lastTransitionTime") if ready else pod["metadata"].get("creationTimestamp")
    return max(ends) if ends else seconds(fallback)


def create(job: Manifest, index: int | None) -> Create:
    """A pod of the Job; *index* is its completion index."""
    names = {"controller-uid": uid_of(job), "job-name": name_of(job)}
    labels = names | {f"batch.kubernetes.io/{k}": v for k, v in names.items()}
    pod = pod_facts.from_template(job, job["spec"]["template"], labels=labels)
    meta, spec = pod["metadata"], pod["spec"]
    meta["finalizers"] = [*(meta.get("finalizers") or ()), TRACKING]
    meta["ownerReferences"] = [owner_reference(job)]
    if index is not None:
        meta["annotations"] = {**annotations_of(pod), INDEX: str(index)}
        meta["labels"] = {**labels_of(pod), INDEX: str(index)}
        meta["generateName"] = f"{name_of(job)}-{index}-"
        spec.setdefault("hostname", f"{name_of(job)}-{index}")
        variable = {
            "name": "JOB_COMPLETION_INDEX",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}},
        }
        for container in [*spec["containers"], *(spec.get("initContainers") or ())]:
            if all(e["name"] != variable["name"] for e in container.get("env") or ()):
                container["env"] = [*(container.get("env") or ()), variable]
    return Create("pods", pod, Emit(job, "Normal", "SuccessfulCreate", "Created pod: {name}"))
