"""AuthorizationPolicies as Envoy's RBAC filters: first all that deny, then all that allow.

An identity (principals, namespaces, service accounts) is the client's certificate: without mutual TLS there is none, so
a rule that asks for one never holds. `meshverdict.mesh.admission.check_identities` refuses such rules where mTLS is off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from meshverdict.mesh.envoy import Json, extension, http_filter, network_filter
from meshverdict.mesh.lookup import for_workload
from meshverdict.mesh.translation_error import naming
from meshverdict.mesh.values import Mesh, Resource, Workload

Rule = Mapping[str, Any]

HTTP_OPERATIONS: Final = frozenset({"hosts", "methods", "paths"})
_ANY: Final[Json] = {"any": True}
_HEADER_KEY: Final = re.compile(r"request\.headers\[(?P<name>.+)]")
_TEMPLATE: Final = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"


def filters(mesh: Mesh, proxy: Workload, *, http: bool) -> list[Json]:
    """The RBAC filters of a sidecar's inbound chains, in order; none where no policy selects the workload."""
    found = []
    policies = list(for_workload(mesh, "AuthorizationPolicy", proxy))
    for action in ("DENY", "ALLOW"):
        chosen = [p for p in policies if (p.spec.get("action") or "ALLOW") == action]
        if chosen:
            rules = {"action": action, "policies": _policies(chosen, action, http=http)}
            found.append(
                http_filter("rbac", "RBAC", rules=rules)
                if http
                else network_filter("rbac", "RBAC", rules=rules, stat_prefix="tcp.")
            )
    return found


def _policies(policies: Iterable[Resource], action: str, *, http: bool) -> Json:
    found: Json = {}
    for policy in policies:
        name = f"ns[{policy.namespace}]-policy[{policy.name}]-rule"
        written = policy.spec.get("rules")
        if not written:
            # ALLOW without rules: nothing is allowed, and Envoy wants a policy to say so.
            found[f"{name}[0]"] = {"permissions": [{"not_rule": _ANY}], "principals": [{"not_id": _ANY}]}
        for i, rule in enumerate(written or ()):
            with naming(f"AuthorizationPolicy {policy.namespace}/{policy.name}: spec.rules[{i}]"):
                compiled = _compiled(rule or {}, action, http=http)
            if compiled is not None:
                found[f"{name}[{i}]"] = compiled
    return found


def _compiled(rule: Rule, action: str, *, http: bool) -> Json | None:
    """One rule; None where it is about requests and can never hold for a connection."""
    operations = [o.get("operation") or {} for o in rule.get("to") or ()] or [{}]
    sources = [s.get("source") or {} for s in rule.get("from") or ()] or [{}]
    conditions = rule.get("when") or ()
    if not http:
        asks = any(_asks_http(o) for o in operations) or any(_is_request(c["key"]) for c in conditions)
        if asks and action == "ALLOW":
            operations = [o for o in operations if not _asks_http(o)]
            if not operations or any(_is_request(c["key"]) for c in conditions):
                return None
        # DENY: what cannot be seen in a connection counts as if it were there.
        conditions = [c for c in conditions if not _is_request(c["key"])]
    permissions = [_permission(o, conditions, http=http) for o in operations]
    return {"permissions": permissions, "principals": [_principal(s, conditions) for s in sources]}


def _asks_http(operation: Rule) -> bool:
    return any(field in operation or f"not{field.capitalize()}" in operation for field in HTTP_OPERATIONS)


def _is_request(key: str) -> bool:
    return key.startswith("request.")


def _negated(field: str) -> str:
    return f"not{field[0].upper()}{field[1:]}"


def _permission(operation: Rule, conditions: Iterable[Rule], *, http: bool) -> Json:
    makers: list[tuple[str, Callable[[str], Json]]] = [
        ("hosts", lambda v: {"header": _header(":authority", v, ignore_case=True)}),
        ("methods", lambda v: {"header": _header(":method", v)}),
        ("paths", _path),
        ("ports", lambda v: {"destination_port": int(v)}),
    ]
    parts: list[Json] = []
    for field, make in makers:
        if not http and field in HTTP_OPERATIONS:
            continue
        parts += _both(operation.get(field), operation.get(_negated(field)), make, "rule")
    for condition in conditions:
        destination = _destination(condition["key"])
        if destination is not None:
            parts += _both(condition.get("values"), condition.get("notValues"), destination, "rule")
    return {"and_rules": {"rules": parts or [_ANY]}}


def _principal(source: Rule, conditions: Iterable[Rule]) -> Json:
    makers: list[tuple[str, Callable[[str], Json]]] = [
        ("principals", _identity),
        ("namespaces", _in_namespace),
        ("serviceAccounts", _account),
        ("ipBlocks", lambda v: {"direct_remote_ip": _network(v)}),
        ("remoteIpBlocks", lambda v: {"remote_ip": _network(v)}),
    ]
    parts: list[Json] = []
    for field, make in makers:
        parts += _both(source.get(field), source.get(_negated(field)), make, "id")
    for condition in conditions:
        origin = _origin(condition["key"])
        if origin is not None:
            parts += _both(condition.get("values"), condition.get("notValues"), origin, "id")
    return {"and_ids": {"ids": parts or [_ANY]}}


def _both(
    wanted: Sequence[str] | None, unwanted: Sequence[str] | None, make: Callable[[str], Json], kind: str
) -> list[Json]:
    found: list[Json] = []
    if wanted:
        found.append({f"or_{kind}s": {f"{kind}s": [make(value) for value in wanted]}})
    if unwanted:
        found.append({f"not_{kind}": {f"or_{kind}s": {f"{kind}s": [make(value) for value in unwanted]}}})
    return found


def _destination(key: str) -> Callable[[str], Json] | None:
    if key == "destination.ip":
        return lambda v: {"destination_ip": _network(v)}
    if key == "destination.port":
        return lambda v: {"destination_port": int(v)}
    if key == "connection.sni":
        return lambda v: {"requested_server_name": _string(v)}
    return None


def _origin(key: str) -> Callable[[str], Json] | None:
    header = _HEADER_KEY.fullmatch(key)
    if header:
        name = header["name"]
        return lambda v: {"header": _header(name, v)}
    plain: dict[str, Callable[[str], Json]] = {
        "source.ip": lambda v: {"direct_remote_ip": _network(v)},
        "remote.ip": lambda v: {"remote_ip": _network(v)},
        "source.namespace": _in_namespace,
        "source.principal": _identity,
        "source.serviceAccount": _account,
    }
    return plain.get(key)


def _string(value: str, *, ignore_case: bool = False) -> Json:
    """Istio's values: ``*``, ``prefix*``, ``*suffix`` or exactly."""
    if value == "*":
        return {"safe_regex": {"regex": ".+"}}
    found: Json
    if value.startswith("*"):
        found = {"suffix": value[1:]}
    elif value.endswith("*"):
        found = {"prefix": value[:-1]}
    else:
        found = {"exact": value}
    return found | ({"ignore_case": True} if ignore_case else {})


def _header(name: str, value: str, *, ignore_case: bool = False) -> Json:
    if value == "*":
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _string(value, ignore_case=ignore_case)}


def _path(value: str) -> Json:
    if "{*}" in value or "{**}" in value:
        template = value.replace("{**}", "**").replace("{*}", "*")
        return {"uri_template": extension("uri-template", _TEMPLATE, path_template=template)}
    return {"url_path": {"path": _string(value)}}


def _network(value: str) -> Json:
    prefix, _, length = value.partition("/")
    return {"address_prefix": prefix, "prefix_len": int(length or 32)}


def _authenticated(matcher: Json) -> Json:
    return {"authenticated": {"principal_name": matcher}}


def _identity(value: str) -> Json:
    """A principal is the SPIFFE identity without its scheme."""
    matcher = _string(value)
    for how in ("exact", "prefix"):
        if how in matcher:
            return _authenticated({how: f"spiffe://{matcher[how]}"})
    return _authenticated(matcher)


def _in_namespace(value: str) -> Json:
    pattern = re.escape(value).replace(r"\*", ".*").replace(r"\-", "-")
    return _authenticated({"safe_regex": {"regex": f".*/ns/{pattern}/.*"}})


def _account(value: str) -> Json:
    namespace, _, account = value.rpartition("/")
    if namespace:
        pattern = f".*/ns/{re.escape(namespace)}/sa/{re.escape(account)}"
    else:
        pattern = f".*/sa/{re.escape(account)}"
    return _authenticated({"safe_regex": {"regex": pattern.replace(r"\-", "-")}})
