"""Rules of what makes pods: Deployment, ReplicaSet, DaemonSet, StatefulSet, Job; and of disruption budgets."""

from __future__ import annotations

import re
from typing import Any, Final

from meshverdict.cluster.errors import bad, forbidden_field, required, unsupported
from meshverdict.cluster.selectors import of_manifest
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation.meta import (
    IMMUTABLE,
    NON_NEGATIVE,
    Errors,
    non_negative,
    selector_errors,
)
from meshverdict.cluster.validation.pods import template_errors

_PERCENT: Final = re.compile("[0-9]+%")
_PERCENT_TEXT: Final = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
    "regex used for validation is '[0-9]+%')"
)
_MISMATCH: Final = "`selector` does not match template `labels`"
_STATEFUL_CHANGES: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_STATEFUL_CHANGEABLE: Final = frozenset(
    {
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    }
)


def _selector_and_template(spec: Manifest, what: str) -> Errors:
    errors: Errors = []
    selector = spec.get("selector")
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        errors += selector_errors(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            errors.append(bad("spec.selector", selector, f"empty selector is invalid for {what}"))
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    if selector is None or (not errors and not of_manifest(selector).matches(labels)):
        errors.append(bad("spec.template.metadata.labels", labels, _MISMATCH))
    errors += template_errors(template, "spec.template")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy in {"OnFailure", "Never"}:
        errors.append(unsupported("spec.template.spec.restartPolicy", policy, ("Always",)))
    if (template.get("spec") or {}).get("activeDeadlineSeconds") is not None:
        text = "activeDeadlineSeconds in ReplicaSet is not Supported"
        errors.append(forbidden_field("spec.template.spec.activeDeadlineSeconds", text))
    return errors


def deployment_errors(obj: Manifest) -> Errors:
    """Rules of a Deployment."""
    spec = obj.get("spec") or {}
    errors = non_negative(spec.get("replicas"), "spec.replicas")
    errors += _selector_and_template(spec, "deployment")
    errors += _strategy(spec.get("strategy") or {}, "spec.strategy", ("Recreate", "RollingUpdate"))
    for key in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        errors += non_negative(spec.get(key), f"spec.{key}")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and 0 <= deadline <= ready:
        text = "must be greater than minReadySeconds"
        errors.append(bad("spec.progressDeadlineSeconds", deadline, text))
    return errors


def _strategy(strategy: Manifest, path: str, types: tuple[str, ...]) -> Errors:
    kind = strategy.get("type")
    rolling = strategy.get("rollingUpdate")
    if kind not in types:
        return [unsupported(f"{path}.type", kind or "", types)]
    if kind != "RollingUpdate":
        if rolling is None:
            return []
        text = f"may not be specified when strategy `type` is '{kind}'"
        return [forbidden_field(f"{path}.rollingUpdate", text)]
    rolling = rolling or {}
    place = f"{path}.rollingUpdate"
    errors: Errors = []
    for key in ("maxUnavailable", "maxSurge"):
        errors += _int_or_percent(rolling.get(key), f"{place}.{key}")
    if errors:
        return errors
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    if _amount(unavailable) == 0 and _amount(surge) == 0:
        text = "may not be 0 when `maxSurge` is 0"
        errors.append(bad(f"{place}.maxUnavailable", unavailable, text))
    if isinstance(unavailable, str) and _amount(unavailable) > 100:
        errors.append(bad(f"{place}.maxUnavailable", unavailable, "must not be greater than 100%"))
    return errors


def _int_or_percent(value: Any, path: str) -> Errors:
    if isinstance(value, str):
        return [] if _PERCENT.fullmatch(value) else [bad(path, value, _PERCENT_TEXT)]
    return non_negative(value, path)


def _amount(value: Any) -> int:
    if isinstance(value, str):
        return int(value.rstrip("%"))
    return int(value or 0)


def deployment_update_errors(new: Manifest, old: Manifest) -> Errors:
    """The selector stays."""
    return _immutable(new, old, "selector")


def _immutable(new: Manifest, old: Manifest, *keys: str) -> Errors:
    return [
        bad(f"spec.{key}", new["spec"].get(key), IMMUTABLE)
        for key in keys
        if new["spec"].get(key) != old["spec"].get(key)
    ]


def replicaset_errors(obj: Manifest) -> Errors:
    """Rules of a ReplicaSet."""
    spec = obj.get("spec") or {}
    errors = non_negative(spec.get("replicas"), "spec.replicas")
    errors += non_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    return errors + _selector_and_template(spec, "replicaset")


def daemonset_errors(obj: Manifest) -> Errors:
    """Rules of a DaemonSet."""
    spec = obj.get("spec") or {}
    errors = _selector_and_template(spec, "daemonset")
    errors += non_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    return errors + _strategy(
        spec.get("updateStrategy") or {}, "spec.updateStrategy", ("RollingUpdate", "OnDelete")
    )


def statefulset_errors(obj: Manifest) -> Errors:
    """Rules of a StatefulSet."""
    spec = obj.get("spec") or {}
    errors: Errors = []
    policy = spec.get("podManagementPolicy")
    if policy and policy not in {"OrderedReady", "Parallel"}:
        text = "must be 'OrderedReady' or 'Parallel'"
        errors.append(bad("spec.podManagementPolicy", policy, text))
    kind = (spec.get("updateStrategy") or {}).get("type")
    if kind and kind not in {"RollingUpdate", "OnDelete"}:
        errors.append(
            bad("spec.updateStrategy", spec["updateStrategy"], "must be 'RollingUpdate' or 'OnDelete'")
        )
    errors += non_negative(spec.get("replicas"), "spec.replicas")
    errors += non_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
    return errors + _selector_and_template(spec, "statefulset")


def statefulset_update_errors(new: Manifest, old: Manifest) -> Errors:
    """Only some fields may change."""
    before = {k: v for k, v in old["spec"].items() if k not in _STATEFUL_CHANGEABLE}
    after = {k: v for k, v in new["spec"].items() if k not in _STATEFUL_CHANGEABLE}
    return [] if before == after else [forbidden_field("spec", _STATEFUL_CHANGES)]


def budget_errors(obj: Manifest) -> Errors:
    """Rules of a PodDisruptionBudget."""
    spec = obj.get("spec") or {}
    errors: Errors = []
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        shown = {"MinAvailable": least, "Selector": spec.get("selector"), "MaxUnavailable": most} | {
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy")
        }
        errors.append(bad("spec", shown, "minAvailable and maxUnavailable cannot be both set"))
    for key, value in (("minAvailable", least), ("maxUnavailable", most)):
        errors += _int_or_percent(value, f"spec.{key}")
        if isinstance(value, str) and _PERCENT.fullmatch(value) and _amount(value) > 100:
            errors.append(bad(f"spec.{key}", value, "must not be greater than 100%"))
    return errors + selector_errors(spec.get("selector"), "spec.selector")


def scale_errors(scale: Manifest) -> Errors:
    """Rules of an autoscaling/v1 Scale."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    return [bad("spec.replicas", replicas, NON_NEGATIVE)] if replicas < 0 else []
