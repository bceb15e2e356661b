"""Nobody gives away rights that they do not have: what Roles and bindings may say depends on who writes them.

Without it, who may write Roles may do everything. The right ``escalate`` on a role, ``bind`` on the role of a
binding, and the group system:masters are exempt, as in a real server. Pure, but for reading the store.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Final

from meshverdict.cluster.auth import User
from meshverdict.cluster.errors import forbidden, not_found
from meshverdict.cluster.rbac import Attempt, authorize, rules_of
from meshverdict.cluster.store import Manifest, Store

_GROUP: Final = "rbac.authorization.k8s.io"
# A rule that nobody's single rule covers is taken apart; one of more parts than this is refused as a whole.
_MOST: Final = 20_000
_SHOWN: Final = 5
_ROLES: Final = (f"roles.{_GROUP}", f"clusterroles.{_GROUP}")
_BINDINGS: Final = (f"rolebindings.{_GROUP}", f"clusterrolebindings.{_GROUP}")
_PARTS: Final = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)


def check(store: Store, user: User, resource: str, new: Manifest, old: Manifest | None) -> None:
    """Refuse a Role or a binding with rights that its writer does not have.

    Args:
        store: Where roles are.
        user: Who writes.
        resource: Group resource; others than RBAC's are let through.
        new: What is to be stored.
        old: What it replaces; what does not change is nobody's business.

    Raises:
        ApiError: 403 naming the missing rights, or 404 for a role that is not there.
    """
    if user.superuser or resource not in (*_ROLES, *_BINDINGS):
        return
    plural = resource.partition(".")[0]
    meta = new.get("metadata") or {}
    namespace, name = meta.get("namespace") or "", meta.get("name") or ""
    if resource in _ROLES:
        if old is not None and (old.get("rules") or []) == (new.get("rules") or []):
            return
        if authorize(store, user, Attempt("escalate", _GROUP, plural, "", namespace, name)).allowed:
            return
        rules = new.get("rules") or []
    else:
        if old is not None and all(
            (old.get(k) or None) == (new.get(k) or None) for k in ("roleRef", "subjects")
        ):
            return
        reference = new.get("roleRef") or {}
        kind = "clusterroles" if reference.get("kind") == "ClusterRole" else "roles"
        role_name = reference.get("name") or ""
        if authorize(store, user, Attempt("bind", _GROUP, kind, "", namespace, role_name)).allowed:
            return
        role = store.get(f"{kind}.{_GROUP}", namespace if kind == "roles" else None, role_name)
        if role is None:
            raise not_found(kind, _GROUP, role_name)
        rules = role.get("rules") or []
    missing = uncovered(rules_of(store, user, namespace), rules)
    if missing:
        groups = " ".join(f'"{g}"' for g in user.groups)
        text = f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
        raise forbidden(plural, _GROUP, name, text + "\n".join(sorted(map(_text, missing))))


def uncovered(held: Iterable[Manifest], wanted: Iterable[Manifest]) -> list[Manifest]:
    """What of *wanted* no rule of *held* covers: one rule for each resource or URL, with its missing verbs."""
    own = list(held)
    verbs: dict[tuple[tuple[str, str], ...], list[str]] = {}
    large: list[Manifest] = []
    for rule in wanted:
        if any(_covers_all(other, rule) for other in own):
            continue
        if _size(rule) > _MOST:
            large.append({key: list(values)[:_SHOWN] for key, values in rule.items() if values})
            continue
        for single in _singles(rule):
            if not any(_covers(other, single) for other in own):
                key = tuple((k, v) for k, v in single.items() if k != "verbs")
                if single["verbs"] not in verbs.setdefault(key, []):
                    verbs[key].append(single["verbs"])
    return [*large, *({**{k: [v] for k, v in key}, "verbs": found} for key, found in verbs.items())]


def _size(rule: Manifest) -> int:
    """How many smallest parts a rule has."""
    verbs = len(rule.get("verbs") or ())
    lists = ("apiGroups", "resources", "resourceNames")
    groups, resources, names = (len(rule.get(key) or ()) for key in lists)
    return verbs * (len(rule.get("nonResourceURLs") or ()) + groups * resources * max(1, names))


def _covers_all(held: Manifest, rule: Manifest) -> bool:
    """Whether one rule covers another as a whole, found without taking it apart."""
    if rule.get("nonResourceURLs"):
        return False
    lists = ("verbs", "apiGroups", "resources")
    if not all(_has(held, key, wanted) for key in lists for wanted in rule.get(key) or ()):
        return False
    names = set(held.get("resourceNames") or ())
    return not names or (bool(rule.get("resourceNames")) and names.issuperset(rule["resourceNames"]))


def _singles(rule: Manifest) -> Iterator[dict[str, str]]:
    """A rule in its smallest parts: one verb on one resource (of one name), or on one URL."""
    for verb, url in itertools.product(rule.get("verbs") or (), rule.get("nonResourceURLs") or ()):
        yield {"nonResourceURLs": url, "verbs": verb}
    names: Iterable[Any] = rule.get("resourceNames") or (None,)
    lists = (rule.get("verbs") or (), rule.get("apiGroups") or (), rule.get("resources") or (), names)
    for verb, group, resource, name in itertools.product(*lists):
        single = {"apiGroups": group, "resources": resource, "verbs": verb}
        yield single if name is None else {**single, "resourceNames": name}


def _covers(rule: Manifest, single: dict[str, str]) -> bool:
    if not _has(rule, "verbs", single["verbs"]):
        return False
    if "nonResourceURLs" in single:
        wanted = single["nonResourceURLs"]
        return any(
            url == wanted or (url.endswith("*") and wanted.startswith(url[:-1]))
            for url in rule.get("nonResourceURLs") or ()
        )
    if not _has(rule, "apiGroups", single["apiGroups"]):
        return False
    _, slash, sub = single["resources"].partition("/")
    if not (
        _has(rule, "resources", single["resources"])
        or (slash and f"*/{sub}" in (rule.get("resources") or ()))
    ):
        return False
    names = rule.get("resourceNames") or ()
    return not names or single.get("resourceNames") in names


def _has(rule: Manifest, key: str, wanted: str) -> bool:
    values = rule.get(key) or ()
    return wanted in values or "*" in values


def _text(rule: Manifest) -> str:
    """A rule as Go prints it: ``{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}``."""
    parts = [f"{word}:[{' '.join(_quoted(rule[key]))}]" for word, key in _PARTS if rule.get(key)]
    return "{" + ", ".join(parts) + "}"


def _quoted(values: list[str]) -> list[str]:
    return [f'"{value}"' for value in values]
