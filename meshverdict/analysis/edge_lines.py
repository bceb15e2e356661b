"""Two ends' counts made one line an edge: what `telemetry.jsonl` says of who called whom. Pure.

A caller's sidecar knows most: which pod answered, the retries, the time with everything in it. So its word stands, and
the other end adds what only it knows: that it denied, and on Istio what a connection carried and how many attempts
arrived. Where no caller's sidecar speaks of an edge (a caller without one, or one that calls a pod by its address), the
edge is what the other end says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from meshverdict.analysis.sidecar_metrics import Edge, Item, Reading
from meshverdict.model.histogram import Histogram

OUTSIDE: Final = "outside"
# Flags of a connection that never reached anybody.
UNCONNECTED: Final = frozenset({"UF", "UH", "UO", "NC", "NR", "URX"})
_EVERYTHING: Final = "+Inf"


class Place(NamedTuple):
    """A pod, by its address: ``namespace/workload``, its zone (None: not known), whether it has a sidecar."""

    workload: str
    zone: str | None
    sidecar: bool


@dataclass(frozen=True, slots=True)
class Report:
    """One sidecar's counts.

    Attributes:
        place: Its pod.
        reading: What it counted since the report before.
        total: What it counted since it started.
    """

    place: Place
    reading: Reading
    total: Reading


class _Pair(NamedTuple):
    """An edge regardless of which pods."""

    source: str
    to: str
    protocol: str


class _Key(NamedTuple):
    source: str
    source_zone: str | None
    to: str
    to_workload: str
    to_zone: str | None
    port: int
    protocol: str


@dataclass(slots=True)
class _Counts:
    items: dict[Item, float] = field(default_factory=dict)

    def add(self, items: Mapping[Item, float]) -> None:
        for item, value in items.items():
            self.items[item] = self.items.get(item, 0.0) + value

    def of(self, kind: str) -> dict[str, float]:
        return {name: value for (known, name), value in self.items.items() if known == kind}

    def total(self, kind: str) -> float:
        return sum(self.of(kind).values())


def edge_lines(reports: Sequence[Report], places: Mapping[str, Place], t: float) -> list[dict[str, Any]]:
    """The lines of one moment.

    Args:
        reports: Of all sidecars.
        places: Pods by address.
        t: Unix seconds.
    """
    told = {
        _pair(edge, r.place, places) for r in reports for edge in r.total.edges if edge.reporter == "source"
    }
    lines: dict[_Key, _Counts] = {}
    servers: dict[_Pair, _Counts] = {}
    for report in reports:
        for edge, items in report.reading.edges.items():
            pair = _pair(edge, report.place, places)
            if edge.reporter == "destination":
                servers.setdefault(pair, _Counts()).add(items)
            if edge.reporter == "source" or pair not in told:
                key = _key(edge, report.place, places)
                if key is not None:
                    lines.setdefault(key, _Counts()).add(items)
    _add_cluster_bytes(reports, lines, places)
    _add_old_connections(reports, lines, places)
    return [
        found
        for key, counts in sorted(lines.items(), key=lambda item: tuple(map(str, item[0])))
        if (found := _line(key, counts, servers.get(_Pair(key.source, key.to, key.protocol)), t)) is not None
    ]


def _caller(edge: Edge, place: Place, places: Mapping[str, Place]) -> tuple[str, str | None]:
    """Who called, and its zone."""
    if edge.reporter == "source":
        return edge.source or place.workload, place.zone
    known = places.get(edge.source_address)
    return edge.source or (known.workload if known else OUTSIDE), known.zone if known else None


def _pair(edge: Edge, place: Place, places: Mapping[str, Place]) -> _Pair:
    return _Pair(_caller(edge, place, places)[0], edge.to, edge.protocol)


def _key(edge: Edge, place: Place, places: Mapping[str, Place]) -> _Key | None:
    source, zone = _caller(edge, place, places)
    answered = place if edge.reporter == "destination" else places.get(edge.address)
    to = edge.to
    if "/" not in to and answered is not None:
        if answered.sidecar:
            return None  # called by its address: its own sidecar tells more
        to = answered.workload
    workload = edge.to_workload or (answered.workload if answered else "")
    return _Key(source, zone, to, workload, answered.zone if answered else None, edge.port, edge.protocol)


def _add_cluster_bytes(
    reports: Iterable[Report], lines: dict[_Key, _Counts], places: Mapping[str, Place]
) -> None:
    """Bytes of connections that are still open, where it is clear to whom: a Service with pods in one zone."""
    for report in reports:
        for (to, port), value in report.reading.cluster_bytes.items():
            ends = {
                key
                for edge in report.total.edges
                if edge.reporter == "source"
                and (edge.to, edge.port) == (to, port)
                and (key := _key(edge, report.place, places)) is not None
            }
            answered = [key for key in ends if key.to_workload] or list(ends)
            if len(answered) == 1:
                lines.setdefault(answered[0], _Counts()).add({("cluster_bytes", ""): value})


def _add_old_connections(
    reports: Iterable[Report], lines: dict[_Key, _Counts], places: Mapping[str, Place]
) -> None:
    """Whether connections that were opened earlier are encrypted, for edges that opened none now."""
    for report in reports:
        for edge, items in report.total.edges.items():
            key = _key(edge, report.place, places)
            if key in lines and not lines[key].of("tls"):
                lines[key].add({item: value for item, value in items.items() if item[0] == "tls"})


def _line(key: _Key, counts: _Counts, server: _Counts | None, t: float) -> dict[str, Any] | None:
    answers = _answers(counts)
    requests = sum(answers.values())
    sizes = counts.of("cluster_bytes") or counts.of("bytes")
    # Envoy tells of a latency up to a flush later than of its request, so perhaps alone.
    spread = latency(counts.of("us"), counts.of("ms"))
    if not requests and not sizes and not spread["i"]:
        return None
    edge: dict[str, Any] = {
        "from": key.source,
        "to": key.to,
        "to_workload": key.to_workload or None,
        "port": key.port or None,
        "from_zone": key.source_zone,
        "to_zone": key.to_zone,
    }
    line: dict[str, Any] = {
        "t": round(t, 3),
        "edge": edge,
        "protocol": key.protocol,
        "requests": requests,
        "attempts": _attempts(counts, server, requests),
        "answers": answers,
        "latency": spread,
        "bytes": round(sum(sizes.values())) if sizes else None,
        "mtls": _mtls(counts, server),
    }
    details = {name: round(value) for name, value in counts.of("detail").items()}
    denied = round(max(counts.total("denied"), server.total("denied") if server else 0.0))
    return line | ({"details": details} if details else {}) | ({"denied": denied} if denied else {})


def _answers(counts: _Counts) -> dict[str, int]:
    """Answers by status and flag; a TCP connection that reached somebody has the status 0 and no flag."""
    http = {name: round(value) for name, value in sorted(counts.of("answer").items())}
    opened, closed = counts.of("opened"), counts.of("closed")
    if not opened and not any(_failed(flags) for flags in closed):
        return http
    failed = {
        flags: round(max(opened.get(flags, 0.0), closed.get(flags, 0.0)))
        for flags in sorted({*opened, *closed})
        if _failed(flags)
    }
    reached = max(0, round(sum(opened.values())) - sum(failed.values()))
    return http | ({"0 -": reached} if reached else {}) | {f"0 {flags}": n for flags, n in failed.items()}


def _failed(flags: str) -> bool:
    return not UNCONNECTED.isdisjoint(flags.split(","))


def _attempts(counts: _Counts, server: _Counts | None, requests: int) -> int:
    counted = round(counts.total("attempts"))
    if counted:
        return max(counted, requests)
    arrived = round(server.total("answer")) if server else 0
    return max(arrived, requests)


def _mtls(counts: _Counts, server: _Counts | None) -> bool | None:
    for side in (counts, server):
        seen = side.of("tls") if side else {}
        if "yes" in seen or "no" in seen:
            return "no" not in seen
    return None


def latency(fine: Mapping[str, float], coarse: Mapping[str, float]) -> dict[str, list[int]]:
    """A histogram of the record's form, from cumulative buckets by upper bound.

    What lies between two bounds is counted at their geometric middle, so a quantile is as fine as the buckets are:
    within 8 % on the embedded lab's sidecars, within a factor of 2.3 on Istio's.

    Args:
        fine: Bounds in microseconds; used where there are any.
        coarse: Bounds in milliseconds.
    """
    scale, buckets = (1.0, fine) if fine else (1000.0, coarse)
    bounds = sorted((float(bound), value) for bound, value in buckets.items() if bound != _EVERYTHING)
    found = Histogram()
    before, below = 0.0, 0.0
    for bound, value in bounds:
        if value > below:
            middle = math.sqrt(before * bound) if before else bound / 2
            found.add(middle * scale, round(value - below))
        before, below = bound, max(below, value)
    over = buckets.get(_EVERYTHING, 0.0) - below
    if over > 0 and before:
        found.add(before * scale, round(over))
    return found.as_json()
