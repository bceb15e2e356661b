"""Actions: load, phases, manifests. Each returns JSON values for the journal."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from meshverdict.chaos.calm import wait_until_answered
from meshverdict.chaos.capacity import restore_capacity, set_capacity
from meshverdict.chaos.faults import inject_faults, release_tiers, stall_tier
from meshverdict.chaos.find_capacity import find_capacity, scaled
from meshverdict.chaos.manifests import Objects, named, read_manifests
from meshverdict.chaos.placement import place_pods
from meshverdict.chaos.rate_limit import apply_policy
from meshverdict.chaos.session import LOAD_MARGIN_S, current
from meshverdict.chaos.sidecars import label_injection, restart_workloads, set_pod_metadata
from meshverdict.chaos.sweep import sweep_rate_limit
from meshverdict.chaos.trigger import pause_redis, stop_processes
from meshverdict.chaos.zone_failure import fail_zone, restore_zone
from meshverdict.chaos.zones import run_in_pods, set_affinity, set_environment
from meshverdict.model.errors import LabError, UsageError

__all__ = [
    "apply_manifests",
    "apply_policy",
    "delete_manifests",
    "fail_zone",
    "find_capacity",
    "hold",
    "inject_faults",
    "label_injection",
    "mark_phase",
    "pause_redis",
    "place_pods",
    "release_tiers",
    "restart_workloads",
    "restore_capacity",
    "restore_zone",
    "run_in_pods",
    "set_affinity",
    "set_capacity",
    "set_environment",
    "set_pod_metadata",
    "stall_tier",
    "start_load",
    "stop_load",
    "stop_processes",
    "sweep_rate_limit",
    "wait_for_pods_ready",
    "wait_until_answered",
]


def start_load(  # noqa: PLR0917 - an experiment names its arguments
    rate: float | str | None = None,
    rates: dict[str, float] | None = None,
    duration_s: float | None = None,
    arrivals: str = "poisson",
    users: int = 1,
    seed: int | None = None,
    deadline_ms: float | None = None,
    workers: int = 1,
    tags: list[str] | None = None,
    exclude_tags: list[str] | None = None,
    locustfile: str | None = None,
    zone: str | None = None,
    name: str = "load",
    of_capacity: float | str | None = None,
) -> dict[str, Any]:
    """Start a load as pods of the cluster; returns when it runs. The record is the run folder's load.jsonl.

    Args:
        rate: Arrivals a second, or a shape; none with arrivals "closed".
        rates: Arrivals a second of the tasks with a tag, beside *rate* for all others.
        duration_s: Seconds; by default as long as the rest of the experiment is planned to take.
        arrivals: "poisson", "constant", or "closed" for *users* that wait for answers.
        users: Users of a closed loop.
        seed: The same seed makes the same arrivals; by default the campaign's.
        deadline_ms: A good answer later than this is no goodput.
        workers: Pods that share the load.
        tags: Only tasks with one of these tags.
        exclude_tags: No tasks with one of these tags.
        locustfile: Path, relative to the experiment's file; by default the lab's own.
        zone: Zone in which the pods run.
        name: Name of the load.
        of_capacity: Arrivals as a share of what `find_capacity` found, or a shape of shares, in place of *rate*.
    """
    fields = {k: v for k, v in locals().items() if v is not None and k != "of_capacity"}
    if of_capacity is not None:
        fields["rate"] = scaled(of_capacity, current().found_capacity())
    handle = current().begin_load(**fields)
    return handle.spec.as_json()


def stop_load() -> dict[str, Any]:
    """End the load, early if need be, and bring the rest of its record home.

    The last rollback of an experiment, so that the record ends within the journal's time.
    """
    summary = current().end_load(patience_s=LOAD_MARGIN_S)
    if summary is None:
        raise UsageError("there is no load to stop; start one with the control's `load` or with start_load")
    return asdict(summary)


def mark_phase(name: str) -> str:
    """Begin a phase; the one before ends. Probes ask about phases, and the report shows them.

    Args:
        name: Its name.
    """
    current().timeline.enter(name)
    return name


def hold(seconds: float, phase: str | None = None) -> float:
    """Let seconds pass under load; fails if the load ends meanwhile.

    Args:
        seconds: How long.
        phase: Begin a phase of this name first.
    """
    session = current()
    if phase is not None:
        session.timeline.enter(phase)
    session.hold(float(seconds))
    return float(seconds)


def apply_manifests(paths: list[str] | str, ns: str | None = None) -> list[str]:
    """Create objects from manifests, or bring existing ones to that form.

    Args:
        paths: Files or folders.
        ns: Namespace of objects that name none.
    """
    session = current()
    objects = Objects(session.access, session.scratch)
    done = []
    manifests = _in_lab(paths, ns)
    _remember(manifests, ns)
    for manifest in manifests:
        objects.apply(manifest, ns)
        done.append(named(manifest, ns))
    return done


def delete_manifests(paths: list[str] | str, ns: str | None = None) -> list[str]:
    """Delete the objects of manifests, last one first, and wait until they are gone.

    Args:
        paths: Files or folders.
        ns: Namespace of objects that name none.
    """
    session = current()
    objects = Objects(session.access, session.scratch)
    manifests = _in_lab(paths, ns)
    _remember(manifests, ns)
    return [named(m, ns) for m in reversed(manifests) if objects.delete(m, ns)]


def _remember(manifests: list[dict[str, Any]], ns: str | None) -> None:
    """Write down what is about to change, for whoever finds the cluster after this run was killed."""
    ledger = current().ledger
    if ledger is not None:
        ledger.remember((manifest, ns) for manifest in manifests)


def _in_lab(paths: list[str] | str, ns: str | None) -> list[dict[str, Any]]:
    listed = [paths] if isinstance(paths, str) else paths
    manifests = [m for path in listed for m in read_manifests(Path(path))]
    for manifest in manifests:
        where = manifest["metadata"].get("namespace") or ns
        if where not in current().namespaces:
            raise UsageError(
                f"{named(manifest, ns)}: namespace {where!r} is not labelled meshverdict.io/lab=true,"
                " so it is not touched"
            )
    return manifests


def wait_for_pods_ready(ns: str, label_selector: str | None = None, timeout: float = 60.0) -> int:
    """Wait until all pods of a namespace (that a label selector matches) are Ready; returns how many.

    Args:
        ns: Namespace.
        label_selector: Such as "app=redis".
        timeout: Seconds.
    """
    access = current().access
    options = {"label_selector": label_selector} if label_selector else {}
    deadline = time.monotonic() + timeout
    while True:
        pods = access.json(access.core.list_namespaced_pod, ns, **options)["items"]
        waiting = [p["metadata"]["name"] for p in pods if not _ready(p)]
        if pods and not waiting:
            return len(pods)
        if time.monotonic() > deadline:
            names = ", ".join(waiting) or "there are no such pods"
            raise LabError(f"namespace {ns}: after {timeout:g} s not Ready: {names}")
        time.sleep(0.2)


def _ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
