"""Put a Deployment's pods into two zones in any proportion, as a topology spread constraint and a preference say it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from kubernetes.client import AppsV1Api

from meshverdict.chaos.rollout import await_rollout
from meshverdict.chaos.session import current
from meshverdict.chaos.zone_rtt import ZONE
from meshverdict.model.errors import LabError, UsageError

# Strategic merge would keep constraints that are no longer wanted: lists are replaced.
_MERGE: Final = "application/merge-patch+json"


def place_pods(ns: str, name: str, zone: str, count: int, timeout: float = 60.0) -> dict[str, int]:
    """Have so many of a Deployment's pods in a zone and the rest in the other one; answers the pods of each zone.

    It stays when the run ends: every run of an experiment that depends on it places its own, which takes no time where
    they are right already.

    Args:
        ns: Namespace.
        name: Of the Deployment.
        zone: The zone with more pods, or with as many as the other.
        count: Pods in it, at least half of all.
        timeout: Seconds until the new pods serve and the old ones are gone.
    """
    session = current()
    if ns not in session.namespaces:
        raise UsageError(f"namespace {ns!r} is not labelled meshverdict.io/lab=true, so it is not touched")
    access, apps = session.access, AppsV1Api(session.access.api)
    found = access.json(apps.read_namespaced_deployment, name, ns)
    replicas, selector = int(found["spec"]["replicas"]), found["spec"]["selector"]
    wanted = placing(zone, count, replicas, selector)
    before = {key: found["spec"]["template"]["spec"].get(key) for key in wanted}
    if before != wanted:
        body = {"spec": {"template": {"spec": wanted}}}
        access.json(apps.patch_namespaced_deployment, name, ns, body, _content_type=_MERGE)
        await_rollout(access, [ns], timeout)
    labels = ",".join(f"{key}={value}" for key, value in selector["matchLabels"].items())
    pods = access.json(access.core.list_namespaced_pod, ns, label_selector=labels)["items"]
    placed = Counter((pod["metadata"].get("labels") or {}).get(ZONE, "no zone") for pod in pods)
    if placed[zone] != count:
        said = ", ".join(f"{n} in {where}" for where, n in sorted(placed.items()))
        raise LabError(
            f"Deployment {ns}/{name}: {said}; wanted are {count} in {zone}. Make its pods anew (kubectl rollout restart)"
        )
    return dict(sorted(placed.items()))


def placing(zone: str, count: int, replicas: int, selector: dict[str, Any]) -> dict[str, Any]:
    """The fields of a pod's spec that put *count* of *replicas* pods into *zone* of two: preferred as far as skew allows.

    Raises:
        UsageError: Less than half, or more than all.
    """
    if not replicas <= 2 * count <= 2 * replicas:
        raise UsageError(
            f"place_pods: {count} of {replicas} pods in {zone!r}: between half of them and all; name the other zone"
        )
    spread = {
        "maxSkew": max(1, 2 * count - replicas),
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": selector,
        # Pods of the template before do not count, or a rollout would end as it happens to.
        "matchLabelKeys": ["pod-template-hash"],
    }
    here = {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [zone]}]}
    prefer = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": here}]}
    even = 2 * count == replicas
    return {
        "topologySpreadConstraints": [spread],
        "affinity": None if even else {"nodeAffinity": prefer},
    }
