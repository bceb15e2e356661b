"""Rules of ``metadata`` and of label selectors, shared by every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from meshverdict.cluster.errors import (
    FieldError,
    bad,
    duplicate,
    forbidden_field,
    go_quote,
    required,
    too_long,
)
from meshverdict.cluster.names import (
    dns_label_problems,
    dns_subdomain_problems,
    label_value_problems,
    path_segment_problems,
    qualified_name_problems,
)
from meshverdict.cluster.store import Manifest

Errors = list[FieldError]
NameRule = Callable[[str], list[str]]
ANNOTATIONS_LIMIT: Final = 256 * 1024
NON_NEGATIVE: Final = "must be greater than or equal to 0"
IMMUTABLE: Final = "field is immutable"
STANDARD_FINALIZERS: Final = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_NAME_RULES: Final[dict[str, NameRule]] = {
    "Role": path_segment_problems,
    "RoleBinding": path_segment_problems,
    "ClusterRole": path_segment_problems,
    "ClusterRoleBinding": path_segment_problems,
    "Namespace": dns_label_problems,
    "Service": dns_label_problems,
}


def name_problems(kind: str, name: str) -> list[str]:
    """What is wrong with an object's name."""
    return _NAME_RULES.get(kind, dns_subdomain_problems)(name)


def meta_errors(kind: str, meta: Manifest, *, namespaced: bool) -> Errors:
    """Rules of ObjectMeta."""
    errors: Errors = []
    prefix = meta.get("generateName") or ""
    if prefix:
        masked = f"{prefix[:-1]}a" if prefix.endswith("-") and len(prefix) > 1 else prefix
        errors += [bad("metadata.generateName", prefix, text) for text in name_problems(kind, masked)]
    name = meta.get("name") or ""
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [bad("metadata.name", name, text) for text in name_problems(kind, name)]
    errors += _namespace_errors(meta.get("namespace") or "", namespaced=namespaced)
    if (meta.get("generation") or 0) < 0:
        errors.append(bad("metadata.generation", meta["generation"], NON_NEGATIVE))
    errors += labels_errors(meta.get("labels"), "metadata.labels")
    errors += annotations_errors(meta.get("annotations"), "metadata.annotations")
    errors += _owner_errors(meta.get("ownerReferences") or [])
    return errors + _finalizer_errors(meta.get("finalizers") or [])


def _namespace_errors(namespace: str, *, namespaced: bool) -> Errors:
    if not namespaced:
        return [forbidden_field("metadata.namespace", "not allowed on this type")] if namespace else []
    if not namespace:
        return [required("metadata.namespace")]
    return [bad("metadata.namespace", namespace, text) for text in dns_label_problems(namespace)]


def labels_errors(labels: Mapping[str, str] | None, path: str) -> Errors:
    """Rules of a map of labels."""
    errors: Errors = []
    for key, value in (labels or {}).items():
        errors += [bad(path, key, text) for text in qualified_name_problems(key)]
        errors += [bad(path, value, text) for text in label_value_problems(value)]
    return errors


def annotations_errors(annotations: Mapping[str, str] | None, path: str) -> Errors:
    """Rules of a map of annotations."""
    errors: Errors = []
    size = 0
    for key, value in (annotations or {}).items():
        errors += [bad(path, key, text) for text in qualified_name_problems(key.lower())]
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT:
        errors.append(too_long(path, ANNOTATIONS_LIMIT))
    return errors


def _owner_errors(owners: list[Manifest]) -> Errors:
    errors: Errors = []
    controllers: list[str] = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        texts = {"apiVersion": "version must not be empty", "kind": "must not be empty"} | {
            "name": "must not be empty",
            "uid": "must not be empty",
        }
        errors += [
            bad(f"{path}.{key}", owner.get(key) or "", text)
            for key, text in texts.items()
            if not owner.get(key)
        ]
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind')}/{owner.get('name')}")
    if len(controllers) > 1:
        found = " and ".join(controllers[:2])
        text = f'Only one reference can have Controller set to true. Found "true" in references for {found}'
        errors.append(bad("metadata.ownerReferences", owners, text))
    return errors


def _finalizer_errors(finalizers: list[str]) -> Errors:
    errors: Errors = []
    for index, name in enumerate(finalizers):
        path = f"metadata.finalizers[{index}]"
        if problems := qualified_name_problems(name):
            errors += [bad(path, name, text) for text in problems]
        elif "/" not in name and name not in STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(bad(path, name, text))
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        errors.append(bad("metadata.finalizers", finalizers, text))
    return errors


def meta_update_errors(new: Manifest, old: Manifest) -> Errors:
    """What an update may not do to the metadata."""
    errors: Errors = []
    if old.get("deletionTimestamp"):
        added = [f for f in new.get("finalizers") or [] if f not in (old.get("finalizers") or [])]
        if added:
            found = f"[]string{{{', '.join(go_quote(f) for f in added)}}}"
            text = (
                f"no new finalizers can be added if the object is being deleted, found new finalizers {found}"
            )
            # Twice, as a real server says it: by the kind's rules and by those of all kinds.
            errors += [forbidden_field("metadata.finalizers", text)] * 2
    return errors


def selector_errors(selector: Mapping[str, Any] | None, path: str) -> Errors:
    """Rules of a LabelSelector."""
    if not selector:
        return []
    errors = labels_errors(selector.get("matchLabels"), f"{path}.matchLabels")
    for index, expression in enumerate(selector.get("matchExpressions") or []):
        errors += _expression_errors(expression, f"{path}.matchExpressions[{index}]")
    return errors


def _expression_errors(expression: Mapping[str, Any], path: str) -> Errors:
    errors: Errors = []
    operator = expression.get("operator") or ""
    values = expression.get("values") or []
    if operator in {"In", "NotIn"}:
        if not values:
            text = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(required(f"{path}.values", text))
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(forbidden_field(f"{path}.values", text))
    else:
        errors.append(bad(f"{path}.operator", operator, "not a valid selector operator"))
    key = expression.get("key") or ""
    errors += [bad(f"{path}.key", key, text) for text in qualified_name_problems(key)]
    for index, value in enumerate(values):
        errors += [bad(f"{path}.values[{index}]", value, text) for text in label_value_problems(value)]
    return errors


def non_negative(value: Any, path: str) -> Errors:
    """A count that may be absent."""
    return [bad(path, value, NON_NEGATIVE)] if isinstance(value, int) and value < 0 else []


def duplicates(values: list[str], path: str, key: str) -> Errors:
    """Names that occur twice, empty ones aside."""
    seen: set[str] = set()
    errors: Errors = []
    for index, value in enumerate(values):
        if value and value in seen:
            errors.append(duplicate(f"{path}[{index}].{key}", value))
        seen.add(value)
    return errors
