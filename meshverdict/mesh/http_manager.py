"""The HTTP connection manager with Istio's settings, and the order of the filters in it.

Istio's own filters (peer metadata, ALPN, telemetry) are not in a plain Envoy; `metrics` stands in for the last, and the
others stand in Istio's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meshverdict.mesh import durations
from meshverdict.mesh.envoy import Json, extension, http_filter, network_filter

_LOG: Final = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
# One short key an item: the file is read by a machine, line by line.
_LOG_FIELDS: Final = {
    "time": "%START_TIME%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "termination": "%CONNECTION_TERMINATION_DETAILS%",
    "transport_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "ms": "%DURATION%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "host": "%REQ(:AUTHORITY)%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream": "%UPSTREAM_HOST%",
    "downstream": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "route": "%ROUTE_NAME%",
    "peer": "%DOWNSTREAM_PEER_URI_SAN%",
}


def access_log(path: str) -> list[Json]:
    """One JSON line a request, or a connection of TCP; nothing without a path."""
    if not path:
        return []
    log = extension("envoy.access_loggers.file", _LOG, path=path, log_format={"json_format": _LOG_FIELDS})
    return [log | {"filter": {"log_type_filter": {"types": ["TcpUpstreamConnected"], "exclude": True}}}]


def listener_log(path: str) -> list[Json]:
    """One JSON line for each connection that no filter chain takes, such as plain text where mTLS is strict."""
    return [{**log, "filter": {"response_flag_filter": {"flags": ["NR"]}}} for log in access_log(path)]


def filters(first: Iterable[Json] = ()) -> list[Json]:
    """The HTTP filters; *first* are those that decide before anything else (RBAC)."""
    return [
        *first,
        http_filter("grpc_stats", "FilterConfig", emit_filter_state=True, stats_for_all_methods=False),
        http_filter("fault", "HTTPFault"),
        http_filter("cors", "Cors"),
        http_filter("router", "Router"),
    ]


def manager(
    stat_prefix: str,
    policy: Mapping[str, Any],
    logs: Iterable[Json],
    first: Iterable[Json] = (),
    **fields: Any,
) -> Json:
    """The network filter.

    Args:
        stat_prefix: Istio's name for it, such as ``outbound_0.0.0.0_80``.
        policy: Traffic policy whose connection pool limits the life of connections; empty for none.
        logs: Access loggers.
        first: HTTP filters before all others.
        fields: ``rds`` or ``route_config``, and what only one direction has.
    """
    tcp = (policy.get("connectionPool") or {}).get("tcp") or {}
    if "maxConnectionDuration" in tcp:
        life = durations.envoy(tcp["maxConnectionDuration"])
        fields["common_http_protocol_options"] = {"max_connection_duration": life}
    if kept := list(logs):
        fields["access_log"] = kept
    uuid = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
    return network_filter(
        "http_connection_manager",
        "HttpConnectionManager",
        stat_prefix=stat_prefix,
        http_filters=filters(first),
        use_remote_address=False,
        upgrade_configs=[{"upgrade_type": "websocket"}],
        stream_idle_timeout="0s",
        normalize_path=True,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        request_id_extension={
            "typed_config": {
                "@type": f"type.googleapis.com/{uuid}",
                "use_request_id_for_trace_sampling": True,
            }
        },
        **fields,
    )
