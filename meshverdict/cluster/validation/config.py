"""Rules of ConfigMap, Secret, the RBAC kinds, Lease and CustomResourceDefinition."""

from __future__ import annotations

import base64
from typing import Any, Final

from meshverdict.cluster.crd_rules import definition_problems
from meshverdict.cluster.crd_schema import pattern_problems
from meshverdict.cluster.errors import bad, forbidden_field, required, too_long, unsupported
from meshverdict.cluster.names import config_key_problems, dns_1035_problems, dns_subdomain_problems
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation.meta import IMMUTABLE, Errors

OBJECT_LIMIT: Final = 1024 * 1024
_FROZEN: Final = "field is immutable when `immutable` is set"
_NEEDED_KEYS: Final = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
}
_RBAC: Final = "rbac.authorization.k8s.io"
_SUBJECTS: Final = ("ServiceAccount", "User", "Group")


def config_map_errors(obj: Manifest) -> Errors:
    """Rules of a ConfigMap."""
    errors: Errors = []
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        errors += [bad(f"data[{key}]", key, text) for text in config_key_problems(key)]
        if key in binary:
            errors.append(bad(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len(value.encode())
    for key, value in binary.items():
        errors += [bad(f"binaryData[{key}]", key, text) for text in config_key_problems(key)]
        size += len(base64.b64decode(value))
    if size > OBJECT_LIMIT:
        errors.append(too_long("[]", OBJECT_LIMIT))
    return errors


def frozen_errors(new: Manifest, old: Manifest) -> Errors:
    """What ``immutable: true`` forbids for a ConfigMap or Secret."""
    if not old.get("immutable"):
        return []
    errors: Errors = []
    if not new.get("immutable"):
        errors.append(forbidden_field("immutable", _FROZEN))
    return errors + [
        forbidden_field(key, _FROZEN) for key in ("data", "binaryData") if new.get(key) != old.get(key)
    ]


def secret_errors(obj: Manifest) -> Errors:
    """Rules of a Secret."""
    errors: Errors = []
    data = obj.get("data") or {}
    size = 0
    for key, value in data.items():
        errors += [bad(f"data[{key}]", key, text) for text in config_key_problems(key)]
        size += len(base64.b64decode(value))
    if size > OBJECT_LIMIT:
        errors.append(too_long("data", OBJECT_LIMIT))
    kind = obj.get("type") or ""
    errors += [required(f"data[{key}]") for key in _NEEDED_KEYS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/service-account-token":
        annotation = "kubernetes.io/service-account.name"
        if not (obj["metadata"].get("annotations") or {}).get(annotation):
            errors.append(required(f"metadata.annotations[{annotation}]"))
    return errors


def secret_update_errors(new: Manifest, old: Manifest) -> Errors:
    """The type of a Secret stays."""
    errors = frozen_errors(new, old)
    if new.get("type") != old.get("type"):
        errors.append(bad("type", new.get("type"), IMMUTABLE))
    return errors


def role_errors(obj: Manifest) -> Errors:
    """Rules of Role and ClusterRole."""
    errors: Errors = []
    namespaced = obj.get("kind") == "Role"
    for index, rule in enumerate(obj.get("rules") or []):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        urls = rule.get("nonResourceURLs")
        if urls:
            if namespaced:
                text = "namespaced rules cannot apply to non-resource URLs"
                errors.append(bad(f"{path}.nonResourceURLs", urls, text))
            if rule.get("apiGroups") or rule.get("resources"):
                text = "rules cannot apply to both regular resources and non-resource URLs"
                errors.append(bad(f"{path}.nonResourceURLs", urls, text))
            continue
        if not rule.get("apiGroups"):
            errors.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.get("resources"):
            errors.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return errors


def binding_errors(obj: Manifest) -> Errors:
    """Rules of RoleBinding and ClusterRoleBinding."""
    errors: Errors = []
    reference = obj.get("roleRef") or {}
    if reference.get("apiGroup") != _RBAC:
        errors.append(unsupported("roleRef.apiGroup", reference.get("apiGroup") or "", (_RBAC,)))
    kinds = ("Role", "ClusterRole") if obj.get("kind") == "RoleBinding" else ("ClusterRole",)
    if reference.get("kind") not in kinds:
        errors.append(unsupported("roleRef.kind", reference.get("kind") or "", kinds))
    if not reference.get("name"):
        errors.append(required("roleRef.name"))
    for index, subject in enumerate(obj.get("subjects") or []):
        errors += _subject_errors(subject, f"subjects[{index}]", obj)
    return errors


def _subject_errors(subject: Manifest, path: str, binding: Manifest) -> Errors:
    errors: Errors = []
    if not subject.get("name"):
        errors.append(required(f"{path}.name"))
    kind = subject.get("kind") or ""
    if kind == "ServiceAccount":
        if subject.get("apiGroup"):
            errors.append(unsupported(f"{path}.apiGroup", subject["apiGroup"], ("",)))
        if not subject.get("namespace") and binding.get("kind") == "ClusterRoleBinding":
            errors.append(required(f"{path}.namespace"))
    elif kind in {"User", "Group"}:
        if subject.get("apiGroup") != _RBAC:
            errors.append(unsupported(f"{path}.apiGroup", subject.get("apiGroup") or "", (_RBAC,)))
    else:
        errors.append(unsupported(f"{path}.kind", kind, _SUBJECTS))
    return errors


def binding_update_errors(new: Manifest, old: Manifest) -> Errors:
    """A binding never changes its role."""
    if new.get("roleRef") == old.get("roleRef"):
        return []
    return [bad("roleRef", new.get("roleRef"), "cannot change roleRef")]


def lease_errors(obj: Manifest) -> Errors:
    """Rules of a Lease."""
    spec = obj.get("spec") or {}
    seconds, changes = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    errors: Errors = []
    if seconds is not None and seconds <= 0:
        errors.append(bad("spec.leaseDurationSeconds", seconds, "must be greater than 0"))
    if changes is not None and changes < 0:
        errors.append(bad("spec.leaseTransitions", changes, "must be greater than or equal to 0"))
    return errors


def crd_errors(obj: Manifest) -> Errors:
    """Rules of a CustomResourceDefinition."""
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    group, plural = spec.get("group") or "", names.get("plural") or ""
    errors: Errors = []
    if obj["metadata"].get("name") != f"{plural}.{group}":
        text = 'must be spec.names.plural+"."+spec.group'
        errors.append(bad("metadata.name", obj["metadata"].get("name"), text))
    if not group:
        errors.append(required("spec.group"))
    elif problems := dns_subdomain_problems(group):
        errors += [bad("spec.group", group, text) for text in problems]
    elif "." not in group:
        errors.append(bad("spec.group", group, "should be a domain with at least one dot"))
    scope = spec.get("scope") or ""
    if scope not in {"Cluster", "Namespaced"}:
        errors.append(
            unsupported("spec.scope", scope, ("Cluster", "Namespaced")) if scope else required("spec.scope")
        )
    errors += _versions_errors(spec.get("versions") or [])
    for key in ("plural", "singular", "kind", "listKind"):
        value = names.get(key) or ""
        if not value:
            errors.append(required(f"spec.names.{key}"))
        else:
            errors += [bad(f"spec.names.{key}", value, t) for t in dns_1035_problems(value.lower())]
    return errors


def _versions_errors(versions: list[Any]) -> Errors:
    errors: Errors = []
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        name = version.get("name") or ""
        errors += [bad(f"{path}.name", name, text) for text in dns_1035_problems(name)]
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            errors.append(required(f"{path}.schema.openAPIV3Schema", "schemas are required"))
        elif schema.get("type") != "object":
            place = f"{path}.schema.openAPIV3Schema.type"
            if schema.get("type"):
                errors.append(bad(place, schema["type"], "must be object at the root"))
            else:
                errors.append(required(place, "must not be empty at the root"))
        else:
            place = "spec.validation" if len(versions) == 1 else f"{path}.schema"
            found = definition_problems(schema, f"{place}.openAPIV3Schema")
            errors += [problem for problem in found if not isinstance(problem, str)]
            errors += pattern_problems(schema, f"{place}.openAPIV3Schema")
    if sum(1 for version in versions if version.get("storage")) != 1:
        text = "must have exactly one version marked as storage version"
        errors.append(bad("spec.versions", versions, text))
    return errors
