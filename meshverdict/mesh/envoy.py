"""Small builders for Envoy's JSON, so that no other module spells a type URL twice."""

from __future__ import annotations

from typing import Any, Final

Json = dict[str, Any]

TYPE_URL: Final = "type.googleapis.com/"
UNLIMITED: Final = 4294967295
# Of the pod: a sidecar lives in a network namespace of its own.
ANY_ADDRESS: Final = "0.0.0.0"  # noqa: S104

CLUSTER: Final = "envoy.config.cluster.v3.Cluster"
LISTENER: Final = "envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION: Final = "envoy.config.route.v3.RouteConfiguration"
LOAD_ASSIGNMENT: Final = "envoy.config.endpoint.v3.ClusterLoadAssignment"
HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CONNECTION_MANAGER: Final = "envoy.filters.network.http_connection_manager"
TCP_PROXY: Final = "envoy.filters.network.tcp_proxy"
ROUTER: Final = "envoy.filters.http.router"

_FILTERS: Final = "envoy.extensions.filters"


def typed(message: str, **fields: Any) -> Json:
    """A message in an Any: ``@type`` first, then its fields."""
    return {"@type": TYPE_URL + message, **fields}


def extension(name: str, message: str, **fields: Any) -> Json:
    """A named extension with its typed configuration."""
    return {"name": name, "typed_config": typed(message, **fields)}


def address(ip: str, port: int) -> Json:
    """A TCP socket address."""
    return {"socket_address": {"address": ip, "port_value": port}}


def http_filter(kind: str, message: str, **fields: Any) -> Json:
    """An HTTP filter: ``http_filter("fault", "HTTPFault")``."""
    return extension(f"envoy.filters.http.{kind}", f"{_FILTERS}.http.{kind}.v3.{message}", **fields)


def network_filter(kind: str, message: str, **fields: Any) -> Json:
    """A network filter: ``network_filter("rbac", "RBAC")``."""
    return extension(f"envoy.filters.network.{kind}", f"{_FILTERS}.network.{kind}.v3.{message}", **fields)


def listener_filter(kind: str, message: str, **fields: Any) -> Json:
    """A listener filter; *fields* are beside its typed configuration, such as ``filter_disabled``."""
    return extension(f"envoy.filters.listener.{kind}", f"{_FILTERS}.listener.{kind}.v3.{message}") | fields


def tcp_proxy(cluster: str, stat_prefix: str = "", **fields: Any) -> Json:
    """A TCP proxy to one cluster; the stat prefix is the cluster's name, as Istio has it."""
    return network_filter(
        "tcp_proxy", "TcpProxy", stat_prefix=stat_prefix or cluster, cluster=cluster, **fields
    )


def file_source(path: str) -> Json:
    """A resource that is read from a file, which has to be replaced by rename(2): writes in place go unseen."""
    return {"path_config_source": {"path": path}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def percent(value: float) -> Json:
    """A share of 0 to 100 as Envoy's fraction, in Istio's resolution of one in a million."""
    return {"numerator": int(value * 10_000), "denominator": "MILLION"}
