"""What a VirtualService's route does with a request: destinations, rewrites, faults, headers, mirrors, redirects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshverdict.mesh import durations, retries
from meshverdict.mesh.envoy import Json, percent, typed
from meshverdict.mesh.route_match import string_match
from meshverdict.mesh.values import RetryVariant

Rule = Mapping[str, Any]

GRPC_STATUS: Final = {
    name: number
    for number, name in enumerate(
        [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ]
    )
}
REDIRECTS: Final = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Surroundings:
    """What a route's translation needs besides the rule.

    Args:
        port: Port of the listener.
        cluster: Destination of a rule -> name of the cluster.
        hashing: Destination of a rule -> hash policy of the cluster.
        variant: Istio version of the default retries.
    """

    port: int
    cluster: Callable[[Rule], str]
    hashing: Callable[[Rule], list[Json]]
    variant: RetryVariant


def action(rule: Rule, around: Surroundings) -> Json:
    """The fields of an Envoy route that carry the rule out, except its match."""
    if "redirect" in rule:
        return {"redirect": _redirect(rule["redirect"], around.port)} | _headers(rule.get("headers") or {})
    if "directResponse" in rule:
        return {"direct_response": _direct(rule["directResponse"])} | _headers(rule.get("headers") or {})
    found = _headers(rule.get("headers") or {})
    found["route"] = _route(rule, around, found)
    filters = _per_filter(rule)
    if filters:
        found["typed_per_filter_config"] = filters
    return found


def _route(rule: Rule, around: Surroundings, route: Json) -> Json:
    timeout = durations.envoy(rule.get("timeout") or "0s")
    # Istio writes max_grpc_timeout too, which is deprecated and about gRPC alone; max_stream_duration, its successor,
    # would switch the timeout itself off.
    found: Json = {"timeout": timeout}
    policy = retries.of_route(rule.get("retries"), around.variant)
    if policy is not None:
        found["retry_policy"] = policy
    rewrite = rule.get("rewrite") or {}
    found |= _rewrite(rewrite)
    authority = _authority(rule.get("headers") or {}) or rewrite.get("authority")
    destinations = [d for d in rule["route"] if len(rule["route"]) == 1 or d.get("weight")]
    if len(destinations) == 1:
        found["cluster"] = around.cluster(destinations[0]["destination"])
        own = destinations[0].get("headers") or {}
        for key, values in _headers(own).items():
            route[key] = [*route.get(key, ()), *values]
        authority = authority or _authority(own)
    else:
        clusters = [_weighted(d, around, rewritten=bool(authority)) for d in destinations]
        found["weighted_clusters"] = {"clusters": clusters}
    if authority:
        found["host_rewrite_literal"] = authority
    hashing: list[Json] = []
    for destination in destinations:
        hashing += [h for h in around.hashing(destination["destination"]) if h not in hashing]
    if hashing:
        found["hash_policy"] = hashing
    mirrors = _mirrors(rule, around)
    if mirrors:
        found["request_mirror_policies"] = mirrors
    return found


def _weighted(destination: Rule, around: Surroundings, *, rewritten: bool) -> Json:
    headers = destination.get("headers") or {}
    found = {"name": around.cluster(destination["destination"]), "weight": destination["weight"]}
    authority = _authority(headers)
    if authority and not rewritten:  # the route's own word counts
        found["host_rewrite_literal"] = authority
    return found | _headers(headers)


def _rewrite(rule: Rule) -> Json:
    if "uri" in rule:
        return {"prefix_rewrite": rule["uri"]}
    if "uriRegexRewrite" in rule:
        regex = rule["uriRegexRewrite"]
        return {
            "regex_rewrite": {"pattern": {"regex": regex["match"]}, "substitution": regex.get("rewrite", "")}
        }
    return {}


def _is_authority(name: str) -> bool:
    return name.lower() in {"host", ":authority"}


def _authority(headers: Rule) -> str | None:
    written = (headers.get("request") or {}).get("set") or {}
    return next((value for name, value in written.items() if _is_authority(name)), None)


def _headers(headers: Rule) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for side in ("request", "response"):
        rule = headers.get(side) or {}
        added = [
            _added(name, value, "OVERWRITE_IF_EXISTS_OR_ADD")
            for name, value in (rule.get("set") or {}).items()
        ]
        added += [
            _added(name, value, "APPEND_IF_EXISTS_OR_ADD") for name, value in (rule.get("add") or {}).items()
        ]
        kept = [
            header for header in added if not (side == "request" and _is_authority(header["header"]["key"]))
        ]
        if kept:
            found[f"{side}_headers_to_add"] = kept
        if rule.get("remove"):
            found[f"{side}_headers_to_remove"] = list(rule["remove"])
    return found


def _added(name: str, value: str, how: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": how}


def _mirrors(rule: Rule, around: Surroundings) -> list[Json]:
    wanted = [(m["destination"], m.get("percentage")) for m in rule.get("mirrors") or ()]
    if "mirror" in rule:
        share = rule.get("mirrorPercentage")
        old = rule.get("mirrorPercent", rule.get("mirror_percent"))
        wanted.append((rule["mirror"], share if share is not None or old is None else {"value": old}))
    found = []
    for destination, share in wanted:
        value = 100 if share is None else share.get("value", 0)
        if value > 0:
            fraction = {"default_value": percent(value)}
            found.append({"cluster": around.cluster(destination), "runtime_fraction": fraction})
    return found


def _redirect(rule: Rule, port: int) -> Json:
    found: Json = {}
    if rule.get("authority"):
        found["host_redirect"] = rule["authority"]
    if rule.get("uri"):
        found["path_redirect"] = rule["uri"]
    scheme = rule.get("scheme")
    if scheme:
        found["scheme_redirect"] = scheme
    if rule.get("port"):
        found["port_redirect"] = rule["port"]
    elif rule.get("derivePort") == "FROM_REQUEST_PORT" and _DEFAULT_PORTS[scheme or "http"] != port:
        # The scheme's own port is left to the Host header, which may or may not name it.
        found["port_redirect"] = port
    if (rule.get("redirectCode") or 301) != 301:
        found["response_code"] = REDIRECTS[rule["redirectCode"]]
    return found


def _direct(rule: Rule) -> Json:
    body = (rule.get("body") or {}).get("string")
    return {"status": rule["status"]} | ({"body": {"inline_string": body}} if body is not None else {})


def _per_filter(rule: Rule) -> Json:
    found: Json = {}
    if "fault" in rule:
        message = "envoy.extensions.filters.http.fault.v3.HTTPFault"
        found["envoy.filters.http.fault"] = typed(message, **_fault(rule["fault"]))
    if "corsPolicy" in rule:
        message = "envoy.extensions.filters.http.cors.v3.CorsPolicy"
        found["envoy.filters.http.cors"] = typed(message, **_cors(rule["corsPolicy"]))
    return found


def _fault(rule: Rule) -> Json:
    found: Json = {}
    if "delay" in rule:
        found["delay"] = {"fixed_delay": durations.envoy(rule["delay"]["fixedDelay"])} | _share(rule["delay"])
    if "abort" in rule:
        abort = rule["abort"]
        status = (
            {"grpc_status": GRPC_STATUS[abort["grpcStatus"]]}
            if "grpcStatus" in abort
            else {"http_status": abort["httpStatus"]}
        )
        found["abort"] = status | _share(abort)
    return found


def _share(rule: Rule) -> Json:
    """Without a percentage a fault never happens: Istio's behaviour, and Envoy's for an empty fraction."""
    return {"percentage": percent(rule["percentage"].get("value", 0))} if "percentage" in rule else {}


def _cors(rule: Rule) -> Json:
    found: Json = {
        "filter_enabled": {"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
        "allow_origin_string_match": [string_match(o) for o in rule.get("allowOrigins") or ()],
    }
    for field, name in (
        ("allowMethods", "allow_methods"),
        ("allowHeaders", "allow_headers"),
        ("exposeHeaders", "expose_headers"),
    ):
        if rule.get(field):
            found[name] = ",".join(rule[field])
    if "maxAge" in rule:
        found["max_age"] = str(int(durations.seconds(rule["maxAge"])))
    if "allowCredentials" in rule:
        found["allow_credentials"] = rule["allowCredentials"]
    return found
