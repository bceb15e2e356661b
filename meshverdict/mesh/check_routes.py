"""What Istio's webhook refuses in a VirtualService, in its words: people search for them."""

from __future__ import annotations

import http
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from meshverdict.mesh.check_texts import direct_body, header_name, header_operations, one_line, query_names
from meshverdict.mesh.names import host_matches
from meshverdict.mesh.route_action import GRPC_STATUS
from meshverdict.mesh.rulebook import LABEL, Complaints, Spec
from meshverdict.model.digits import small_number

_RETRY_ON: Final = frozenset(
    [
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    ]
)
_STATUSES: Final = frozenset(status.value for status in http.HTTPStatus)
_UINT32: Final = 2**32 - 1
_CORS_METHODS: Final = frozenset(
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"]
)


def virtual_service(spec: Spec, namespace: str) -> Complaints:
    """Complaints about a VirtualService."""
    found = Complaints()
    _hosts(spec, found)
    if not (spec.get("http") or spec.get("tcp") or spec.get("tls")):
        found.wrong("http, tcp or tls must be provided in virtual service")
    for route in spec.get("http") or ():
        _http(route or {}, found)
    for route in spec.get("tcp") or ():
        for match in route.get("match") or ():
            if match.get("port"):
                found.port(match["port"])
        if not route.get("route"):
            found.wrong("TCP route is required")
        _destinations(route.get("route") or (), found)
    found.export_to(list(spec.get("exportTo") or ()), namespace)
    _unused(spec.get("http") or (), found)
    return found


def _hosts(spec: Spec, found: Complaints) -> None:
    hosts = list(spec.get("hosts") or ())
    if not hosts:
        found.wrong("virtual service must have at least one host")
    before = len(found.errors)
    for host in hosts:
        if host == "*":
            found.wrong("wildcard host * is not allowed for virtual services bound to the mesh gateway")
        else:
            found.domain(host)
    if len(found.errors) > before:
        return
    for one, other in _overlapping(hosts):
        found.wrong(f"duplicate hosts in virtual service: {one} & {other}")


def _overlapping(hosts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of hosts of which one takes the other, as written first and later; hundreds of exact ones cost little."""
    seen: set[str] = set()
    wildcards: list[tuple[int, str]] = [(i, host) for i, host in enumerate(hosts) if host.startswith("*")]
    for place, host in enumerate(hosts):
        if host in seen:
            yield host, host
        seen.add(host)
        for other, wildcard in wildcards:
            if wildcard != host and host_matches(wildcard, host):
                yield (wildcard, host) if other < place else (host, wildcard)


def _http(route: Spec, found: Complaints) -> None:
    _conflicts(route, found)
    for match in route.get("match") or ():
        _match(match or {}, found)
    _headers(route.get("headers") or {}, found)
    if "corsPolicy" in route:
        _cors(route["corsPolicy"], found)
    if "fault" in route:
        _fault(route["fault"] or {}, found)
    _mirror(route, found)
    if "redirect" in route:
        _redirect(route["redirect"] or {}, found)
    if "directResponse" in route:
        _status(route["directResponse"].get("status"), found)
        direct_body(route["directResponse"], found)
    if "retries" in route:
        _retries(route["retries"] or {}, found)
    if "rewrite" in route:
        _rewrite(route["rewrite"] or {}, found)
    _one_authority(route, found)
    _destinations(route.get("route") or (), found)


def _conflicts(route: Spec, found: Complaints) -> None:
    kinds = [("redirect", "redirect"), ("directResponse", "direct_response")]
    for field, name in kinds:
        if field not in route:
            continue
        if route.get("route"):
            found.wrong(f"HTTP route cannot contain both route and {name}")
        if "fault" in route:
            found.wrong(f"HTTP route cannot contain both fault and {name}")
        if "rewrite" in route:
            found.wrong(f"HTTP route rule cannot contain both rewrite and {name}")
    if all(field in route for field, _ in kinds):
        found.wrong("HTTP route cannot contain both direct_response and redirect")
    if "delegate" not in route and not any(field in route for field, _ in kinds) and not route.get("route"):
        found.wrong("HTTP route, redirect or direct_response is required")


def _match(match: Spec, found: Complaints) -> None:
    for field in ("headers", "withoutHeaders"):
        for name in match.get(field) or {}:
            header_name(name, f"{field}: name", found)
    query_names(match, found)
    for name, rule in (match.get("headers") or {}).items():
        if rule is None:
            found.wrong(f"header match {name} cannot be null")
        if not name:
            found.wrong("header name cannot be empty")
        found.match(rule, "headers")
    for name, rule in (match.get("withoutHeaders") or {}).items():
        if not name:
            found.wrong("header name cannot be empty")
        found.match(rule, "withoutHeaders")
    for field in ("uri", "scheme", "method", "authority"):
        found.match(match.get(field), field)
    for rule in (match.get("queryParams") or {}).values():
        found.match(rule, "queryParams")
    if match.get("port"):
        found.port(match["port"])
    namespace = match.get("sourceNamespace")
    if namespace and not LABEL.fullmatch(namespace):
        found.wrong(f"sourceNamespace match {namespace} is invalid")


def _headers(headers: Spec, found: Complaints) -> None:
    header_operations(headers, found)
    for side in ("request", "response"):
        rule = headers.get(side) or {}
        names = [*(rule.get("set") or {}), *(rule.get("add") or {}), *(rule.get("remove") or ())]
        for name in names:
            authority = (
                side == "request"
                and name.lower() in {":authority", "host"}
                and name not in (rule.get("remove") or ())
            )
            if not name:
                found.wrong("header name cannot be empty")
            elif (name.startswith(":") or name.lower() == "host") and not authority:
                found.wrong(f'invalid header "{name}": header cannot have ":" prefix or be Host')


def _cors(policy: Spec, found: Complaints) -> None:
    for origin in policy.get("allowOrigins") or ():
        if not any((origin or {}).get(kind) for kind in ("exact", "prefix", "regex")):
            found.wrong("'' is not a valid match type for CORS allow origins")
        else:
            found.match(origin, "corsPolicy.allowOrigins")
    for method in policy.get("allowMethods") or ():
        if method not in _CORS_METHODS:
            found.wrong(f'"{method}" is not a supported HTTP method')


def _fault(fault: Spec, found: Complaints) -> None:
    if not fault.get("abort") and not fault.get("delay"):
        found.wrong("HTTP fault injection must have an abort and/or a delay")
    for part in ("abort", "delay"):
        value = ((fault.get(part) or {}).get("percentage") or {}).get("value", 0)
        if value > 100:
            found.wrong(f"percentage must have a max value of 100 (it has {value:f})")
        if 0 < value < 0.0001:
            found.wrong(f"percentage must be greater than 0.0001 (it has {value:f})")
        if value < 0:
            found.wrong(f"percentage {value:f} is not in range 0..100")
    abort = fault.get("abort") or {}
    if "grpcStatus" in abort:
        status = abort["grpcStatus"]
        if status not in GRPC_STATUS:
            found.wrong(
                f'gRPC status "{status}" is not supported. See '
                "https://github.com/grpc/grpc/blob/master/doc/statuscodes.md for a list of supported codes, "
                "for example 'NOT_FOUND'"
            )
    elif "httpStatus" in abort:
        _status(abort["httpStatus"], found)
    elif fault.get("abort") is not None:
        found.wrong("abort configured, but error type not set: write httpStatus or grpcStatus")
    if fault.get("delay") is not None and not any(
        key in fault["delay"] for key in ("fixedDelay", "exponentialDelay")
    ):
        found.wrong("delay configured, but no time set: write fixedDelay")


def _status(status: Any, found: Complaints) -> None:
    if not isinstance(status, int) or not 200 <= status <= 600:
        found.wrong(f"HTTP status {status} is not in range 200-599")


def _mirror(route: Spec, found: Complaints) -> None:
    old = route.get("mirrorPercent", route.get("mirror_percent"))
    if old is not None:
        if old > 100:
            found.wrong(f"mirror_percent must have a max value of 100 (it has {old})")
        found.odd('using deprecated setting "mirrorPercent", use "mirrorPercentage" instead')
    if route.get("mirror") and route.get("mirrors"):
        found.wrong("HTTP route cannot contain both mirror and mirrors")
    shares = [("mirror_percentage", route.get("mirrorPercentage"))]
    for mirror in route.get("mirrors") or ():
        shares.append(("mirror percentage", mirror.get("percentage")))
        if not mirror.get("destination"):
            found.wrong("destination is required for mirrors")
        _destination(mirror.get("destination"), found)
    for name, share in shares:
        value = (share or {}).get("value", 0)
        if value > 100:
            found.wrong(f"{name} must have a max value of 100 (it has {value:f})")
        if value < 0:
            found.wrong(f"{name} must have a min value of 0 (it has {value:f})")
    _destination(route.get("mirror"), found)


def _redirect(rule: Spec, found: Complaints) -> None:
    if not any(rule.get(field) for field in ("uri", "authority", "scheme", "port", "derivePort")):
        found.wrong("redirect must specify URI, authority, scheme, or port")
    for field in ("uri", "authority"):
        one_line(rule.get(field), f"redirect.{field}", found)
    code = rule.get("redirectCode")
    if code and code not in {301, 302, 303, 307, 308}:
        found.wrong(f"{code} is not a valid redirect code, must be 3xx (301, 302, 303, 307 or 308)")
    if rule.get("scheme") and rule["scheme"] not in {"http", "https"}:
        found.wrong('invalid redirect scheme, must be "http" or "https"')
    if rule.get("port"):
        found.port(rule["port"])


def _retries(rule: Spec, found: Complaints) -> None:
    attempts = rule.get("attempts") or 0
    if attempts < 0:
        found.wrong("attempts cannot be negative")
    if attempts == 0 and any(
        field in rule for field in ("perTryTimeout", "retryOn", "retryRemoteLocalities")
    ):
        found.wrong("http retry policy configured when attempts are set to 0 (disabled)")
    for word in (rule.get("retryOn") or "").split(",") if rule.get("retryOn") else ():
        code = small_number(word)
        if code not in _STATUSES and word not in _RETRY_ON:
            found.wrong(f'"{word}" is not a valid retryOn policy')


def _rewrite(rule: Spec, found: Complaints) -> None:
    regex = rule.get("uriRegexRewrite")
    for field in ("uri", "authority"):
        one_line(rule.get(field), f"rewrite.{field}", found)
    if rule.get("uri") and regex is not None:
        found.wrong("rewrite may only contain one of URI or UriRegexRewrite")
    if not rule.get("uri") and regex is None and not rule.get("authority"):
        found.wrong(
            "rewrite must specify at least one of URI, UriRegexRewrite, or authority. "
            "Only one of URI or UriRegexRewrite may be specified"
        )
    if regex is not None:
        if not regex.get("match") or not regex.get("rewrite"):
            found.wrong("UriRegexRewrite requires both Rewrite and Match fields to be specified")
        else:
            found.regex(regex["match"], "HTTPRewrite.UriRegexRewrite.Match")
            one_line(regex["rewrite"], "rewrite.uriRegexRewrite.rewrite", found)


def _one_authority(route: Spec, found: Complaints) -> None:
    current = (route.get("rewrite") or {}).get("authority") or ""
    request = (route.get("headers") or {}).get("request") or {}
    for name, value in [*(request.get("set") or {}).items(), *(request.get("add") or {}).items()]:
        if name.lower() in {":authority", "host"}:
            if current:
                found.wrong(
                    f'authority header cannot be set multiple times: have "{current}", attempting to set "{value}"'
                )
            current = value


def _destinations(routes: Any, found: Complaints) -> None:
    total = 0
    for route in routes:
        if not route.get("destination"):
            found.wrong("destination is required")
        _headers(route.get("headers") or {}, found)
        _destination(route.get("destination"), found)
        weight = route.get("weight") or 0
        if weight < 0:
            found.wrong(f"weight {weight} < 0")
        total += weight
    if total > _UINT32:  # Envoy's limit: Istio lets it through, and the proxies refuse it
        found.wrong(f"total destination weight {total} is larger than {_UINT32}")
    if len(routes) > 1 and total == 0:
        found.wrong("total destination weight = 0")


def _destination(destination: Any, found: Complaints) -> None:
    if not isinstance(destination, Mapping):
        return
    host = destination.get("host") or ""
    if host == "*":
        found.wrong(f"invalid destination host {host}")
    else:
        found.domain(host)
    if destination.get("subset"):
        found.subset(destination["subset"])
    if "port" in destination:
        found.port((destination["port"] or {}).get("number") or 0)


def _unused(routes: Any, found: Complaints) -> None:
    """Routes that no request can reach are accepted with a warning."""
    empty = False
    seen: dict[str, str] = {}
    for number, route in enumerate(routes):
        name = f'"{route["name"]}"' if route.get("name") else f"#{number}"
        if not route.get("match"):
            if empty:
                found.odd(f"virtualService rule {name} not used (only the last rule can have no matches)")
            empty = True
            continue
        if empty:
            found.odd(f"virtualService rule {name} not used (route without matches defined before)")
            continue
        doubles = 0
        for position, match in enumerate(route["match"]):
            key = json.dumps({k: v for k, v in (match or {}).items() if k != "name"}, sort_keys=True)
            if key in seen:
                doubles += 1
                found.odd(
                    f"virtualService rule {name} match #{position} is not used "
                    f"(duplicate/overlapping match in rule {seen[key]})"
                )
            seen.setdefault(key, name)
        if doubles == len(route["match"]):
            found.odd(f"virtualService rule {name} not used (all matches used by prior rules)")
