"""The edges of the service graph, as the mesh saw them in a stretch of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshverdict.analysis.loose import count, mapping, number
from meshverdict.model.errors import RecordError
from meshverdict.model.histogram import Histogram

# An answer that says "too many": the mesh's rate limits give it.
_LIMITED: Final = 429
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class EdgeSample:
    """One line of the telemetry: what passed over an edge since the line before.

    Attributes:
        source: ``namespace/workload`` that called, or ``outside``.
        service: ``namespace/service`` that was called.
        destination: ``namespace/workload`` that answered; the Service where nobody did.
        port: The Service's port; 0 where it is not known.
        protocol: ``http`` or ``tcp``.
        attempts: Requests with their retries.
        answers: Count by status and Envoy's response flag, such as ``503 UO``; TCP has the status 0.
        details: Count by Envoy's reason.
        denied: Requests that an authorization policy turned away.
        latency: Of whole requests, retries included, in microseconds.
        mtls: Whether all of it was encrypted; None where that is not known.
    """

    t: float
    source: str
    service: str
    destination: str
    port: int
    zones: tuple[str | None, str | None]
    protocol: str
    requests: int
    attempts: int
    answers: Mapping[str, int]
    details: Mapping[str, int]
    denied: int
    latency: Histogram
    size: int
    mtls: bool | None


@dataclass(slots=True)
class EdgeTotal:
    """What passed over an edge in a stretch of time; see `EdgeSample`.

    Attributes:
        seconds: Length of the stretch.
    """

    source: str
    service: str
    destination: str
    port: int
    protocol: str
    seconds: float
    requests: int = 0
    attempts: int = 0
    denied: int = 0
    size: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    details: dict[str, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    mtls: bool | None = None

    @property
    def rate(self) -> float:
        """Requests, or new connections, a second."""
        return self.requests / self.seconds if self.seconds > 0 else 0.0

    @property
    def errors(self) -> int:
        """Requests that failed, were limited or denied; of TCP, connections that reached nobody or were denied."""
        failed = sum(n for answer, n in self.answers.items() if is_error(answer, self.protocol))
        # HTTP's denials are answers, 403; a connection that is denied was opened before.
        return min(self.requests, failed + self.denied)

    @property
    def error_share(self) -> float:
        """Errors over requests; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def amplification(self) -> float | None:
        """Attempts for each request: 1 without retries; None without requests."""
        return self.attempts / self.requests if self.requests else None

    def quantile_ms(self, q: float) -> float | None:
        """Latency of whole requests, milliseconds; None where there is none."""
        found = self.latency.quantile(q)
        return None if found is None else found / 1000

    def add(self, sample: EdgeSample) -> None:
        """Count a sample."""
        self.requests += sample.requests
        self.attempts += sample.attempts
        self.denied += sample.denied
        self.size += sample.size
        for mine, theirs in ((self.answers, sample.answers), (self.details, sample.details)):
            for name, n in theirs.items():
                mine[name] = mine.get(name, 0) + n
        self.latency.merge(sample.latency)
        if sample.mtls is not None:
            self.mtls = sample.mtls and self.mtls is not False


def is_error(answer: str, protocol: str) -> bool:
    """Whether an answer such as ``503 UO`` is a failure.

    >>> [is_error(a, "http") for a in ("200 -", "404 -", "429 -", "503 UO", "0 DC")], is_error("0 -", "tcp")
    ([False, False, True, True, True], False)
    """
    status, _, flags = answer.partition(" ")
    code = int(status) if status.isdigit() else 0
    if protocol == "tcp":
        return flags not in {"", "-"}
    return code in {0, _LIMITED} or code >= _SERVER_ERROR


def parse_edges(lines: Iterable[Mapping[str, Any]]) -> tuple[EdgeSample, ...]:
    """The edge lines of the telemetry, in time order; lines of other kinds, and damaged ones, are left out."""
    found = (_sample(line) for line in lines if mapping(line.get("edge")))
    return tuple(sorted((s for s in found if s is not None), key=lambda s: s.t))


def _sample(line: Mapping[str, Any]) -> EdgeSample | None:
    t, edge = number(line.get("t")), mapping(line["edge"])
    source, service = edge.get("from"), edge.get("to")
    if t is None or not isinstance(source, str) or not isinstance(service, str):
        return None
    try:
        latency = Histogram.from_json(line.get("latency") or {"i": [], "c": []})
    except RecordError:
        return None
    mtls = line.get("mtls")
    return EdgeSample(
        t=t,
        source=source,
        service=service,
        destination=str(edge.get("to_workload") or service),
        port=count(edge.get("port")),
        zones=(_text(edge.get("from_zone")), _text(edge.get("to_zone"))),
        protocol="tcp" if line.get("protocol") == "tcp" else "http",
        requests=count(line.get("requests")),
        attempts=count(line.get("attempts")),
        answers={str(k): count(v) for k, v in mapping(line.get("answers")).items()},
        details={str(k): count(v) for k, v in mapping(line.get("details")).items()},
        denied=count(line.get("denied")),
        latency=latency,
        size=count(line.get("bytes")),
        mtls=mtls if isinstance(mtls, bool) else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def totals(samples: Iterable[EdgeSample], start: float, end: float) -> tuple[EdgeTotal, ...]:
    """Each edge between two moments; a line belongs to the moment at which it was read.

    Args:
        samples: Of the run.
        start: Unix seconds; lines before or at it are left out.
        end: Unix seconds; lines after it are left out.
    """
    names: dict[str, str] = {}
    kept = [sample for sample in samples if start < sample.t <= end]
    for sample in kept:
        if sample.destination != sample.service:
            names[sample.service] = sample.destination
    found: dict[tuple[str, str, int, str], EdgeTotal] = {}
    for sample in kept:
        # Where nobody answered, the edge still leads to those who did at other times.
        destination = sample.destination
        if destination == sample.service:
            destination = names.get(sample.service, destination)
        key = (sample.source, destination, sample.port, sample.protocol)
        total = found.setdefault(
            key,
            EdgeTotal(sample.source, sample.service, destination, sample.port, sample.protocol, end - start),
        )
        total.add(sample)
    return tuple(found[key] for key in sorted(found))
