"""What Istio's webhook refuses in an AuthorizationPolicy and a PeerAuthentication, in its words."""

from __future__ import annotations

import re
from typing import Any, Final

from meshverdict.mesh.rulebook import Complaints, Spec
from meshverdict.model.digits import is_port, network

_SOURCES: Final = (
    "principals",
    "requestPrincipals",
    "namespaces",
    "serviceAccounts",
    "ipBlocks",
    "remoteIpBlocks",
)
_OPERATIONS: Final = ("ports", "methods", "paths", "hosts")
_KEYS: Final = frozenset(
    [
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.principal",
        "source.serviceAccount",
        "destination.ip",
        "destination.port",
        "connection.sni",
    ]
)
_PREFIXES: Final = ("request.headers[", "request.auth.", "experimental.")
_TEMPLATES: Final = ("{*}", "{**}")
_ADVICE: Final = "add an empty rule `{}` if you want it be triggered for every request"


def _both(word: str) -> tuple[str, str]:
    return word, f"not{word[0].upper()}{word[1:]}"


def _title(word: str) -> str:
    return word[0].upper() + word[1:]


def authorization_policy(spec: Spec, namespace: str) -> Complaints:
    """Complaints about an AuthorizationPolicy."""
    del namespace
    found = Complaints()
    _selector(spec, found)
    action, rules = spec.get("action") or "ALLOW", spec.get("rules")
    if action in {"CUSTOM", "DENY"} and rules is None:
        found.wrong(
            f"{action} action without `rules` is meaningless as it will never be triggered, {_ADVICE}"
        )
    if action == "CUSTOM" and rules is not None and not (spec.get("provider") or {}).get("name"):
        found.wrong("`provider.name` must not be empty")
    if spec.get("provider") is not None and action != "CUSTOM":
        found.wrong(f"`provider` must not be with non CUSTOM action, found {action}")
    for number, rule in enumerate(rules or ()):
        if rule is None:
            found.wrong(f"`rule` must not be nil, found at rule {number}")
            continue
        _from(rule, number, found)
        _to(rule, number, found)
        for condition in rule.get("when") or ():
            _condition(condition, found)
        if action == "DENY" and _denies_tcp(rule):
            found.odd(
                "configured AuthorizationPolicy will deny all traffic to TCP ports under its scope due to the use of "
                "only HTTP attributes in a DENY rule; it is recommended to explicitly specify the port"
            )
    return found


def _selector(spec: Spec, found: Complaints) -> None:
    if "selector" in spec:
        labels = (spec["selector"] or {}).get("matchLabels") or {}
        found.selector(labels)
        if not labels:
            found.odd("workload selector specified without labels")


def _from(rule: Spec, number: int, found: Complaints) -> None:
    if rule.get("from") == []:
        found.wrong(f"`from` must not be empty, found at rule {number}")
    for item in rule.get("from") or ():
        source = (item or {}).get("source")
        if source is None:
            found.wrong(f"`from.source` must not be nil, found at rule {number}")
            continue
        names = [name for word in _SOURCES for name in _both(word)]
        if not any(source.get(name) for name in names):
            found.wrong(f"`from.source` must not be empty, found at rule {number}")
        for name in names:
            _no_empty_values(_title(name), source.get(name) or (), found)
        for word in ("ipBlocks", "remoteIpBlocks"):
            for name in _both(word):
                for value in source.get(name) or ():
                    _network(value, found)


def accounts_and_namespaces(spec: Spec) -> int | None:
    """The rule that has service accounts beside namespaces or principals, which Istio's CRD refuses; None without."""
    for number, rule in enumerate(spec.get("rules") or ()):
        for item in (rule or {}).get("from") or ():
            source = (item or {}).get("source") or {}
            accounts = any(source.get(name) for name in _both("serviceAccounts"))
            others = any(source.get(n) for word in ("namespaces", "principals") for n in _both(word))
            if accounts and others:
                return number
    return None


def _to(rule: Spec, number: int, found: Complaints) -> None:
    if rule.get("to") == []:
        found.wrong(f"`to` must not be empty, found at rule {number}")
    for item in rule.get("to") or ():
        operation = (item or {}).get("operation")
        if operation is None:
            found.wrong(f"`to.operation` must not be nil, found at rule {number}")
            continue
        names = [name for word in _OPERATIONS for name in _both(word)]
        if not any(operation.get(name) for name in names):
            found.wrong(f"`to.operation` must not be empty, found at rule {number}")
        for name in names:
            _no_empty_values(_title(name), operation.get(name) or (), found)
        for name in _both("ports"):
            for value in operation.get(name) or ():
                if not is_port(str(value)):
                    found.wrong(f"invalid port {value}, must be in the range 1..65535")
        for name in _both("paths"):
            for value in operation.get(name) or ():
                _path(_title(name), value, found)


def _no_empty_values(name: str, values: Any, found: Complaints) -> None:
    if any(value == "" for value in values):
        found.wrong(f"`{name}` must not contain an empty value")


def _network(value: str, found: Complaints) -> None:
    problem = _bad_network(value)
    if problem:
        found.wrong(problem)


def _bad_network(value: str) -> str:
    """What is wrong with an address or a network; empty when it is one of IPv4."""
    written = network(value)
    if written is None:
        return f"bad CIDR range {value}" if "/" in value else f"invalid IP address {value}"
    return "" if written.version == 4 else f"{value}: the embedded lab has IPv4 only"


def _path(name: str, value: str, found: Complaints) -> None:
    if "{" not in value and "}" not in value:
        return
    places = value.split("/")
    odd = [place for place in places if ("{" in place or "}" in place) and place not in _TEMPLATES]
    if odd or "*" in value.replace("{**}", "").replace("{*}", ""):
        found.wrong(
            f"invalid or unsupported path {value}, found in {name}. Contains '{{' or '}}' beyond a supported path template"
        )
    if places.count("{**}") > 1:
        found.wrong(f"invalid or unsupported path {value}, found in {name}. Only one {{**}} is allowed")


def _condition(condition: Spec, found: Complaints) -> None:
    key = condition.get("key") or ""
    if not key:
        return found.wrong("`key` must not be empty")
    values, others = condition.get("values") or (), condition.get("notValues") or ()
    if not values and not others:
        return found.wrong(f"at least one of `values` or `notValues` must be set for key {key}")
    if key not in _KEYS and not key.startswith(_PREFIXES):
        return found.wrong(f"invalid `value` for `key` {key}: unknown attribute: {key}")
    for kind, given in (("value", values), ("notValue", others)):
        for value in given:
            problem = _bad_value(key, value)
            if problem:
                found.wrong(f"invalid `{kind}` for `key` {key}: {problem}")
    return None


def _bad_value(key: str, value: str) -> str:
    if value == "":
        return "empty value not allowed"
    if key in {"source.ip", "remote.ip", "destination.ip"}:
        return _bad_network(value)
    if key == "destination.port" and not is_port(value):
        return f"invalid port {value}"
    if key.startswith("request.headers[") and not re.fullmatch(r"request\.headers\[[^\]]+]", key):
        return f"bad key {key}: should have format a[b]"
    return ""


def _denies_tcp(rule: Spec) -> bool:
    sources = [(item or {}).get("source") or {} for item in rule.get("from") or ()]
    operations = [(item or {}).get("operation") or {} for item in rule.get("to") or ()]
    known = [w for w in _SOURCES if w != "requestPrincipals"]
    tcp_from = any(name in source for source in sources for word in known for name in _both(word))
    tcp_to = any(name in operation for operation in operations for name in _both("ports"))
    return bool((sources and not operations and not tcp_from) or (operations and not tcp_to))


def peer_authentication(spec: Spec, namespace: str) -> Complaints:
    """Complaints about a PeerAuthentication."""
    del namespace
    found = Complaints()
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    ports = spec.get("portLevelMtls")
    if not labels and ports:
        found.wrong("mesh/namespace peer authentication cannot have port level mTLS")
    if ports is not None and not ports:
        found.wrong("port level mTLS, if defined, must have at least one element")
    if not all(is_port(str(port)) for port in ports or ()):
        found.wrong("port must be in range 1..65535")
    _selector(spec, found)
    return found
