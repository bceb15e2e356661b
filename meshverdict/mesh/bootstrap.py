"""How a sidecar's Envoy starts: its bootstrap, its command line, and the ports that it answers on for the mesh itself.

Port 15090 serves ``/stats/prometheus`` as Istio's sidecars do: ``istio_requests_total`` and its kin (see `metrics`), and
Envoy's own under Envoy's names with Istio's tags (``envoy_cluster_upstream_rq_total{cluster_name="outbound|80||..."}``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshverdict.mesh import metrics
from meshverdict.mesh.envoy import (
    ANY_ADDRESS,
    Json,
    address,
    extension,
    file_source,
    http_filter,
    network_filter,
)
from meshverdict.mesh.files import CLUSTERS, LISTENERS
from meshverdict.mesh.values import Workload

ADMIN_PORT: Final = 15000
HEALTH_PORT: Final = 15021
STATS_PORT: Final = 15090
# Seconds: after a policy change, connections that it no longer allows live this long.
DRAIN_SECONDS: Final = 2
# All metrics of a sidecar on one page: the filter that renames them holds it whole.
_LONGEST_PAGE: Final = 64 * 1024 * 1024
_ADMIN_CLUSTER: Final = "prometheus_stats"
_ADMIN: Final = "127.0.0.1"
# Istio checks the length of regular expressions at admission and lets Envoy take what passed.
_RUNTIME: Final[Json] = {"re2": {"max_program_size": {"error_level": 32768}}}

# Istio's tags: its cluster names have dots, at which Envoy's own patterns would cut them.
_TAGS: Final = (
    ("cluster_name", r"^cluster\.((.+?(\..+?\.svc\.cluster\.local)?)\.)"),
    ("tcp_prefix", r"^tcp\.((.*?)\.)\w+?$"),
    ("response_code", r"(response_code=\.=(.+?);\.;)|_rq(_(\.d{3}))$"),
    ("response_code_class", r"_rq((_(\dxx)))$"),
    (
        "http_conn_manager_listener_prefix",
        r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)",
    ),
    ("http_conn_manager_prefix", r"^http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
    ("listener_address", r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"),
)


def bootstrap(proxy: Workload, folder: str) -> Json:
    """The bootstrap of a workload's Envoy: everything dynamic comes from files in *folder*."""
    place = proxy.locality
    parts = {"region": place.region, "zone": place.zone, "sub_zone": place.subzone}
    return {
        "node": {
            "id": f"sidecar~{proxy.ip}~{proxy.name}.{proxy.namespace}~{proxy.namespace}.svc.cluster.local",
            "cluster": f"{proxy.labels.get('app') or proxy.name}.{proxy.namespace}",
            "locality": {key: value for key, value in parts.items() if value},
        },
        "admin": {"address": address(_ADMIN, ADMIN_PORT)},
        "dynamic_resources": {
            "lds_config": file_source(f"{folder}/{LISTENERS}"),
            "cds_config": file_source(f"{folder}/{CLUSTERS}"),
        },
        "static_resources": {
            "clusters": [_admin_cluster()],
            "listeners": [
                _listener(
                    "prometheus", STATS_PORT, "/stats/prometheus", "/stats/prometheus", [_istio_names()]
                ),
                _listener("health", HEALTH_PORT, "/healthz/ready", "/ready"),
            ],
        },
        # Histograms and counters are seen at the next flush; Envoy's five seconds are a long time for a lab.
        "stats_flush_interval": "0.2s",
        "stats_config": {
            "use_all_default_tags": False,
            "stats_tags": [{"tag_name": name, "regex": regex} for name, regex in _TAGS],
            "histogram_bucket_settings": metrics.histogram_settings(),
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _RUNTIME}]},
        "overload_manager": {"resource_monitors": [_connections()]},
    }


def _connections() -> Json:
    """As many connections as there are files: a limit of the proxy's own would look like the application's."""
    name = "envoy.resource_monitors.global_downstream_max_connections"
    message = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    return extension(name, message, max_active_downstream_connections=2147483647)


def _admin_cluster() -> Json:
    endpoint = {"endpoint": {"address": address(_ADMIN, ADMIN_PORT)}}
    return {
        "name": _ADMIN_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {"cluster_name": _ADMIN_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _istio_names() -> Json:
    """Envoy puts its name before every metric; Istio's metrics do not have it."""
    lines = (
        "function envoy_on_response(handle)",
        "  local body = handle:body(true)",
        "  local text = body:getBytes(0, body:length())",
        f'  body:setBytes((string.gsub(text, "{metrics.EXPOSED_PREFIX}", "")))',
        "end",
    )
    return http_filter("lua", "Lua", default_source_code={"inline_string": "\n".join(lines)})


def _listener(name: str, port: int, path: str, admin_path: str, filters: Iterable[Json] = ()) -> Json:
    """One path of the admin interface, and nothing else of it, on an outside port."""
    route = {"match": {"path": path}, "route": {"cluster": _ADMIN_CLUSTER, "prefix_rewrite": admin_path}}
    table = {"virtual_hosts": [{"name": name, "domains": ["*"], "routes": [route]}]}
    manager = network_filter(
        "http_connection_manager",
        "HttpConnectionManager",
        stat_prefix=f"agent_{name}",
        route_config=table,
        http_filters=[*filters, http_filter("router", "Router")],
        access_log=[metrics.keeper()],
    )
    return {
        "name": name,
        "address": address(ANY_ADDRESS, port),
        "ignore_global_conn_limit": True,
        "per_connection_buffer_limit_bytes": _LONGEST_PAGE,
        "filter_chains": [{"filters": [manager]}],
    }


def command(binary: str, config: str, *, concurrency: int = 1) -> list[str]:
    """The command line of a sidecar.

    Args:
        binary: Path of Envoy.
        config: Path of the bootstrap, as Envoy sees it.
        concurrency: Worker threads.
    """
    return [
        binary,
        "--config-path",
        config,
        "--concurrency",
        str(concurrency),
        "--disable-hot-restart",
        # Without it a misspelt field is ignored and the rest is served.
        "--reject-unknown-dynamic-fields",
        "--drain-time-s",
        str(DRAIN_SECONDS),
        "--drain-strategy",
        "immediate",
        "--file-flush-interval-msec",
        "50",
        "--log-level",
        "warning",
    ]
