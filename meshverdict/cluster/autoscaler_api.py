"""HorizontalPodAutoscalers in their two APIs: stored as autoscaling/v2, shown and taken as v1 too. Pure.

What v1 has no field for travels in annotations, as in Kubernetes: all metrics but the CPU utilization, the
scaling behaviour and the conditions.
"""

from __future__ import annotations

import json
from typing import Any, Final

from meshverdict.cluster.bodies import SyntaxProblem, parse_json
from meshverdict.cluster.decode import DecodeError, decode
from meshverdict.cluster.schema import definitions
from meshverdict.cluster.store import Manifest

_PREFIX: Final = "autoscaling.alpha.kubernetes.io/"
_DEFINITION: Final = "io.k8s.api.autoscaling.v2."
_NAMES: Final = {"external": {"selector": "metricSelector"}}  # one source calls it differently
# v2's name of an amount, and v1's, by source.
_AMOUNTS: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "resource": (
        ("Utilization", "averageUtilization", "targetAverageUtilization"),
        ("AverageValue", "averageValue", "targetAverageValue"),
    ),
    "pods": (("AverageValue", "averageValue", "targetAverageValue"),),
    "object": (("Value", "value", "targetValue"), ("AverageValue", "averageValue", "averageValue")),
    "external": (
        ("Value", "value", "targetValue"),
        ("AverageValue", "averageValue", "targetAverageValue"),
    ),
}
_AMOUNTS["containerResource"] = _AMOUNTS["resource"]


def to_v1(autoscaler: Manifest) -> Manifest:
    """An autoscaling/v2 object as autoscaling/v1."""
    spec, status = dict(autoscaler.get("spec") or {}), dict(autoscaler.get("status") or {})
    notes = dict(autoscaler["metadata"].get("annotations") or {})
    metrics = [m for m in spec.pop("metrics", None) or [] if not _is_cpu(m)]
    for metric in (autoscaler.get("spec") or {}).get("metrics") or []:
        if _is_cpu(metric):
            spec["targetCPUUtilizationPercentage"] = metric["resource"]["target"]["averageUtilization"]
    hidden = {
        "metrics": [_metric_to_v1(m) for m in metrics],
        "behavior": spec.pop("behavior", None),
        "conditions": status.pop("conditions", None),
    }
    notes |= {_PREFIX + k: json.dumps(v, separators=(",", ":")) for k, v in hidden.items() if v}
    status.pop("currentMetrics", None)
    status.setdefault("currentReplicas", 0)
    meta = {**autoscaler["metadata"], **({"annotations": notes} if notes else {})}
    return {**autoscaler, "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}


def from_v1(autoscaler: Manifest) -> Manifest:
    """An autoscaling/v1 object as autoscaling/v2."""
    spec, status = dict(autoscaler.get("spec") or {}), dict(autoscaler.get("status") or {})
    notes = dict(autoscaler["metadata"].get("annotations") or {})
    hidden = {k: _parsed(notes.pop(_PREFIX + k, None)) for k in ("metrics", "behavior", "conditions")}
    metrics = [m for m in (_metric_from_v1(m) for m in _list(hidden["metrics"])) if m]
    metrics = _decoded(metrics, "MetricSpec")
    behavior = _decoded([hidden["behavior"]], "HorizontalPodAutoscalerBehavior")
    conditions = _decoded(_list(hidden["conditions"]), "HorizontalPodAutoscalerCondition")
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        target = {"type": "Utilization", "averageUtilization": percent}
        metrics.insert(0, {"type": "Resource", "resource": {"name": "cpu", "target": target}})
    spec |= {"metrics": metrics} if metrics else {}
    spec |= {"behavior": behavior[0]} if behavior else {}
    status |= {"conditions": conditions} if conditions else {}
    status.pop("currentCPUUtilizationPercentage", None)
    meta = {k: v for k, v in autoscaler["metadata"].items() if k != "annotations"}
    meta |= {"annotations": notes} if notes else {}
    made = {**autoscaler, "apiVersion": "autoscaling/v2", "metadata": meta, "spec": spec}
    return {**made, "status": status} if status else made


def _is_cpu(metric: Manifest) -> bool:
    source = metric.get("resource") or {}
    return source.get("name") == "cpu" and (source.get("target") or {}).get("averageUtilization") is not None


def _parsed(text: str | None) -> Any:
    try:
        return parse_json(text.encode()) if text else None
    except SyntaxProblem:
        return None  # anybody may write an annotation; what is no such list Kubernetes ignores


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _decoded(values: list[Any], name: str) -> list[Manifest]:
    """The values as the definition has them; nothing at all when one of them is of another form."""
    node = definitions().node(_DEFINITION + name)
    try:
        return [decode(value, node).value for value in values]
    except DecodeError:
        return []


def _key(metric: Manifest) -> str:
    return str(metric["type"][:1].lower() + metric["type"][1:])


def _metric_to_v1(metric: Manifest) -> Manifest:
    kind = _key(metric)
    source = dict(metric.get(kind) or {})
    target = source.pop("target", None) or {}
    named = source.pop("metric", None)
    if named is not None:
        source["metricName"] = named["name"]
        if named.get("selector"):
            source[_NAMES.get(kind, {}).get("selector", "selector")] = named["selector"]
    if "describedObject" in source:
        source["target"] = source.pop("describedObject")
    for _, new, old in _AMOUNTS[kind]:
        if target.get(new) is not None:
            source[old] = target[new]
    return {"type": metric["type"], kind: source}


def _metric_from_v1(metric: Any) -> Manifest | None:
    if not isinstance(metric, dict) or not isinstance(metric.get("type"), str):
        return None
    kind = _key(metric)
    if kind not in _AMOUNTS or not isinstance(metric.get(kind), dict):
        return None
    source = dict(metric[kind])
    target: Manifest = {}
    for word, new, old in _AMOUNTS[kind]:
        if source.get(old) is not None:
            target = {"type": word, **target, new: source.pop(old)}
    if "metricName" in source:
        named = {"name": source.pop("metricName")}
        selector = source.pop(_NAMES.get(kind, {}).get("selector", "selector"), None)
        source["metric"] = named | ({"selector": selector} if selector else {})
    if "target" in source:
        source["describedObject"] = source.pop("target")
    return {"type": metric["type"], kind: {**source, "target": target}}
