"""The flow log turned into answers: who was dropped, who calls whom, and how fast a policy bites.

The log is Hubble's own flow JSON, one object a line, so one reader serves Cilium and the embedded lab.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from meshverdict.analysis.loose import count, mapping, number

if TYPE_CHECKING:
    from meshverdict.analysis.windows import Moments

FORWARDED = "FORWARDED"
DROPPED = "DROPPED"
# The ends of pod names that controllers add: Kubernetes draws them from letters that make no words (and, long
# ago, wrote a ReplicaSet's as hexadecimal).
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED = re.compile(rf"(-([{_SAFE}]{{6,10}}|[a-f0-9]{{6,10}}))?-[{_SAFE}]{{5}}$")


@dataclass(frozen=True, slots=True)
class Flow:
    """One line of the log.

    Attributes:
        time: Unix seconds.
        verdict: FORWARDED or DROPPED (other words of Hubble's are kept as they are).
        source: ``namespace/workload``, or an address where the log names no pod.
        destination: See source.
        port: Destination port; 0 where there is none.
        protocol: TCP, UDP, SCTP or ICMP.
        reason: Why it was dropped, as the log says it.
        count: How many packets or connections the line stands for.
    """

    time: float
    verdict: str
    source: str
    destination: str
    port: int
    protocol: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class FlowRow:
    """All flows of one kind together."""

    source: str
    destination: str
    port: int
    protocol: str
    verdict: str
    reason: str
    count: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Enforcement:
    """How long a treatment took to bite and to let go, and how we know.

    Attributes:
        to_denied_ms: From apply to the first denied connection; None when not seen.
        to_allowed_ms: From removal to the first allowed connection of a kind denied before; None: not seen.
        source: Where the times were read.
    """

    to_denied_ms: float | None
    to_allowed_ms: float | None
    source: str


def parse_flow(line: Mapping[str, Any]) -> Flow | None:
    """A flow, from Hubble's JSON (with or without the outer ``flow`` key); None for any other line."""
    body = line.get("flow", line)
    if not isinstance(body, Mapping) or "verdict" not in body:
        return None
    time = _time(body.get("time") or line.get("time"))
    if time is None:
        return None
    protocol, port = _layer4(mapping(body.get("l4")))
    address = mapping(body.get("IP") or body.get("ip"))
    return Flow(
        time=time,
        verdict=str(body["verdict"]),
        source=_endpoint(mapping(body.get("source")), address.get("source")),
        destination=_endpoint(mapping(body.get("destination")), address.get("destination")),
        port=port,
        protocol=protocol,
        reason=str(body.get("drop_reason_desc") or ""),
        count=max(1, count(body.get("count"))),
    )


def parse_flows(lines: Iterable[Mapping[str, Any]]) -> tuple[Flow, ...]:
    """All flows of the lines, replies left out, in time order."""
    flows = (parse_flow(line) for line in lines if not _is_reply(line))
    return tuple(sorted((flow for flow in flows if flow is not None), key=lambda flow: flow.time))


def aggregate(flows: Iterable[Flow]) -> tuple[FlowRow, ...]:
    """Flows grouped by who, where to and verdict; dropped ones first, most frequent first."""
    rows: dict[tuple[str, str, int, str, str, str], list[float]] = {}
    for flow in flows:
        key = (flow.source, flow.destination, flow.port, flow.protocol, flow.verdict, flow.reason)
        entry = rows.setdefault(key, [0, flow.time, flow.time])
        entry[0] += flow.count
        entry[1] = min(entry[1], flow.time)
        entry[2] = max(entry[2], flow.time)
    made = [FlowRow(*key, count=int(entry[0]), first=entry[1], last=entry[2]) for key, entry in rows.items()]
    return tuple(sorted(made, key=lambda r: (r.verdict != DROPPED, -r.count, r.source, r.destination)))


def between(flows: Iterable[Flow], start: float | None, end: float | None) -> tuple[Flow, ...]:
    """The flows in [start, end); None is no bound."""
    return tuple(
        flow for flow in flows if (start is None or flow.time >= start) and (end is None or flow.time < end)
    )


def enforcement(flows: Iterable[Flow], moments: Moments) -> Enforcement:
    """Times to the first denial and back, from the moments that the run marked, else from the flow log."""
    flows = tuple(flows)
    denied = _elapsed(moments.applied, moments.in_effect)
    allowed = _elapsed(moments.removed, moments.restored)
    marked = denied is not None or allowed is not None
    used_log = False
    if denied is None and moments.applied is not None:
        after_apply = between(flows, moments.applied, moments.removed)
        denied = _elapsed(moments.applied, next((f.time for f in after_apply if f.verdict == DROPPED), None))
        used_log = denied is not None
    if allowed is None and moments.removed is not None:
        pairs = {(f.source, f.destination, f.port) for f in flows if f.verdict == DROPPED}
        after_removal = between(flows, moments.removed, None)
        back = (
            f.time
            for f in after_removal
            if f.verdict == FORWARDED and (f.source, f.destination, f.port) in pairs
        )
        allowed = _elapsed(moments.removed, next(back, None))
        used_log = used_log or allowed is not None
    sources = [word for word, used in (("moments marked by the run", marked), ("flow log", used_log)) if used]
    return Enforcement(denied, allowed, " and ".join(sources) or "not seen")


def _elapsed(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None or end < start else (end - start) * 1000


def _endpoint(who: Mapping[str, Any], address: object) -> str:
    namespace, pod = who.get("namespace"), who.get("pod_name")
    if pod:
        return f"{namespace}/{workload(str(pod))}" if namespace else workload(str(pod))
    labels = who.get("labels")
    for label in labels if isinstance(labels, list) else ():
        if str(label).startswith("reserved:"):
            return str(label).removeprefix("reserved:")
    return str(namespace or address or "unknown")


def workload(pod: str) -> str:
    """A pod's name without what its controller added.

    >>> workload("pythonapp-555d6d88cd-slhfb"), workload("traefik-controller-jkppg"), workload("redis")
    ('pythonapp', 'traefik-controller', 'redis')
    """
    return _GENERATED.sub("", pod) or pod


def is_of(pod: str, name: str) -> bool:
    """Whether a pod, by its name, is of a workload.

    >>> is_of("web-555d6d88cd-slhfb", "web"), is_of("web-api-555d6d88cd-slhfb", "web"), is_of("web-0", "web")
    (True, False, True)
    """
    return workload(pod) == name or re.fullmatch(rf"{re.escape(name)}-\d{{1,4}}", pod) is not None


def _layer4(layer: Mapping[str, Any]) -> tuple[str, int]:
    for protocol in ("TCP", "UDP", "SCTP"):
        if protocol in layer:
            return protocol, count(mapping(layer[protocol]).get("destination_port"))
    return ("ICMP" if any(key.startswith("ICMP") for key in layer) else "?"), 0


def _is_reply(line: Mapping[str, Any]) -> bool:
    body = line.get("flow", line)
    return isinstance(body, Mapping) and (body.get("is_reply") is True or body.get("reply") is True)


def _time(value: object) -> float | None:
    if isinstance(value, str):
        # Hubble writes nanoseconds, datetime reads microseconds.
        trimmed = re.sub(r"(\.\d{6})\d+", r"\1", value)
        try:
            return datetime.fromisoformat(trimmed).timestamp()
        except ValueError:
            return None
    return number(value)
