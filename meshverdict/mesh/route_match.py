"""A VirtualService's match as Envoy's, and whether it can hold for a client at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshverdict.mesh.envoy import Json
from meshverdict.mesh.values import Workload

Match = Mapping[str, Any]


def holds_for(match: Match, proxy: Workload, port: int) -> bool:
    """Whether the parts that are known in advance hold: the port, and who the client is."""
    labels: Mapping[str, str] = match.get("sourceLabels") or {}
    return bool(
        match.get("port") in {None, port}
        and match.get("sourceNamespace") in {None, "", proxy.namespace}
        and all(proxy.labels.get(key) == value for key, value in labels.items())
        and "mesh" in (match.get("gateways") or ["mesh"])
    )


def route_match(match: Match | None) -> Json:
    """What of the match is left for Envoy."""
    if match is None:
        return {"prefix": "/"}
    found = _path(match.get("uri") or {}) | {"case_sensitive": not match.get("ignoreUriCase", False)}
    headers = [_header(name, rule) for name, rule in sorted((match.get("headers") or {}).items())]
    headers += [_without(name, rule) for name, rule in sorted((match.get("withoutHeaders") or {}).items())]
    for field, header in (("method", ":method"), ("authority", ":authority"), ("scheme", ":scheme")):
        if match.get(field):
            headers.append(_header(header, match[field]))
    if headers:
        found["headers"] = headers
    parameters = [_parameter(n, rule) for n, rule in sorted((match.get("queryParams") or {}).items())]
    if parameters:
        found["query_parameters"] = parameters
    return found


def takes_everything(found: Json) -> bool:
    """Whether no route after this one can be reached."""
    anywhere = found.get("prefix") == "/" or (found.get("safe_regex") or {}).get("regex") == ".*"
    return anywhere and not found.get("headers") and not found.get("query_parameters")


def string_match(rule: Match) -> Json:
    """``exact``, ``prefix`` or ``regex`` as Envoy's string matcher."""
    if "regex" in rule:
        return {"safe_regex": {"regex": rule["regex"]}}
    return {"exact": rule["exact"]} if "exact" in rule else {"prefix": rule["prefix"]}


def _path(rule: Match) -> Json:
    if "exact" in rule:
        return {"path": rule["exact"]}
    if "regex" in rule:
        return {"safe_regex": {"regex": rule["regex"]}}
    return {"prefix": rule.get("prefix") or "/"}


def _header(name: str, rule: Match) -> Json:
    if not rule:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_match(rule)}


def _without(name: str, rule: Match) -> Json:
    found = _header(name, rule) | {"invert_match": True}
    # A header that is not there is without the value, too.
    return found | ({"treat_missing_header_as_empty": True} if rule else {})


def _parameter(name: str, rule: Match) -> Json:
    if not rule:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": string_match(rule)}
