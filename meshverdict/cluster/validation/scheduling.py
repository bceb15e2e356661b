"""Rules of what decides where pods go: affinity, topology spread, taints of nodes.

The scheduler plans all waiting pods together, so what it could not read must not get as far as to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from meshverdict.cluster.errors import FieldError, bad, forbidden_field, required, unsupported
from meshverdict.cluster.names import qualified_name_problems
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation.meta import Errors, selector_errors

_UNSATISFIABLE: Final = ("DoNotSchedule", "ScheduleAnyway")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def placement_errors(spec: Manifest, path: str) -> Errors:
    """Rules of a PodSpec's ``affinity`` and ``topologySpreadConstraints``."""
    errors: Errors = []
    affinity = spec.get("affinity") or {}
    errors += _node_affinity(affinity.get("nodeAffinity") or {}, f"{path}.affinity.nodeAffinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        errors += _pod_affinity(affinity.get(kind) or {}, f"{path}.affinity.{kind}")
    for index, constraint in enumerate(spec.get("topologySpreadConstraints") or []):
        errors += _spread(constraint, f"{path}.topologySpreadConstraints[{index}]")
    return errors


def node_errors(node: Manifest) -> Errors:
    """Rules of a Node's ``spec.taints``."""
    errors: Errors = []
    for index, taint in enumerate((node.get("spec") or {}).get("taints") or []):
        place = f"spec.taints[{index}]"
        key = taint.get("key") or ""
        errors += [bad(f"{place}.key", key, text) for text in qualified_name_problems(key)]
        effect = taint.get("effect") or ""
        if not effect:
            errors.append(required(f"{place}.effect", f"must specify {', '.join(_EFFECTS)}"))
        elif effect not in _EFFECTS:
            errors.append(unsupported(f"{place}.effect", effect, _EFFECTS))
    return errors


def _node_affinity(affinity: Manifest, path: str) -> Errors:
    needed, field = (
        affinity.get("requiredDuringSchedulingIgnoredDuringExecution"),
        f"{path}.requiredDuringSchedulingIgnoredDuringExecution",
    )
    errors: Errors = []
    if needed is not None:
        terms = needed.get("nodeSelectorTerms") or []
        if not terms:
            errors.append(required(f"{field}.nodeSelectorTerms", "must have at least one node selector term"))
        for index, term in enumerate(terms):
            errors += _node_term(term, f"{field}.nodeSelectorTerms[{index}]")
    return errors + _preferred(affinity, path, "preference", _node_term)


def _node_term(term: Manifest, path: str) -> Errors:
    errors: Errors = []
    for kind in ("matchExpressions", "matchFields"):
        for index, expression in enumerate(term.get(kind) or []):
            errors += _node_requirement(expression, f"{path}.{kind}[{index}]")
    return errors


def _node_requirement(expression: Manifest, path: str) -> Errors:
    operator, values = expression.get("operator") or "", expression.get("values") or []
    errors: Errors = []
    if operator in {"In", "NotIn"}:
        if not values:
            errors.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden_field(f"{path}.values", text))
    elif operator in {"Gt", "Lt"}:
        if len(values) != 1:
            text = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(required(f"{path}.values", text))
    else:
        errors.append(bad(f"{path}.operator", operator, "not a valid selector operator"))
    key = expression.get("key") or ""
    return errors + [bad(f"{path}.key", key, text) for text in qualified_name_problems(key)]


def _pod_affinity(affinity: Manifest, path: str) -> Errors:
    errors: Errors = []
    for index, term in enumerate(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []):
        errors += _pod_term(term, f"{path}.requiredDuringSchedulingIgnoredDuringExecution[{index}]")
    return errors + _preferred(affinity, path, "podAffinityTerm", _pod_term)


def _preferred(affinity: Manifest, path: str, key: str, term: Callable[[Manifest, str], Errors]) -> Errors:
    errors: Errors = []
    for index, weighed in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []):
        place = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        errors += _weight(weighed, place)
        errors += term(weighed.get(key) or {}, f"{place}.{key}")
    return errors


def _pod_term(term: Manifest, path: str) -> Errors:
    errors = selector_errors(term.get("labelSelector"), f"{path}.labelSelector")
    errors += selector_errors(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    return errors + _topology_key(term, path)


def _spread(constraint: Manifest, path: str) -> Errors:
    errors: Errors = []
    skew = constraint.get("maxSkew", 0)
    if skew <= 0:
        errors.append(bad(f"{path}.maxSkew", skew, "must be greater than zero"))
    errors += _topology_key(constraint, path)
    when = constraint.get("whenUnsatisfiable") or ""
    if when not in _UNSATISFIABLE:
        errors.append(unsupported(f"{path}.whenUnsatisfiable", when, _UNSATISFIABLE))
    least = constraint.get("minDomains")
    if least is not None and least <= 0:
        errors.append(bad(f"{path}.minDomains", least, "must be greater than zero"))
    return errors + selector_errors(constraint.get("labelSelector"), f"{path}.labelSelector")


def _topology_key(holder: Manifest, path: str) -> Errors:
    key = holder.get("topologyKey") or ""
    if not key:
        return [required(f"{path}.topologyKey", "can not be empty")]
    return [bad(f"{path}.topologyKey", key, text) for text in qualified_name_problems(key)]


def _weight(weighed: Manifest, path: str) -> Sequence[FieldError]:
    weight: Any = weighed.get("weight", 0)
    return [] if 1 <= weight <= 100 else [bad(f"{path}.weight", weight, "must be in the range 1-100")]
