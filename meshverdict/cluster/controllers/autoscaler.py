"""HorizontalPodAutoscaler in a cluster without a metrics server.

A lab has none, so nothing measures what an autoscaler would follow. It does what Kubernetes' own does then: it
keeps the replicas between the two bounds, changes nothing else, and says why - in its condition
``ScalingActive``, in Warning events, and as ``<unknown>`` in kubectl's table.
"""

from __future__ import annotations

from typing import Final

from meshverdict.cluster.store import Manifest

from .changes import Change, Emit, Requeue, Update, UpdateStatus, View
from .meta import condition, deleting, namespace_of, replicas_of, seconds, stamp, with_status

RESOURCE = "horizontalpodautoscalers.autoscaling"
PERIOD = 15.0  # seconds between two looks, and before the first one, as in Kubernetes
_TARGETS: Final = {
    ("apps", "Deployment"): "deployments.apps",
    ("apps", "ReplicaSet"): "replicasets.apps",
    ("apps", "StatefulSet"): "statefulsets.apps",
}
_NO_RESOURCE: Final = (
    "unable to fetch metrics from resource metrics API: "
    "the server could not find the requested resource (get pods.metrics.k8s.io)"
)
_NO_CUSTOM: Final = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
_NO_EXTERNAL: Final = (
    "unable to fetch metrics from external metrics API: "
    "no external metrics API (external.metrics.k8s.io) registered"
)
_AT_ZERO: Final = "scaling is disabled since the replica count of the target is zero"


def plan(view: View, scaler: Manifest, now: float) -> list[Change]:
    """Look at the target each `PERIOD`: bring its replicas into the bounds, and say what is not measured."""
    if deleting(scaler):
        return []
    wait = seconds(scaler["metadata"].get("creationTimestamp")) + PERIOD - now
    if wait > 0:
        return [Requeue(wait)]
    try:
        resource, target = _target(view, scaler)
    except LookupError as error:
        status = dict(scaler.get("status") or {})
        text = f"the HPA controller was unable to get the target's current scale: {error}"
        conditions = _with(status, "AbleToScale", "False", ("FailedGetScale", text), now)
        told = Emit(scaler, "Warning", "FailedGetScale", str(error))
        return _changed(scaler, {**status, "conditions": conditions}, told)
    return _decide(scaler, resource, target, now)


def _target(view: View, scaler: Manifest) -> tuple[str, Manifest]:
    """What is scaled, with its resource.

    Raises:
        LookupError: There is no such object, or it cannot be scaled.
    """
    reference = scaler["spec"]["scaleTargetRef"]
    group = (reference.get("apiVersion") or "").rpartition("/")[0]
    resource = _TARGETS.get((group, reference["kind"]))
    if resource is None:
        raise LookupError(f'no matches for kind "{reference["kind"]}" in group "{group}"')
    found = view.get(resource, namespace_of(scaler), reference["name"])
    if found is None:
        plural, _, group = resource.partition(".")
        raise LookupError(f'{plural}.{group} "{reference["name"]}" not found')
    return resource, found


def _decide(scaler: Manifest, resource: str, target: Manifest, now: float) -> list[Change]:
    spec, status = scaler["spec"], dict(scaler.get("status") or {})
    current = replicas_of(target)
    least, most = int(spec.get("minReplicas") or 1), int(spec["maxReplicas"])
    ready = ("SucceededGetScale", "the HPA controller was able to get the target's current scale")
    status["conditions"] = _with(status, "AbleToScale", "True", ready, now)
    if current == 0:
        off = ("ScalingDisabled", _AT_ZERO)
        status["conditions"] = _with(status, "ScalingActive", "False", off, now)
        return _changed(scaler, {**status, "currentReplicas": 0, "desiredReplicas": 0})
    if least <= current <= most:
        return _unmeasured(scaler, {**status, "currentReplicas": current}, now)
    wanted = max(min(current, most), least)
    bound = "above Spec.MaxReplicas" if current > most else "below Spec.MinReplicas"
    why = f"New size: {wanted}; reason: Current number of replicas {bound}"
    done = ("SucceededRescale", f"the HPA controller was able to update the target scale to {wanted}")
    status["conditions"] = _with(status, "AbleToScale", "True", done, now)
    status |= {"currentReplicas": current, "desiredReplicas": wanted, "lastScaleTime": stamp(now)}
    scale = Update(resource, {**target, "spec": {**target["spec"], "replicas": wanted}})
    return [scale, *_changed(scaler, status, Emit(scaler, "Normal", "SuccessfulRescale", why))]


def _unmeasured(scaler: Manifest, status: Manifest, now: float) -> list[Change]:
    """Within the bounds only measurements could tell, and there are none."""
    metrics = scaler["spec"].get("metrics") or []
    reasons = [_failure(metric) for metric in metrics]
    if not reasons:
        return _changed(scaler, {**status, "desiredReplicas": status["currentReplicas"]})
    reason, source, why = reasons[0]
    text = f"the HPA was unable to compute the replica count: {why}"
    status["conditions"] = _with(status, "ScalingActive", "False", (reason, text), now)
    status["currentMetrics"] = None
    status.setdefault("desiredReplicas", 0)
    summary = (
        f"invalid metrics ({len(reasons)} invalid out of {len(metrics)}), first error is: "
        f"failed to get {source}: {why}"
    )
    told = [Emit(scaler, "Warning", name, text) for name, _, text in reasons]
    return _changed(scaler, status, *told, Emit(scaler, "Warning", "FailedComputeMetricsReplicas", summary))


def _failure(metric: Manifest) -> tuple[str, str, str]:
    """Reason, source and text of why a metric has no value."""
    kind = metric["type"]
    source = metric[kind[:1].lower() + kind[1:]]
    name = source.get("name") or (source.get("metric") or {}).get("name")
    if kind in {"Resource", "ContainerResource"}:
        what = "resource metric value" if kind == "Resource" else "container metric value"
        amount = "utilization" if source["target"].get("averageUtilization") is not None else "usage"
        text = f"failed to get {name} {amount}: unable to get metrics for resource {name}: {_NO_RESOURCE}"
        return f"FailedGet{kind}Metric", f"{name} {what}", text
    none = _NO_EXTERNAL if kind == "External" else _NO_CUSTOM
    text = f"unable to get metric {name}: {none}"
    return f"FailedGet{kind}Metric", f"{kind.lower()} metric value", text


def _with(status: Manifest, kind: str, state: str, text: tuple[str, str], now: float) -> list[Manifest]:
    """The conditions with this one in its place; its time changes with its state only."""
    old = condition(status, kind)
    since = old["lastTransitionTime"] if old and old["status"] == state else stamp(now)
    entry = {
        "type": kind,
        "status": state,
        "lastTransitionTime": since,
        "reason": text[0],
        "message": text[1],
    }
    conditions: list[Manifest] = list(status.get("conditions") or ())
    places = [i for i, c in enumerate(conditions) if c["type"] == kind]
    if not places:
        return [*conditions, entry]
    conditions[places[0]] = entry
    return conditions


def _changed(scaler: Manifest, status: Manifest, *told: Emit) -> list[Change]:
    """Store a new status and tell about it; one that is there already has been told."""
    if status == scaler.get("status"):
        return [Requeue(PERIOD)]
    return [UpdateStatus(RESOURCE, with_status(scaler, status)), *told, Requeue(PERIOD)]
