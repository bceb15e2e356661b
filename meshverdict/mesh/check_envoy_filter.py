"""What Istio's webhook refuses in an EnvoyFilter, in its words; and what the lab cannot patch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from meshverdict.mesh.envoy import CONNECTION_MANAGER, TYPE_URL
from meshverdict.mesh.rulebook import Complaints, Spec
from meshverdict.model.errors import UnsupportedError

_LISTENERS: Final = frozenset(
    {"LISTENER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "LISTENER_FILTER"}
)
_ROUTES: Final = frozenset({"ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"})
_MATCHES: Final = ("listener", "routeConfiguration", "cluster")
# Packages of the messages that an Envoy knows; whether it has the very message is for Envoy to say.
_PACKAGES: Final = ("envoy.", "udpa.", "xds.", "google.protobuf.")
_WARNING: Final = (
    "EnvoyFilter exposes internal implementation details that may change at any time. Prefer other APIs if possible, "
    "and exercise extreme caution, especially around upgrades."
)

_LIST: Final = frozenset(
    {"MERGE", "ADD", "REMOVE", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST", "REPLACE"}
)
_WHOLE: Final = frozenset({"MERGE", "ADD", "REMOVE"})
ENFORCED: Final[Mapping[str, frozenset[str]]] = {
    "LISTENER": _WHOLE,
    "NETWORK_FILTER": _LIST,
    "HTTP_FILTER": _LIST,
    "ROUTE_CONFIGURATION": frozenset({"MERGE"}),
    "VIRTUAL_HOST": _WHOLE,
    "HTTP_ROUTE": _LIST - {"REPLACE"},
    "CLUSTER": _WHOLE,
}


def envoy_filter(spec: Spec, namespace: str) -> Complaints:
    """Complaints about an EnvoyFilter."""
    del namespace
    found = Complaints()
    found.odd(_WARNING)
    if "workloadSelector" in spec:
        labels = (spec["workloadSelector"] or {}).get("labels") or {}
        found.selector(labels)
        if not labels:
            found.odd(
                "Envoy filter: workload selector specified without labels, will be applied to all services in namespace"
            )
    for patch in spec.get("configPatches") or ():
        problem = _patch(patch or {})
        if problem:
            found.wrong(f"Envoy filter: {problem}")
    return found


def _patch(rule: Spec) -> str:
    if rule.get("applyTo") in {None, "", "INVALID"}:
        return "missing applyTo"
    patch = rule.get("patch")
    if patch is None:
        return "missing patch"
    operation = patch.get("operation")
    if operation in {None, "", "INVALID"}:
        return "missing patch operation"
    if operation != "REMOVE" and patch.get("value") is None:
        return "missing patch value for non-remove operation"
    if patch.get("value") is not None and not isinstance(patch["value"], Mapping):
        return f"patch value must be of type object, found {type(patch['value']).__name__}"
    return _mismatch(rule["applyTo"], rule.get("match") or {}) or _unknown_type(patch.get("value"))


def _mismatch(apply_to: str, match: Spec) -> str:
    given = [name for name in _MATCHES if name in match]
    if apply_to in _LISTENERS:
        if given and given != ["listener"]:
            return "applyTo for listener class objects cannot have non listener match"
        return _filter_match(apply_to, ((match.get("listener") or {}).get("filterChain") or {}).get("filter"))
    if apply_to in _ROUTES and given and given != ["routeConfiguration"]:
        return "applyTo for http route class objects cannot have non route configuration match"
    if apply_to == "CLUSTER" and given and given != ["cluster"]:
        return "applyTo for cluster class objects cannot have non cluster match"
    return ""


def _filter_match(apply_to: str, wanted: Any) -> str:
    if wanted is None:
        return ""
    if not wanted.get("name"):
        return "filter match has no name to match on"
    sub = wanted.get("subFilter")
    if sub is None:
        return ""
    if apply_to != "HTTP_FILTER":
        return "subfilter match can be used with applyTo HTTP_FILTER only"
    if wanted["name"] != CONNECTION_MANAGER:
        return f"subfilter match requires filter match with {CONNECTION_MANAGER}"
    return "" if sub.get("name") else "subfilter match has no name to match on"


def _unknown_type(value: Any) -> str:
    for url in _type_urls(value):
        message = url.removeprefix(TYPE_URL)
        if not message.startswith(_PACKAGES):
            return f"referenced type unknown: could not resolve Any message type: {url}"
        if message.startswith("envoy.") and (".v2." in message or ".v2alpha" in message):
            return f"referenced type unknown (hint: try using the v3 XDS API): could not resolve Any message type: {url}"
    return ""


def _type_urls(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key in ("@type", "type_url", "typeUrl"):
            if isinstance(value.get(key), str):
                yield value[key]
        for item in value.values():
            yield from _type_urls(item)
    elif isinstance(value, list):
        for item in value:
            yield from _type_urls(item)


def supported(spec: Spec) -> None:
    """Refuse patches that the lab does not apply.

    Raises:
        UnsupportedError: Names the patch.
    """
    for number, rule in enumerate(spec.get("configPatches") or ()):
        apply_to, operation = rule.get("applyTo"), (rule.get("patch") or {}).get("operation")
        path = f"spec.configPatches[{number}]"
        if apply_to not in ENFORCED:
            raise UnsupportedError(
                f"{path}.applyTo", f"{apply_to} cannot be patched here; these can: {', '.join(ENFORCED)}"
            )
        if operation not in ENFORCED[apply_to]:
            known = ", ".join(sorted(ENFORCED[apply_to]))
            raise UnsupportedError(
                f"{path}.patch.operation", f"{operation} is not done to a {apply_to}; these are: {known}"
            )
        new = operation not in {"MERGE", "REMOVE"} and apply_to != "HTTP_ROUTE"
        name = ((rule.get("patch") or {}).get("value") or {}).get("name")
        if new and (not name or not isinstance(name, str)):
            raise UnsupportedError(
                f"{path}.patch.value.name", f"a new {apply_to} needs a name: Envoy refuses it without"
            )
