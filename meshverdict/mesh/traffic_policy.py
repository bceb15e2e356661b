"""A DestinationRule's traffic policy as fields of an Envoy cluster: limits, outlier detection, balancing, hashing.

Envoy's own defaults (1024 connections, 3 retries, 50 % panic) are never left standing where Istio has others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from meshverdict.mesh import durations, locality
from meshverdict.mesh.envoy import HTTP_OPTIONS, UNLIMITED, Json, typed
from meshverdict.mesh.values import Port

Policy = Mapping[str, Any]

_SIMPLE: Final = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
    "PASSTHROUGH": "CLUSTER_PROVIDED",
}
_RING_SIZE: Final = 1024


def pools(policy: Policy) -> tuple[Policy, Policy]:
    """The ``tcp`` and ``http`` parts of a connection pool."""
    pool = policy.get("connectionPool") or {}
    return pool.get("tcp") or {}, pool.get("http") or {}


def limits(policy: Policy) -> Json:
    """Circuit breakers; a limit of zero is no limit, as in Istio."""
    tcp, http = pools(policy)
    threshold: Json = {
        "max_connections": tcp.get("maxConnections") or UNLIMITED,
        "max_pending_requests": http.get("http1MaxPendingRequests") or UNLIMITED,
        "max_requests": http.get("http2MaxRequests") or UNLIMITED,
        "max_retries": http.get("maxRetries") or UNLIMITED,
    }
    budget = policy.get("retryBudget")
    if budget is not None:
        threshold["retry_budget"] = {
            "budget_percent": {"value": budget.get("percent", 20)},
            "min_retry_concurrency": budget.get("minRetryConcurrency", 3),
        }
    return {"thresholds": [threshold]}


def connections(policy: Policy) -> Json:
    """Connect timeout, keepalive and limits: what clusters of both directions take from a policy."""
    tcp, _ = pools(policy)
    fields: Json = {
        "connect_timeout": durations.envoy(tcp.get("connectTimeout") or "10s"),
        "circuit_breakers": limits(policy),
    }
    alive = tcp.get("tcpKeepalive")
    if alive is not None:
        options: Json = {}
        if "probes" in alive:
            options["keepalive_probes"] = alive["probes"]
        for key in ("time", "interval"):
            if key in alive:
                options[f"keepalive_{key}"] = int(durations.seconds(alive[key]))
        fields["upstream_connection_options"] = {"tcp_keepalive": options}
    return fields


def http_options(policy: Policy, port: Port) -> Json:
    """Protocol options: HTTP/2 where the port says so, and limits of a connection's life."""
    _, http = pools(policy)
    common: Json = {}
    if http.get("maxRequestsPerConnection"):
        common["max_requests_per_connection"] = http["maxRequestsPerConnection"]
    if "idleTimeout" in http:
        common["idle_timeout"] = durations.envoy(http["idleTimeout"])
    if not port.is_http or not (common or port.protocol == "HTTP2"):
        return {}
    version = "http2_protocol_options" if port.protocol == "HTTP2" else "http_protocol_options"
    options: Json = {"explicit_http_config": {version: {}}}
    if common:
        options["common_http_protocol_options"] = common
    return {"typed_extension_protocol_options": {HTTP_OPTIONS: typed(HTTP_OPTIONS, **options)}}


def outlier(policy: Policy) -> Json:
    """Outlier detection; without it nothing is ejected, and Envoy's panic threshold is left alone."""
    rule = policy.get("outlierDetection")
    if rule is None:
        return {}
    found: Json = {"enforcing_success_rate": 0}
    _counted(found, "consecutive_5xx", rule.get("consecutive5xxErrors"))
    gateway = rule.get("consecutiveGatewayErrors")
    _counted(found, "consecutive_gateway_failure", gateway)
    if rule.get("splitExternalLocalOriginErrors"):
        found["split_external_local_origin_errors"] = True
        found["enforcing_local_origin_success_rate"] = 0
        _counted(found, "consecutive_local_origin_failure", rule.get("consecutiveLocalOriginFailures"))
    for key, name in (("interval", "interval"), ("baseEjectionTime", "base_ejection_time")):
        if key in rule:
            found[name] = durations.envoy(rule[key])
    if rule.get("maxEjectionPercent"):
        found["max_ejection_percent"] = rule["maxEjectionPercent"]
    return {"outlier_detection": found}


def _counted(found: Json, name: str, value: int | None) -> None:
    if value is not None:
        found[name] = value
        found[f"enforcing_{name}"] = 100 if value else 0


def balancing(policy: Policy, near: Sequence[str] = ()) -> Json:
    """Load balancer, panic threshold and whether the weights of localities count; *near* as in `locality.groups`."""
    fields: Json = {}
    common: Json = {}
    rule = policy.get("outlierDetection")
    if rule is not None:
        common["healthy_panic_threshold"] = {"value": rule.get("minHealthPercent", 0)}
    if locality.weighted(policy, near):
        common["locality_weighted_lb_config"] = {}
    if common:
        fields["common_lb_config"] = common
    balancer = policy.get("loadBalancer") or {}
    if "consistentHash" in balancer:
        return fields | _ring(balancer["consistentHash"])
    return fields | {"lb_policy": _SIMPLE[balancer.get("simple") or "LEAST_REQUEST"]}


def _ring(rule: Policy) -> Json:
    if "maglev" in rule:
        size = (rule["maglev"] or {}).get("tableSize")
        return {"lb_policy": "MAGLEV"} | ({"maglev_lb_config": {"table_size": size}} if size else {})
    size = (rule.get("ringHash") or {}).get("minimumRingSize") or rule.get("minimumRingSize") or _RING_SIZE
    return {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": size}}


def hash_policy(policy: Policy) -> list[Json]:
    """What a route hashes, for a destination with ``consistentHash``; empty without."""
    rule = (policy.get("loadBalancer") or {}).get("consistentHash") or {}
    if "httpHeaderName" in rule:
        return [{"header": {"header_name": rule["httpHeaderName"]}}]
    if "httpQueryParameterName" in rule:
        return [{"query_parameter": {"name": rule["httpQueryParameterName"]}}]
    if "httpCookie" in rule:
        cookie = rule["httpCookie"]
        fields = {"name": cookie["name"]}
        if "path" in cookie:
            fields["path"] = cookie["path"]
        if "ttl" in cookie:
            fields["ttl"] = durations.envoy(cookie["ttl"])
        return [{"cookie": fields}]
    return [{"connection_properties": {"source_ip": True}}] if rule.get("useSourceIp") else []


def passthrough(policy: Policy) -> bool:
    """Whether clients' own choice of address is kept."""
    return (policy.get("loadBalancer") or {}).get("simple") == "PASSTHROUGH"
