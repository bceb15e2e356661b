"""The recorded facts of a real istiod, brought up to today, and the same facts of our configuration.

The recordings are of Istio 1.14; their tags say where today's Istio differs, and `expected` follows them. Istio's own
filters (metadata exchange, ALPN, telemetry) are in no plain Envoy and are left out on both sides.
"""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from meshverdict.mesh import retries
from meshverdict.mesh.inputs import resource, services_of_entry
from meshverdict.mesh.sidecar import Translation, translate
from meshverdict.mesh.values import Endpoint, Locality, Mesh, Port, Service, Workload

FILE = Path(__file__).parents[2].parent / "shared" / "yardsticks" / "golden_istio_open.jsonl"

TODAY_RETRY = "connect-failure,refused-stream,unavailable,cancelled"
INBOUND_RETRY = {"retry_on": "reset-before-request", "num_retries": 2}
ISTIO_FILTERS = {"istio.metadata_exchange", "istio.alpn"}


@cache
def records() -> list[dict[str, Any]]:
    """The recordings."""
    return [json.loads(line) for line in FILE.read_text().splitlines()] if FILE.exists() else []


# ---- the recorded cluster, from what the recordings name


def _pod(namespace, name, ip, zone, *, region="lab", sidecar=True, account=None, **labels):
    place = Locality(region, zone)
    return Workload(namespace, name, ip, labels, account or namespace, place, sidecar)


def pods(region: str = "lab") -> dict[str, Workload]:
    """Pods by the recordings' names for their proxies."""
    found = {
        "app-a": _pod(
            "c-app-count", "app-a", "10.1.0.21", "a", region=region, account="app", app="app-count"
        ),
        "redis-a": _pod("d-redis", "redis-1", "10.1.0.31", "a", region=region, account="redis", app="redis"),
        "legacy": _pod("plain", "legacy-1", "10.1.0.91", "a", region=region, account="legacy", sidecar=False),
        "pippo-a": _pod("pippo", "pippo-a", "10.1.1.1", "a", region=region, app="pippo", version="v1"),
        "pippo-b": _pod("pippo", "pippo-b", "10.2.1.1", "b", region=region, app="pippo", version="v1"),
    }
    for number in range(1, 7):
        zone = "a" if number < 4 else "b"
        ip = f"10.{1 if zone == 'a' else 2}.2.{number}"
        version = "v2" if number in {3, 6} else "v1"
        name = "paperino-a" if number == 1 else f"paperino-{number}"
        found[name] = _pod(
            "paperino", f"paperino-{number}", ip, zone, region=region, app="paperino", version=version
        )
    return found


def _endpoints(workloads, ports, unready=()):
    return tuple(
        Endpoint(
            w.ip,
            ports,
            w.labels,
            w.locality,
            w.service_account,
            w.key,
            w.sidecar,
            ready=w.name not in unready,
        )
        for w in workloads
    )


def mesh(record: dict[str, Any]) -> tuple[Mesh, Workload]:
    """The cluster of a recording with its resources, and the proxy."""
    found = pods("" if record["case"].startswith("nr-") else "lab")
    unready = {"paperino-1", "paperino-2"} if record["case"].startswith("notready") else set()
    paperino = [w for w in found.values() if w.namespace == "paperino"]
    redis, app = [found["redis-a"]], [found["app-a"]]
    auto = tuple(Port(n, f"p{n}", "HTTP" if n == 6383 else "TCP") for n in range(6380, 6390))
    auto_ports = {f"p{n}": 7379 if n == 6383 else 6379 for n in range(6380, 6390)}
    services = (
        Service(
            "paperino",
            "paperino",
            (Port(80, "http", "HTTP"), Port(6379, "tcp")),
            _endpoints(paperino, {"http": 8080, "tcp": 6379}, unready),
            "10.96.170.245",
        ),
        Service("d-redis", "redis-auto", auto, _endpoints(redis, auto_ports), "10.96.5.5"),
        Service(
            "d-redis", "redis-headless", (Port(6379, "tcp-redis"),), _endpoints(redis, {"tcp-redis": 6379})
        ),
        Service(
            "d-redis",
            "redis-svc",
            (Port(6379, "tcp-redis"), Port(7379, "http", "HTTP")),
            _endpoints(redis, {"tcp-redis": 6379, "http": 7379}),
            "10.96.203.175",
        ),
        Service(
            "c-app-count",
            "app-count-svc",
            (Port(80, "http", "HTTP"),),
            _endpoints(app, {"http": 5000}),
            "10.96.17.79",
        ),
        Service(
            "plain", "legacy", (Port(80, "", "HTTP"),), _endpoints([found["legacy"]], {"": 8080}), "10.96.9.9"
        ),
    )
    pippo = [found["pippo-a"], found["pippo-b"]]
    pippo_service = Service(
        "pippo", "pippo", (Port(80, "http", "HTTP"),), _endpoints(pippo, {"http": 8080}), "10.96.7.7"
    )
    manifests = [m for m in yaml.load_all(record["resources"] or "", yaml.CSafeLoader) if m]
    resources = tuple(resource(m) for m in manifests)
    entries = [s for r in resources if r.kind == "ServiceEntry" for s in services_of_entry(r, {})]
    every = (*services, pippo_service, *entries)
    return Mesh(every, tuple(found.values()), resources), found[record["proxy"]]


def translation(record: dict[str, Any]) -> Translation:
    """Our configuration for a recording."""
    return translate(*mesh(record), "/etc/envoy")


# ---- facts of our configuration, in the recordings' form


def facts(record: dict[str, Any]) -> dict[str, Any]:
    """Our facts, for the names that the recording has."""
    ours = translation(record)
    found = {}
    for name, theirs in record["facts"].items():
        if name == "clusters" and not isinstance(theirs[0:1] and theirs[0], str):
            wanted = [c["name"] for c in theirs if isinstance(c, dict)]
            found[name] = [_cluster(c) for c in ours.clusters if c["name"] in wanted]
        elif name == "clusters":
            found[name] = [c["name"] for c in ours.clusters]
        elif name == "endpoints":
            wanted = [e["cluster"] for e in theirs]
            found[name] = [_assignment(e) for e in ours.endpoints if e["cluster_name"] in wanted]
        elif name == "virtual_hosts":
            wanted = [h["name"] for h in theirs]
            hosts = [h for table in ours.routes for h in table["virtual_hosts"]]
            found[name] = [_host(h) for h in hosts if h["name"] in wanted]
        elif name == "listeners":
            wanted = [item["name"] for item in theirs]
            found[name] = [_listener(x) for x in ours.listeners if x["name"] in wanted]
        elif name != "route_configurations" and not name.endswith("access_log"):
            found[name] = _of_port(name, ours)
    return found


def _of_port(name, ours):
    kind, _, port = name.rpartition("_")
    if name == "inbound_routes":
        managers = [_manager(c) for c in _inbound(ours, None)]
        return [_host(h) for m in managers if m for h in m["route_config"]["virtual_hosts"]]
    if name == "http_filters_80":
        listener = next(item for item in ours.listeners if item["name"] == "0.0.0.0_80")
        chains = listener["filter_chains"]
    else:
        chains = _inbound(ours, int(port))
    if kind == "inbound":
        return [_chain(c) for c in chains]
    if kind == "http_filters":
        return [
            {"chain": c.get("name"), "match": c["filter_chain_match"], "http_filters": _http_filters(c)}
            for c in chains
        ]
    return [_rbac(c) for c in chains]


def _inbound(ours, port):
    listener = next(item for item in ours.listeners if item["name"] == "virtualInbound")
    chains = listener["filter_chains"]
    if port is None:
        return [c for c in chains if c["name"].startswith("0.0.0.0_8080")]
    return [c for c in chains if c.get("filter_chain_match", {}).get("destination_port") == port]


def _manager(chain):
    name = "envoy.filters.network.http_connection_manager"
    return next((f["typed_config"] for f in chain["filters"] if f["name"] == name), None)


def _http_filters(chain):
    manager = _manager(chain)
    return [f["name"] for f in manager["http_filters"]] if manager else []


def _rbac(chain):
    network = [f["typed_config"] for f in chain["filters"] if f["name"] == "envoy.filters.network.rbac"]
    http = (_manager(chain) or {}).get("http_filters", ())
    found = [{"layer": "network", "rules": c["rules"], "stat_prefix": c["stat_prefix"]} for c in network]
    found += [
        {"layer": "http", "rules": f["typed_config"]["rules"]} for f in http if f["name"].endswith(".rbac")
    ]
    return {
        "match": chain["filter_chain_match"],
        "network_filters": [f["name"] for f in chain["filters"]],
        "http_filters": _http_filters(chain),
        "rbac": found,
    }


def _assignment(item):
    places = []
    for place in item["endpoints"]:
        ends = place["lb_endpoints"]
        sockets = [e["endpoint"]["address"]["socket_address"] for e in ends]
        modes = {
            e["metadata"]["filter_metadata"].get("envoy.transport_socket_match", {}).get("tlsMode", "none")
            for e in ends
        }
        places.append(
            {
                "region": place["locality"].get("region", ""),
                "zone": place["locality"].get("zone", ""),
                "priority": place["priority"],
                "weight": place["load_balancing_weight"],
                "endpoints": sorted(f"{s['address']}:{s['port_value']}" for s in sockets),
                "tlsMode": sorted(modes),
            }
        )
    return {"cluster": item["cluster_name"], "localities": places}


def _context(socket):
    if socket["name"].endswith("raw_buffer"):
        return {"type": "raw_buffer"}
    config = socket["typed_config"]
    common = config["common_tls_context"]
    validation = common["combined_validation_context"]["default_validation_context"]
    found = {
        "type": "tls",
        "alpn": common["alpn_protocols"],
        "san_match": [m["matcher"] for m in validation["match_typed_subject_alt_names"]],
        "cert": [s["name"] for s in common["tls_certificate_sds_secret_configs"]],
    }
    if "sni" in config:
        found["sni"] = config["sni"]
        found["min_version"] = common["tls_params"]["tls_minimum_protocol_version"]
    if "require_client_certificate" in config:
        found["require_client_certificate"] = config["require_client_certificate"]
    return found


def _cluster(cluster):
    found = {
        "name": cluster["name"],
        "type": cluster["type"],
        "connect_timeout": cluster["connect_timeout"],
        "thresholds": cluster.get("circuit_breakers", {}).get("thresholds"),
    }
    for key in (
        "lb_policy",
        "outlier_detection",
        "common_lb_config",
        "cleanup_interval",
        "ring_hash_lb_config",
    ):
        if key in cluster:
            found[key] = copy.deepcopy(cluster[key])
    if "load_assignment" in cluster:
        found["load_assignment"] = True
    for key in ("dns_lookup_family", "respect_dns_ttl", "dns_refresh_rate", "upstream_connection_options"):
        if key in cluster:
            found[key] = cluster[key]
    if found.get("lb_policy") == "ROUND_ROBIN":
        del found["lb_policy"]  # Envoy's default is left out in the recordings
    panic = found.get("common_lb_config", {}).get("healthy_panic_threshold")
    if panic == {"value": 0}:
        found["common_lb_config"]["healthy_panic_threshold"] = {}
    options = cluster.get("typed_extension_protocol_options", {})
    for value in options.values():
        found["http_options"] = {k: v for k, v in value.items() if k != "@type"}
    if "upstream_bind_config" in cluster:
        found["upstream_bind"] = cluster["upstream_bind_config"]["source_address"]["address"]
    found["tls"] = _cluster_tls(cluster)
    return found


def _cluster_tls(cluster):
    if "transport_socket" in cluster:
        return {"mode": "always", "context": _context(cluster["transport_socket"])}
    if "transport_socket_matches" in cluster:
        matches = [
            {"name": m["name"], "match": m["match"], "context": _context(m["transport_socket"])}
            for m in cluster["transport_socket_matches"]
        ]
        return {"mode": "auto: " + ", ".join(m["name"] for m in matches), "matches": matches}
    return {"mode": "plaintext"}


def _retry(policy):
    if policy is None:
        return None
    found = {
        k: v
        for k, v in policy.items()
        if k not in {"retry_host_predicate", "host_selection_retry_max_attempts"}
    }
    if "retry_host_predicate" in policy:
        found["retry_host_predicate"] = [p["name"] for p in policy["retry_host_predicate"]]
        found["host_selection_retry_max_attempts"] = int(policy["host_selection_retry_max_attempts"])
    return _short_types(found)


def _short_types(value):
    if isinstance(value, dict):
        return {
            k: v.rpartition("/")[2].rpartition(".")[2] if k == "@type" else _short_types(v)
            for k, v in value.items()
        }
    return [_short_types(v) for v in value] if isinstance(value, list) else value


def _changes(headers):
    return [{"header": h["header"], "append": h["append_action"].startswith("APPEND")} for h in headers]


def _route(route):
    found = {"name": route.get("name"), "match": route["match"]}
    for side in ("request", "response"):
        if f"{side}_headers_to_add" in route:
            found[f"{side}_headers_to_add"] = _changes(route[f"{side}_headers_to_add"])
        if f"{side}_headers_to_remove" in route:
            found[f"{side}_headers_to_remove"] = route[f"{side}_headers_to_remove"]
    per_filter = dict(route.get("typed_per_filter_config") or {})
    cors = per_filter.pop("envoy.filters.http.cors", None)
    if cors:
        found["cors"] = {k: v for k, v in cors.items() if k != "@type"}
        found["cors"]["filter_enabled"] = {"default_value": {"numerator": 100}}
    if per_filter:
        found["typed_per_filter_config"] = _short_types(per_filter)
    if "redirect" in route:
        found["redirect"] = route["redirect"]
        return found
    if "direct_response" in route:
        found["direct_response"] = route["direct_response"]
        return found
    action = route["route"]
    for key in ("cluster", "timeout", "host_rewrite_literal", "hash_policy", "prefix_rewrite"):
        if key in action:
            found[key] = action[key]
    if "weighted_clusters" in action:
        found["weighted"] = [
            {"cluster": c["name"], "weight": c["weight"]} for c in action["weighted_clusters"]["clusters"]
        ]
    found["retry_policy"] = _retry(action.get("retry_policy"))
    return found


def _host(host):
    found = {"name": host["name"], "domains": host["domains"], "routes": [_route(r) for r in host["routes"]]}
    for key in ("include_request_attempt_count", "request_headers_to_add"):
        if key in host:
            found[key] = host[key]
    return found


def _tcp(item):
    config = item["typed_config"]
    found = {"stat_prefix": config["stat_prefix"]}
    for key in ("cluster", "weighted_clusters"):
        if key in config:
            found[key] = config[key]
    return found


def _chain(chain):
    found = {"network_filters": [f["name"] for f in chain["filters"]]}
    for key, source in (("name", "name"), ("match", "filter_chain_match")):
        if source in chain:
            found[key] = chain[source]
    if "transport_socket" in chain:
        found["transport_socket"] = _context(chain["transport_socket"])
    for item in chain["filters"]:
        if item["name"].endswith("tcp_proxy"):
            found["tcp_proxy"] = _tcp(item)
    manager = _manager(chain)
    if manager:
        found["http_filters"] = [f["name"] for f in manager["http_filters"]]
        for key in [
            "stat_prefix",
            "server_name",
            "use_remote_address",
            "forward_client_cert_details",
            "set_current_client_cert_details",
            "stream_idle_timeout",
            "normalize_path",
            "upgrade_configs",
            "common_http_protocol_options",
        ]:
            if key in manager:
                found[key] = manager[key]
        if "rds" in manager:
            found["rds"] = manager["rds"]["route_config_name"]
        if "route_config" in manager:
            table = manager["route_config"]
            hosts = [_host(h) for h in table["virtual_hosts"]]
            found["route_config"] = {"name": table["name"], "virtual_hosts": hosts}
    return found


def _listener(listener):
    where = listener["address"]["socket_address"]
    default = listener.get("default_filter_chain")
    return {
        "name": listener["name"],
        "address": f"{where['address']}:{where['port_value']}",
        "bind_to_port": listener.get("bind_to_port", True),
        "use_original_dst": listener.get("use_original_dst"),
        "traffic_direction": listener["traffic_direction"],
        "listener_filters": [
            {k: v for k, v in f.items() if k != "typed_config"} for f in listener.get("listener_filters", ())
        ],
        "listener_filters_timeout": listener.get("listener_filters_timeout"),
        "continue_on_timeout": listener.get("continue_on_listener_filters_timeout"),
        "filter_chains": [_chain(c) for c in listener["filter_chains"]],
        "default_filter_chain": _chain(default) if default else None,
    }


# ---- the recordings, as of today


def expected(record: dict[str, Any]) -> dict[str, Any]:
    """The recorded facts with what has changed since, by their tags."""
    tags = set(record["changed_today"])
    found = copy.deepcopy(record["facts"])
    weighted = _weighted_today(record)
    return {name: _today(value, tags, weighted) for name, value in found.items()}


def _weighted_today(record):
    for manifest in yaml.load_all(record["resources"] or "", yaml.CSafeLoader):
        policy = ((manifest or {}).get("spec") or {}).get("trafficPolicy") or {}
        setting = (policy.get("loadBalancer") or {}).get("localityLbSetting") or {}
        if setting.get("distribute"):
            return True
        if "outlierDetection" in policy and (setting.get("failover") or setting.get("failoverPriority")):
            return True
    return False


def _today(value, tags, weighted):
    if isinstance(value, list):
        return [_today(v, tags, weighted) for v in value if not (isinstance(v, str) and v in ISTIO_FILTERS)]
    if not isinstance(value, dict):
        return value
    value = {
        k: v
        for k, v in value.items()
        if k not in {"istio_metadata", "decorator", "connection_balance_config"}
    }
    if value.get("network_filters") == ["istio.metadata_exchange"]:
        del value["network_filters"]  # a cluster's
    if value.get("@type") == "udpa.type.v1.TypedStruct":
        value["@type"] = "TypedStruct"
    if "load_assignment" in value:
        value["load_assignment"] = True
    if "unhealthy-endpoints" in tags and value.get("zone") == "a" and "localities" not in value:
        # Today the two pods that are not ready are sent as well.
        value["endpoints"] = ["10.1.2.1:8080", "10.1.2.2:8080", "10.1.2.3:8080"]
        value["weight"] = 3
    _renew_limits(value, tags, weighted)
    _renew_routes(value, tags)
    _renew_filters(value)
    return {k: _today(v, tags, weighted) for k, v in value.items()}


def _renew_limits(value, tags, weighted):
    if "track-remaining" in tags:
        value.pop("track_remaining", None)
    common = value.get("common_lb_config")
    if common is not None and "locality-weighted" in tags and not weighted:
        common.pop("locality_weighted_lb_config", None)
        if not common:
            del value["common_lb_config"]


def _renew_routes(value, tags):
    policy = value.get("retry_policy")
    if policy and "retry-503" in tags:
        codes = policy.pop("retriable_status_codes", None)
        if codes == [503]:
            policy["retry_on"] = TODAY_RETRY
        elif codes:
            policy["retriable_status_codes"] = codes
    if (
        "inbound-retry" in tags
        and "retry_policy" in value
        and str(value.get("cluster")).lower().startswith("inbound")
    ):
        value["retry_policy"] = INBOUND_RETRY
    if "vhost-domains" in tags and "domains" in value:
        value["domains"] = [d for d in value["domains"] if d == "*" or ":" not in d]
    if "cluster" in value or "weighted" in value:
        # About gRPC deadlines alone, and the one is deprecated in Envoy.
        for key in ("max_grpc_timeout", "max_stream_duration", "total_weight"):
            value.pop(key, None)
    if "principal_name" in value:
        value["principal_name"] = {"safe_regex": {"regex": value["principal_name"]["safe_regex"]["regex"]}}
    if "exact_match" in value:
        value["string_match"] = {"exact": value.pop("exact_match")}


def _renew_filters(value):
    filters = value.get("http_filters")
    if filters:
        kept = [f for f in filters if f not in ISTIO_FILTERS]
        # Today's order has gRPC statistics after authorization and before the fault filter.
        if "envoy.filters.http.fault" in kept and "envoy.filters.http.grpc_stats" not in kept:
            kept.insert(kept.index("envoy.filters.http.fault"), "envoy.filters.http.grpc_stats")
        value["http_filters"] = kept
    if "layer" in value:
        for key in ("@type", "shadow_rules_stat_prefix"):
            value.pop(key, None)
        value["rules"].setdefault("action", "ALLOW")


def differences(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """Where two values differ; lists of named things are compared by name."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(set(ours) | set(theirs))
        return [d for k in keys for d in differences(ours.get(k), theirs.get(k), f"{path}.{k}")]
    if isinstance(ours, list) and isinstance(theirs, list):
        key = next((k for k in ("name", "cluster") if _named_by(theirs, k) and _named_by(ours, k)), None)
        if key:
            return differences({x[key]: x for x in ours}, {x[key]: x for x in theirs}, path)
        if path.endswith("domains"):
            ours, theirs = sorted(ours), sorted(theirs)
        if len(ours) != len(theirs):
            return [f"{path}: {len(ours)} instead of {len(theirs)}: {ours} / {theirs}"[:600]]
        return [
            d
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True))
            for d in differences(a, b, f"{path}[{i}]")
        ]
    return [] if ours == theirs else [f"{path}: {ours!r} instead of {theirs!r}"[:400]]


def _named_by(items, key):
    names = [item.get(key) for item in items if isinstance(item, dict)]
    return (
        bool(items)
        and len(names) == len(items)
        and len(set(map(str, names))) == len(names)
        and None not in names
    )


def default_retry(variant: str) -> dict[str, Any]:
    """The default retries of a variant, in the recordings' form."""
    return _retry(retries.default(variant))
