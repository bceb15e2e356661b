"""What one sidecar has counted since it started, by edge: read from its page of metrics. Pure.

The page is Istio's: ``istio_requests_total`` and its kin. Labels and series that only the embedded lab's sidecars have
(see docs/formats.md) are used where they are, and not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from meshverdict.analysis.prometheus import Sample, samples

# What to ask a sidecar for; Envoy's admin interface takes it as the query `filter`.
FILTER: Final = (
    "(istio_requests_total|istio_request_duration|istio_tcp_connections|meshverdict_"
    "|istio_tcp_.*_bytes_total|istio_re.*_bytes|upstream_cx_[rt]x_bytes_total)"
)
UNKNOWN: Final = "unknown"
_DENIED: Final = "rbac_access_denied"
_OUTBOUND: Final = "outbound|"
_LATENCY: Final = {
    "meshverdict_request_duration_microseconds_bucket": "us",
    "istio_request_duration_milliseconds_bucket": "ms",
}
_ADDED: Final = {
    "meshverdict_request_attempts_total": "attempts",
    "istio_tcp_sent_bytes_total": "bytes",
    "istio_tcp_received_bytes_total": "bytes",
    "istio_request_bytes_sum": "bytes",
    "istio_response_bytes_sum": "bytes",
}

# What was counted: its kind and, where a kind has many, which one: ("answer", "200 -"), ("us", "1500").
Item = tuple[str, str]


class Edge(NamedTuple):
    """One end's view of who called whom.

    Attributes:
        reporter: ``source`` or ``destination``.
        source: ``namespace/workload``; empty where this end does not know.
        source_address: Address of the caller; empty where this end does not say.
        to: ``namespace/service``; ``PassthroughCluster`` and the like for what is no Service.
        to_workload: ``namespace/workload`` that answered; empty where this end does not know.
        port: The Service's port; 0 where this end does not say.
        address: Address of the pod that answered; empty where this end does not say.
        protocol: ``http`` or ``tcp``.
    """

    reporter: str
    source: str
    source_address: str
    to: str
    to_workload: str
    port: int
    address: str
    protocol: str


Counters = Mapping[Edge, Mapping[Item, float]]


class Reading(NamedTuple):
    """Counters of one sidecar: by edge, and the bytes of its clusters by Service and port."""

    edges: Counters
    cluster_bytes: Mapping[tuple[str, int], float]


EMPTY: Final = Reading({}, {})


def read(text: str) -> Reading:
    """The counters of one page of metrics."""
    edges: dict[Edge, dict[Item, float]] = {}
    sent: dict[tuple[str, int], float] = {}
    for sample in samples(text):
        if sample.name.startswith("envoy_"):
            service = _cluster(sample)
            if service is not None:
                sent[service] = sent.get(service, 0.0) + sample.value
            continue
        items = _items(sample)
        if items and "reporter" in sample.labels:
            counts = edges.setdefault(_edge(sample), {})
            for item in items:
                counts[item] = counts.get(item, 0.0) + sample.value
    return Reading(edges, sent)


def _items(sample: Sample) -> list[Item]:
    """What a sample adds to its edge."""
    name, labels = sample.name, sample.labels
    if name in _LATENCY:
        return [(_LATENCY[name], sample.bound)]
    if name in _ADDED:
        return [(_ADDED[name], "")]
    flags = labels.get("response_flags") or "-"
    if name == "istio_requests_total":
        found = [("answer", f"{labels.get('response_code', '0')} {flags}"), ("tls", _tls(labels))]
    elif name == "istio_tcp_connections_opened_total":
        found = [("opened", flags), ("tls", _tls(labels))]
    elif name == "istio_tcp_connections_closed_total":
        found = [("closed", flags)]
    else:
        return []
    details = labels.get("response_details")
    if details:
        found.append(("detail", details))
    if (details or "").startswith(_DENIED):
        found.append(("denied", ""))
    return found


def _tls(labels: Mapping[str, str]) -> str:
    if labels.get("reporter") == "destination":
        return {"mutual_tls": "yes", "none": "no"}.get(labels.get("connection_security_policy", ""), "?")
    if "upstream_tls" in labels:
        return "yes" if labels["upstream_tls"] else "no"
    return "?"


def _edge(sample: Sample) -> Edge:
    labels = sample.labels
    port = labels.get("destination_port", "")
    return Edge(
        reporter=labels["reporter"],
        source=_name(labels, "source_workload"),
        source_address=labels.get("source_address", ""),
        to=_service(labels),
        to_workload=_name(labels, "destination_workload"),
        port=int(port) if port.isdigit() else 0,
        address=labels.get("destination_address", ""),
        protocol="tcp" if labels.get("request_protocol") == "tcp" or "_tcp_" in sample.name else "http",
    )


def _name(labels: Mapping[str, str], key: str) -> str:
    name = labels.get(key) or UNKNOWN
    return "" if name == UNKNOWN else f"{labels.get(f'{key}_namespace') or UNKNOWN}/{name}"


def _service(labels: Mapping[str, str]) -> str:
    name = labels.get("destination_service_name") or UNKNOWN
    namespace = labels.get("destination_service_namespace") or UNKNOWN
    return name if namespace == UNKNOWN else f"{namespace}/{name}"


def _cluster(sample: Sample) -> tuple[str, int] | None:
    """Service and port of an outbound cluster's bytes."""
    name = sample.labels.get("cluster_name", "")
    if not sample.name.endswith("x_bytes_total") or not name.startswith(_OUTBOUND):
        return None
    _, port, _, host = name.split("|", 3)
    service, _, rest = host.partition(".")
    return f"{rest.partition('.')[0]}/{service}", int(port)


def since(before: Reading, now: Reading) -> Reading:
    """What was counted between two readings; a counter that went back was begun anew."""
    edges = {}
    for edge, counts in now.edges.items():
        old = before.edges.get(edge, {})
        found = {item: _grown(old.get(item, 0.0), value) for item, value in counts.items()}
        if any(found.values()):
            edges[edge] = {item: value for item, value in found.items() if value}
    grown = {k: _grown(before.cluster_bytes.get(k, 0.0), v) for k, v in now.cluster_bytes.items()}
    return Reading(edges, {key: value for key, value in grown.items() if value})


def _grown(before: float, now: float) -> float:
    return now - before if now >= before else now
