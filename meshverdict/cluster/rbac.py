"""What a user may do: Roles, ClusterRoles and their bindings, as Kubernetes reads them.

Rules are only looked up, never cached: a lab has few, and a change must count at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from meshverdict.cluster.auth import User
from meshverdict.cluster.errors import ApiError, qualified
from meshverdict.cluster.store import Manifest, Store

_ROLES: Final = "roles.rbac.authorization.k8s.io"
_CLUSTER_ROLES: Final = "clusterroles.rbac.authorization.k8s.io"
_BINDINGS: Final = "rolebindings.rbac.authorization.k8s.io"
_CLUSTER_BINDINGS: Final = "clusterrolebindings.rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a user wants to do.

    Attributes:
        verb: ``get``, ``list``, ``create``...
        resource: Plural; ``""`` with a `path`.
        path: Of a request for something that is no resource.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether, and by which binding."""

    allowed: bool
    reason: str = ""


def authorize(store: Store, user: User, attempt: Attempt) -> Verdict:
    """Whether *user* may do what it attempts."""
    if user.superuser:
        return Verdict(allowed=True)
    for binding, role, rules in _rules(store, user, attempt.namespace):
        if any(allows(rule, attempt) for rule in rules):
            return Verdict(allowed=True, reason=_reason(binding, role, user))
    return Verdict(allowed=False)


def rules_of(store: Store, user: User, namespace: str) -> list[Manifest]:
    """All rules that hold for *user* in *namespace*."""
    if user.superuser:
        everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        return [everything, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
    return [rule for _, _, rules in _rules(store, user, namespace) for rule in rules]


def _rules(store: Store, user: User, namespace: str) -> Iterator[tuple[Manifest, Manifest, list[Manifest]]]:
    bindings = list(store.list(_CLUSTER_BINDINGS))
    if namespace:
        bindings += store.list(_BINDINGS, namespace)
    for binding in bindings:
        if not any(_is_subject(s, user, binding) for s in binding.get("subjects") or ()):
            continue
        reference = binding.get("roleRef") or {}
        if reference.get("kind") == "Role":
            role = store.get(_ROLES, namespace, reference.get("name") or "")
        else:
            role = store.get(_CLUSTER_ROLES, None, reference.get("name") or "")
        if role is not None:
            yield binding, role, role.get("rules") or []


def _is_subject(subject: Manifest, user: User, binding: Manifest) -> bool:
    kind, name = subject.get("kind"), subject.get("name")
    if kind == "User":
        return bool(name == user.name)
    if kind == "Group":
        return name in user.groups
    namespace = subject.get("namespace") or binding["metadata"].get("namespace") or ""
    return kind == "ServiceAccount" and user.name == f"system:serviceaccount:{namespace}:{name}"


def allows(rule: Manifest, attempt: Attempt) -> bool:
    """Whether one rule allows it."""
    if not _has(rule.get("verbs"), attempt.verb):
        return False
    if attempt.path:
        return any(_url(pattern, attempt.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _has(rule.get("apiGroups"), attempt.group):
        return False
    resources = rule.get("resources") or ()
    wanted = f"{attempt.resource}/{attempt.subresource}" if attempt.subresource else attempt.resource
    if not (wanted in resources or "*" in resources or f"*/{attempt.subresource}" in resources):
        return False
    names = rule.get("resourceNames") or ()
    return not names or attempt.name in names


def _has(values: Any, wanted: str) -> bool:
    return bool(values) and (wanted in values or "*" in values)


def _url(pattern: str, path: str) -> bool:
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return path == pattern


def _reason(binding: Manifest, role: Manifest, user: User) -> str:
    meta = binding["metadata"]
    place = f"{meta['name']}/{meta['namespace']}" if meta.get("namespace") else meta["name"]
    subject = next(s for s in binding.get("subjects") or () if _is_subject(s, user, binding))
    who = subject["name"]
    if subject["kind"] == "ServiceAccount":
        who = f"{subject['name']}/{subject.get('namespace') or meta.get('namespace')}"
    return (
        f'RBAC: allowed by {binding["kind"]} "{place}" of {role["kind"]} "{role["metadata"]["name"]}" '
        f'to {subject["kind"]} "{who}"'
    )


def refusal(user: User, attempt: Attempt) -> ApiError:
    """The 403 for what is not allowed."""
    if attempt.path:
        text = f'forbidden: User "{user.name}" cannot {attempt.verb} path "{attempt.path}"'
        return ApiError(403, "Forbidden", text, {})
    resource = f"{attempt.resource}/{attempt.subresource}" if attempt.subresource else attempt.resource
    where = f' in the namespace "{attempt.namespace}"' if attempt.namespace else " at the cluster scope"
    what = qualified(attempt.resource, attempt.group)
    named = f'{what} "{attempt.name}"' if attempt.name else what
    text = (
        f'{named} is forbidden: User "{user.name}" cannot {attempt.verb} resource "{resource}" in API group '
        f'"{attempt.group}"{where}'
    )
    parts = {"name": attempt.name, "group": attempt.group, "kind": attempt.resource}
    return ApiError(403, "Forbidden", text, {k: v for k, v in parts.items() if v})
