"""What a sidecar counts of the traffic that passes: Istio's metrics, under Istio's names and labels.

Istio counts in a filter of its own, which a plain Envoy does not have. Envoy's access logger for stats makes the same
series out of what an access log knows: ``istio_requests_total``, ``istio_request_duration_milliseconds`` and
``istio_tcp_*``, on port 15090. Labels and series that Istio does not have are here too, because they tell more:

- ``destination_address``: which pod answered, so which zone; ``source_address``: who called where nobody says so.
- ``response_details``: why, in Envoy's words.
- ``meshverdict_request_attempts_total``: tries, retries included.
- ``meshverdict_request_duration_microseconds``: Istio's buckets begin at 0.5 ms and are wide.

One scope is shared by all loggers of a sidecar, and the bootstrap holds it too: counters survive a change of listeners.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshverdict.mesh.envoy import Json, extension
from meshverdict.mesh.values import Service, Workload

# Envoy puts its own name and the scope's before a metric's; the listener for Prometheus takes both away again.
SCOPE: Final = "istiocustom"
EXPOSED_PREFIX: Final = f"envoy_{SCOPE}_"
# Namespace of the metadata in which a cluster says what Service it stands for.
CLUSTER_METADATA: Final = "meshverdict"
ATTEMPTS: Final = "meshverdict_request_attempts_total"
DURATION_US: Final = "meshverdict_request_duration_microseconds"

_LOGGER: Final = "envoy.extensions.access_loggers.stats.v3.Config"
_UNKNOWN: Final = "unknown"
_MINUTE_US: Final = 60_000_000
# The E24 series: steps of at most 15 %, with two digits each, which is how Envoy's histograms count.
_STEPS: Final = (
    10,
    11,
    12,
    13,
    15,
    16,
    18,
    20,
    22,
    24,
    27,
    30,
    33,
    36,
    39,
    43,
    47,
    51,
    56,
    62,
    68,
    75,
    82,
    91,
)

Labels = dict[str, str]


def bucket_bounds() -> list[float]:
    """Upper bounds of the fine latency histogram, 0.1 ms to a minute, in microseconds."""
    bounds = (float(step * 10**power) for power in range(1, 7) for step in _STEPS)
    return [bound for bound in bounds if bound <= _MINUTE_US]


def histogram_settings() -> list[Json]:
    """The bootstrap's word on buckets."""
    return [{"match": {"contains": DURATION_US}, "buckets": bucket_bounds()}]


def keeper() -> Json:
    """A logger that never logs: on a listener that never changes, it keeps the counters alive."""
    return _logger(counters=[])


def cluster_metadata(service: Service, port: int) -> Json:
    """What a cluster says of itself, for the labels: metadata of the namespace `CLUSTER_METADATA`."""
    return {
        "host": service.host,
        "name": service.name,
        "namespace": service.namespace,
        "port": str(port),
    }


def outside_metadata(name: str) -> Json:
    """The same for a cluster that stands for no Service."""
    return {"host": _UNKNOWN, "name": name, "namespace": _UNKNOWN, "port": "0"}


def http_client(proxy: Workload) -> list[Json]:
    """The metrics of requests that the sidecar's own pod makes."""
    edge = _caller(proxy)
    return [
        _logger(
            counters=[
                _one("istio_requests_total", edge | _answer()),
                _counter(ATTEMPTS, edge, "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
            ],
            histograms=_durations(edge),
        )
    ]


def http_server(proxy: Workload, service: Service, port: int, *, mutual: bool) -> list[Json]:
    """The metrics of requests that the sidecar's own pod answers, over a filter chain with mutual TLS or without."""
    edge = _callee(proxy, service, port, mutual=mutual)
    return [
        _logger(
            counters=[_one("istio_requests_total", edge | _answer())],
            histograms=_durations(edge),
        )
    ]


def tcp_client(proxy: Workload) -> list[Json]:
    """The metrics of connections that the sidecar's own pod makes."""
    return _connections(_caller(proxy))


def tcp_server(proxy: Workload, service: Service, port: int, *, mutual: bool) -> list[Json]:
    """The metrics of connections that the sidecar's own pod takes."""
    return _connections(_callee(proxy, service, port, mutual=mutual))


def _caller(proxy: Workload) -> Labels:
    said = {
        key: f"%METADATA(CLUSTER:{CLUSTER_METADATA}:{key})%" for key in ("host", "name", "namespace", "port")
    }
    return {
        "reporter": "source",
        "source_workload": proxy.workload_name,
        "source_workload_namespace": proxy.namespace,
        "destination_service": said["host"],
        "destination_service_name": said["name"],
        "destination_service_namespace": said["namespace"],
        "destination_port": said["port"],
        "destination_address": "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        # Istio says so too: only the server's side knows what the connection carried.
        "connection_security_policy": _UNKNOWN,
        "upstream_tls": "%UPSTREAM_TLS_VERSION%",
    }


def _callee(proxy: Workload, service: Service, port: int, *, mutual: bool) -> Labels:
    return {
        "reporter": "destination",
        "source_workload": _UNKNOWN,
        "source_workload_namespace": _UNKNOWN,
        "source_principal": "%DOWNSTREAM_PEER_URI_SAN%",
        "source_address": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
        "destination_workload": proxy.workload_name,
        "destination_workload_namespace": proxy.namespace,
        "destination_service": service.host,
        "destination_service_name": service.name,
        "destination_service_namespace": service.namespace,
        "destination_port": str(port),
        "destination_address": proxy.ip,
        "connection_security_policy": "mutual_tls" if mutual else "none",
    }


def _answer() -> Labels:
    return {
        "request_protocol": "http",
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
        "response_details": "%RESPONSE_CODE_DETAILS%",
    }


def _durations(edge: Labels) -> list[Json]:
    return [
        _histogram("istio_request_duration_milliseconds", edge, "%DURATION%", "Milliseconds"),
        _histogram(DURATION_US, edge, "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", "Microseconds"),
    ]


def _connections(edge: Labels) -> list[Json]:
    why = {"response_flags": "%RESPONSE_FLAGS%", "response_details": "%CONNECTION_TERMINATION_DETAILS%"}
    tcp = edge | {"request_protocol": "tcp"}
    opened = _logger(counters=[_one("istio_tcp_connections_opened_total", tcp)])
    closed = _logger(
        counters=[
            _one("istio_tcp_connections_closed_total", tcp | why),
            _counter("istio_tcp_sent_bytes_total", tcp, "%BYTES_SENT%"),
            _counter("istio_tcp_received_bytes_total", tcp, "%BYTES_RECEIVED%"),
        ]
    )
    return [
        opened | {"filter": {"log_type_filter": {"types": ["TcpUpstreamConnected"]}}},
        closed | {"filter": {"log_type_filter": {"types": ["TcpConnectionEnd"]}}},
    ]


def _logger(*, counters: Iterable[Json], histograms: Iterable[Json] = ()) -> Json:
    return extension(
        "envoy.access_loggers.stats",
        _LOGGER,
        stats_scope={"prefix": SCOPE, "sharing_name": SCOPE},
        counters=list(counters),
        histograms=list(histograms),
    )


def _stat(name: str, labels: Labels) -> Json:
    return {"name": name, "tags": [{"name": key, "value_format": text} for key, text in labels.items()]}


def _one(name: str, labels: Labels) -> Json:
    return {"stat": _stat(name, labels), "value_fixed": 1}


def _counter(name: str, labels: Labels, value: str) -> Json:
    return {"stat": _stat(name, labels), "value_format": value}


def _histogram(name: str, labels: Labels, value: str, unit: str) -> Json:
    return {"stat": _stat(name, labels), "value_format": value, "unit": unit}
