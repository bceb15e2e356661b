"""Rules of HorizontalPodAutoscalers (autoscaling/v2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshverdict.cluster.errors import FieldError, bad, forbidden_field, required, unsupported
from meshverdict.cluster.names import path_segment_problems
from meshverdict.cluster.quantities import quantity
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation.meta import Errors

SOURCES: Final = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
_LONGEST_WINDOW: Final = 3600
_LONGEST_PERIOD: Final = 1800


def autoscaler_errors(obj: Manifest) -> Errors:
    """Rules of a HorizontalPodAutoscaler."""
    spec = obj.get("spec") or {}
    errors: Errors = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        errors.append(bad("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(bad("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        errors.append(bad("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    errors += _reference(spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef")
    for index, metric in enumerate(spec.get("metrics") or []):
        errors += _metric(metric, f"spec.metrics[{index}]")
    for way in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(way)
        if rules is not None:
            errors += _rules(rules, f"spec.behavior.{way}")
    return errors


def _reference(reference: Manifest, path: str) -> Iterator[FieldError]:
    for key in ("kind", "name"):
        value = reference.get(key)
        if not value:
            yield required(f"{path}.{key}")
        else:
            yield from (bad(f"{path}.{key}", value, problem) for problem in path_segment_problems(value))


def _metric(metric: Manifest, path: str) -> Iterator[FieldError]:
    kind = metric.get("type")
    if not kind:
        yield required(f"{path}.type", "must specify a metric source type")
    elif kind not in SOURCES:
        yield unsupported(f"{path}.type", kind, tuple(SOURCES))
    wanted = SOURCES.get(kind or "", "")
    for name in ("object", "external", "pods", "resource", "containerResource"):
        source = metric.get(name)
        if source is not None:
            yield from _source(name, source, f"{path}.{name}")
    if wanted and metric.get(wanted) is None:
        yield required(f"{path}.{wanted}", "must populate information for the given metric source")
    for name in SOURCES.values():
        if name != wanted and metric.get(name) is not None:
            yield forbidden_field(f"{path}.{name}", "must populate the given metric source only")


def _source(kind: str, source: Manifest, path: str) -> Iterator[FieldError]:
    target = source.get("target") or {}
    if kind == "object":
        yield from _reference(source.get("describedObject") or {}, f"{path}.describedObject")
    if kind in {"resource", "containerResource"}:
        if not source.get("name"):
            yield required(f"{path}.name", "must specify a resource name")
        if kind == "containerResource" and not source.get("container"):
            yield required(f"{path}.container", "must specify a container")
    elif not (source.get("metric") or {}).get("name"):
        yield required(f"{path}.metric.name", "must specify a metric name")
    yield from _target(target, f"{path}.target")
    yield from _amounts(kind, target, f"{path}.target")


def _target(target: Manifest, path: str) -> Iterator[FieldError]:
    kind = target.get("type")
    if not kind:
        yield required(f"{path}.type", "must specify a metric target type")
    elif kind not in {"Utilization", "Value", "AverageValue"}:
        yield bad(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
    for key in ("value", "averageValue"):
        try:
            if target.get(key) is not None and quantity(target[key]) <= 0:
                yield bad(f"{path}.{key}", target[key], "must be positive")
        except ValueError as error:
            yield bad(f"{path}.{key}", target[key], str(error))
    percent = target.get("averageUtilization")
    if percent is not None and percent < 1:
        yield bad(f"{path}.averageUtilization", percent, "must be greater than 0")


def _amounts(kind: str, target: Manifest, path: str) -> Iterator[FieldError]:
    """Which amounts a target of this source must and may have."""
    value, average, percent = (target.get(k) for k in ("value", "averageValue", "averageUtilization"))
    if kind in {"resource", "containerResource"}:
        if average is None and percent is None:
            text = "must set either a target raw value or a target utilization"
            yield required(f"{path}.averageUtilization", text)
        elif average is not None and percent is not None:
            text = "may not set both a target raw value and a target utilization"
            yield forbidden_field(f"{path}.averageValue", text)
    elif kind == "pods":
        if average is None:
            yield required(f"{path}.averageValue", "must specify a positive target averageValue")
    elif value is None and average is None:
        text = (
            "must set either a target value for metric or a per-pod target"
            if kind == "external"
            else "must set either a target value or averageValue"
        )
        yield required(f"{path}.averageValue", text)
    elif kind == "external" and value is not None and average is not None:
        text = "may not set both a target value for metric and a per-pod target"
        yield forbidden_field(f"{path}.value", text)


def _rules(rules: Manifest, path: str) -> Iterator[FieldError]:
    window = rules.get("stabilizationWindowSeconds")
    place = f"{path}.stabilizationWindowSeconds"
    if window is not None and window < 0:
        yield bad(place, window, "must be greater than or equal to zero")
    if window is not None and window > _LONGEST_WINDOW:
        yield bad(place, window, f"must be less than or equal to {_LONGEST_WINDOW}")
    chosen = rules.get("selectPolicy")
    if chosen is not None and chosen not in {"Disabled", "Max", "Min"}:
        yield unsupported(f"{path}.selectPolicy", chosen, ("Disabled", "Max", "Min"))
    policies = rules.get("policies") or []
    if not policies:
        yield required(f"{path}.policies", "must specify at least one Policy")
    for index, policy in enumerate(policies):
        at = f"{path}.policies[{index}]"
        if policy.get("type") not in {"Percent", "Pods"}:
            yield unsupported(f"{at}.type", policy.get("type") or "", ("Percent", "Pods"))
        value, period = policy.get("value") or 0, policy.get("periodSeconds") or 0
        if value <= 0:
            yield bad(f"{at}.value", value, "must be greater than zero")
        if period <= 0:
            yield bad(f"{at}.periodSeconds", period, "must be greater than zero")
        if period > _LONGEST_PERIOD:
            yield bad(f"{at}.periodSeconds", period, f"must be less than or equal to {_LONGEST_PERIOD}")
