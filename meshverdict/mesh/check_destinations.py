"""What Istio's webhook refuses in a DestinationRule, in its words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meshverdict.mesh.check_texts import hash_names
from meshverdict.mesh.rulebook import Complaints, Spec
from meshverdict.mesh.values import REGION_LABEL, SUBZONE_LABEL, ZONE_LABEL

_PARTS: Final = ("outlierDetection", "connectionPool", "loadBalancer", "tls")
_ALSO: Final = ("portLevelSettings", "tunnel", "proxyProtocol", "retryBudget")
_HTTP_LIMITS: Final = {
    "http1MaxPendingRequests": "http1 max pending requests",
    "http2MaxRequests": "http2 max requests",
    "maxRequestsPerConnection": "max requests per connection",
    "maxRetries": "max retries",
    "maxConcurrentStreams": "max concurrent streams",
}
_LARGEST_TABLE: Final = 5000011
_LARGEST_RING: Final = 8388608  # Envoy's, for the minimum too
_INT32: Final = 2**31 - 1
_UINT32: Final = 2**32 - 1


def destination_rule(spec: Spec, namespace: str) -> Complaints:
    """Complaints about a DestinationRule."""
    found = Complaints()
    found.domain(spec.get("host") or "")
    if "trafficPolicy" in spec:
        _policy(spec["trafficPolicy"] or {}, found)
    names: set[str] = set()
    for subset in spec.get("subsets") or ():
        name = subset.get("name") or ""
        if name in names:
            found.wrong(f"duplicate subset names: {name}")
        names.add(name)
        found.subset(name)
        if "trafficPolicy" in subset:
            _policy(subset["trafficPolicy"] or {}, found)
    found.export_to(list(spec.get("exportTo") or ()), namespace)
    return found


def _policy(policy: Spec, found: Complaints) -> None:
    if not any(policy.get(part) is not None for part in (*_PARTS, *_ALSO)):
        return found.wrong("traffic policy must have at least one field")
    _parts(policy, found)
    for settings in policy.get("portLevelSettings") or ():
        if not settings.get("port"):
            found.wrong("portTrafficPolicy must have valid port")
        if not any(settings.get(part) is not None for part in _PARTS):
            found.wrong("port traffic policy must have at least one field")
        _parts(settings, found)
    budget = policy.get("retryBudget") or {}
    if not 0 <= budget.get("percent", 0) <= 100:
        found.wrong(f"retry budget percent {budget['percent']} is not in range 0..100")
    if budget.get("minRetryConcurrency", 0) < 0:
        found.wrong("retry budget min retry concurrency must be non-negative")
    return None


def _parts(policy: Spec, found: Complaints) -> None:
    outlier = policy.get("outlierDetection")
    if outlier is not None:
        _outlier(outlier, found)
    if policy.get("connectionPool") is not None:
        _pool(policy["connectionPool"], found)
    if policy.get("loadBalancer") is not None:
        _balancer(policy["loadBalancer"], found, has_outlier=outlier is not None)


def _outlier(rule: Spec, found: Complaints) -> None:
    if (rule.get("consecutiveLocalOriginFailures") or 0) > 0 and not rule.get(
        "splitExternalLocalOriginErrors"
    ):
        found.wrong(
            "outlier detection consecutive local origin failures is specified, "
            "but split external local origin errors is set to false"
        )
    for field in ("maxEjectionPercent", "minHealthPercent"):
        value = rule.get(field) or 0
        if not 0 <= value <= 100:
            found.wrong(f"percentage {value} is not in range 0..100")
    for field in ("consecutive5xxErrors", "consecutiveGatewayErrors", "consecutiveLocalOriginFailures"):
        if (rule.get(field) or 0) < 0:
            found.wrong(f"outlier detection {field} must be non-negative")


def _pool(pool: Spec, found: Complaints) -> None:
    if pool.get("http") is None and pool.get("tcp") is None:
        return found.wrong("connection pool must have at least one field")
    http = pool.get("http") or {}
    for field, name in _HTTP_LIMITS.items():
        if (http.get(field) or 0) < 0:
            found.wrong(f"{name} must be non-negative")
    if http.get("h2UpgradePolicy") == "UPGRADE" and http.get("useClientProtocol"):
        found.wrong("use client protocol must not be true when H2UpgradePolicy is UPGRADE")
    tcp = pool.get("tcp") or {}
    if (tcp.get("maxConnections") or 0) < 0:
        found.wrong("max connections must be non-negative")
    limits = [*((field, http) for field in _HTTP_LIMITS), ("maxConnections", tcp)]
    for field, holder in limits:
        if (holder.get(field) or 0) > _INT32:
            found.wrong(f"{field} {holder[field]} must be at most {_INT32}")
    probes = (tcp.get("tcpKeepalive") or {}).get("probes") or 0
    if not 0 <= probes <= _UINT32:
        found.wrong(f"tcpKeepalive.probes {probes} must be in the range 0..{_UINT32}")
    return None


def _balancer(rule: Spec, found: Complaints, *, has_outlier: bool) -> None:
    if "consistentHash" in rule:
        _hash(rule["consistentHash"] or {}, found)
        if rule.get("simple"):
            found.wrong("only one of simple or consistentHash can be specified")
    if rule.get("localityLbSetting") is not None:
        _locality(rule["localityLbSetting"], found, has_outlier=has_outlier)


def _hash(rule: Spec, found: Complaints) -> None:
    cookie = rule.get("httpCookie")
    if cookie is not None and not cookie.get("name"):
        found.wrong("name required for HttpCookie")
    hash_names(rule, found)
    keys = [
        k for k in ("httpHeaderName", "httpQueryParameterName", "httpCookie", "useSourceIp") if rule.get(k)
    ]
    if len(keys) > 1:
        found.wrong(f"only one of {' or '.join(keys)} can be specified")
    for size in (rule.get("minimumRingSize"), (rule.get("ringHash") or {}).get("minimumRingSize")):
        if not 0 <= (size or 0) <= _LARGEST_RING:
            found.wrong(f"minimumRingSize {size} must be in the range 0..{_LARGEST_RING}")
    if rule.get("minimumRingSize"):
        found.odd(
            "consistent hash MinimumRingSize is deprecated, use ConsistentHashLB's RingHash configuration instead"
        )
        if rule.get("maglev") or rule.get("ringHash"):
            found.wrong("only one of MinimumRingSize or Maglev/Ringhash can be specified")
    if rule.get("maglev") is not None:
        size = rule["maglev"].get("tableSize") or 0
        if size == 0:
            found.wrong("tableSize must be set for maglev")
        if size >= _LARGEST_TABLE:
            found.wrong(f"tableSize must be less than {_LARGEST_TABLE} for maglev")
        elif not _is_prime(size):
            found.wrong("tableSize must be a prime number for maglev")


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, int(number**0.5) + 1))


def _locality(rule: Spec, found: Complaints, *, has_outlier: bool) -> None:
    distribute, failover = rule.get("distribute") or (), rule.get("failover") or ()
    priority = rule.get("failoverPriority") or ()
    if distribute and failover:
        return found.wrong("can not simultaneously specify 'distribute' and 'failover'")
    if failover:
        for label in priority:
            if label in {REGION_LABEL, ZONE_LABEL, SUBZONE_LABEL}:
                return found.wrong(
                    f"can not simultaneously set 'failover' and topology label '{label}' in 'failover_priority'"
                )
    if not _distribute(distribute, found):
        return None
    if (failover or priority) and not has_outlier:
        found.odd("outlier detection policy must be provided for failover")
    for item in failover:
        start, end = item.get("from") or "", item.get("to") or ""
        if start == end:
            found.wrong("locality lb failover settings must specify different regions")
        if "/" in start or "/" in end:
            found.wrong("locality lb failover only specify region")
        if "*" in start or "*" in end:
            found.wrong("locality lb failover region should not contain '*' wildcard")
    return None


def _distribute(rules: Sequence[Spec], found: Complaints) -> bool:
    """Whether the weights are right."""
    for rule in rules:
        shares: dict[str, Any] = rule.get("to") or {}
        if any(not 1 <= share <= 100 for share in shares.values()):
            found.wrong("locality weight must be in range [1, 100]")
            return False
        total = sum(shares.values())
        if total != 100:
            found.wrong(f"total locality weight {total} != 100")
            return False
        _places(list(shares), found)
    _places([rule.get("from") or "" for rule in rules], found)
    return True


def _places(places: Sequence[str], found: Complaints) -> None:
    """Localities of one list may not overlap; a part after which nothing comes holds for everything in it."""
    whole: set[tuple[str, ...]] = set()
    beginnings: set[tuple[str, ...]] = set()
    for place in places:
        if place.count("*") > 1 or ("*" in place and not place.endswith("*")):
            return found.wrong(
                f"locality {place} wildcard '*' number can not exceed 1 and must be in the end"
            )
        parts = place.split("/", 2)
        if not all(parts):
            return found.wrong(f"locality {place} must not contain empty region/zone/subzone info")
        fixed = tuple(part for part in parts if part != "*")
        own = {fixed[:length] for length in range(len(fixed) + 1)}
        if own & whole or fixed in beginnings:
            return found.wrong(f"locality {place} overlap with previous specified ones")
        whole.add(fixed)
        beginnings |= own
    return None
