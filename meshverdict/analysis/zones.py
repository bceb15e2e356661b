"""What zones cost a caller: who talked to whom within and across them, and what a round trip between them adds.

Pure. Shares come from counted packets, not from what was configured. The formula beside the measurement is

    time saved for a request = round trips x (share of requests that crossed before - after) x round trip time

which holds for the mean: a median of requests of which half cross says nothing about either half.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.loose import mappings, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshverdict.analysis.windows import Window

# Round trips of one GET by redis-py 8 as the lab's app makes it, counted by tests/app/test_round_trips.py: on a
# connection that is there; on a new one TCP, HELLO, MAINT_NOTIFICATIONS, two SETINFO and GET.
ROUND_TRIPS: Final = {"pooled": 1, "fresh": 6}
# A sidecar's connection to the other sidecar: TLS 1.3 adds one before the first byte.
MTLS_ROUND_TRIPS: Final = 1
HOURS_A_MONTH: Final = 730.0
BYTES_PER_GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Passed:
    """What one pod sent to another within a second.

    Attributes:
        t: Unix seconds, the end of that second.
        source: ``namespace/pod``, or an address that no pod has.
        destination: The same.
        from_zone: Zone of the source; empty when not known.
        to_zone: Zone of the destination; empty when not known.
        packets: Sent from the source to the destination.
        bytes: With their IP headers.
    """

    t: float
    source: str
    destination: str
    from_zone: str
    to_zone: str
    packets: int
    bytes: int

    @property
    def crosses(self) -> bool:
        """Whether it left its zone."""
        return self.from_zone != self.to_zone


@dataclass(frozen=True, slots=True)
class Share:
    """What stayed in its zone and what crossed, both directions of a conversation together.

    Attributes:
        local_packets: Within a zone.
        cross_packets: Between two.
        local_bytes: Within a zone.
        cross_bytes: Between two.
    """

    local_packets: int
    cross_packets: int
    local_bytes: int
    cross_bytes: int

    @property
    def packets(self) -> int:
        """All packets."""
        return self.local_packets + self.cross_packets

    @property
    def local(self) -> float | None:
        """Share of packets that stayed in their zone; None when there were none."""
        return self.local_packets / self.packets if self.packets else None

    @property
    def crossing(self) -> float | None:
        """Share of packets that left their zone; None when there were none."""
        return self.cross_packets / self.packets if self.packets else None


@dataclass(frozen=True, slots=True)
class ZoneEdge:
    """What passed from one namespace's pods in one zone to another's, per second of a window."""

    source: str
    from_zone: str
    destination: str
    to_zone: str
    packets: float
    bytes: float


def parse_traffic(lines: Iterable[Mapping[str, Any]]) -> tuple[Passed, ...]:
    """The lines of telemetry with ``traffic``; other lines, and what is broken, are left out."""
    found = []
    for line in lines:
        t = number(line.get("t"))
        if t is None:
            continue
        for pair in mappings(line.get("traffic")):
            packets, size = number(pair.get("packets")), number(pair.get("bytes"))
            source, destination = pair.get("from"), pair.get("to")
            if packets is None or size is None or min(packets, size) < 0 or not isinstance(source, str):
                continue
            if isinstance(destination, str):
                places = (str(pair.get("from_zone") or ""), str(pair.get("to_zone") or ""))
                found.append(Passed(t, source, destination, *places, int(packets), int(size)))
    return tuple(found)


def share(passed: Iterable[Passed], caller: str, called: str, start: float, end: float) -> Share:
    """How much of a conversation stayed in its zone, questions and answers together.

    Args:
        passed: From :func:`parse_traffic`.
        caller: Beginning of ``namespace/pod``, such as "pippo/".
        called: The same, such as "paperino/".
        start: Unix seconds; a second counts when all of it is in the window.
        end: Unix seconds.
    """
    packets, sizes = [0, 0], [0, 0]
    for one in passed:
        ends = (one.source, one.destination)
        there = ends[0].startswith(caller) and ends[1].startswith(called)
        back = ends[1].startswith(caller) and ends[0].startswith(called)
        if (there or back) and start + 1 <= one.t <= end and one.from_zone and one.to_zone:
            packets[one.crosses] += one.packets
            sizes[one.crosses] += one.bytes
    return Share(packets[False], packets[True], sizes[False], sizes[True])


def seconds_told(times: Iterable[float], start: float, end: float) -> int:
    """How many lines of a window count: what is counted in it is divided by these, not by its length.

    A line comes a little later than a second after the one before, so a window may hold fewer than it has seconds.
    """
    return len({t for t in times if start + 1 <= t <= end})


def edges(passed: Iterable[Passed], windows: Sequence[Window]) -> tuple[ZoneEdge, ...]:
    """Who talked to whom, by namespace and zone, per second of the windows; what is no pod is left out."""
    seconds = sum(window.seconds for window in windows)
    totals: dict[tuple[str, str, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for one in passed:
        if not any(w.start + 1 <= one.t <= w.end for w in windows) or not (one.from_zone and one.to_zone):
            continue
        source, destination = one.source.partition("/")[0], one.destination.partition("/")[0]
        total = totals[source, one.from_zone, destination, one.to_zone]
        total[0] += one.packets
        total[1] += one.bytes
    if not seconds:
        return ()
    return tuple(ZoneEdge(*key, p / seconds, b / seconds) for key, (p, b) in sorted(totals.items()))


def load_of_pods(
    passed: Iterable[Passed], caller: str, called: str, start: float, end: float
) -> dict[str, int]:
    """Packets that each called pod got from the callers: who carries how much."""
    found: dict[str, int] = defaultdict(int)
    for one in passed:
        wanted = one.source.startswith(caller) and one.destination.startswith(called)
        if wanted and start + 1 <= one.t <= end:
            found[one.destination] += one.packets
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class ZoneLoad:
    """What the called pods of one zone carry.

    Attributes:
        zone: Its name.
        pods: How many there are, those that got nothing included.
        share: Of all packets that the callers sent, 0 to 1.
        overload: What one of its pods got, beside what each would get if all got the same.
    """

    zone: str
    pods: int
    share: float
    overload: float


def load_of_zones(loads: Mapping[str, int], zones: Mapping[str, str]) -> tuple[ZoneLoad, ...]:
    """Who carries more than an even share, by zone; empty when nothing was sent.

    Args:
        loads: Packets of each called pod, from :func:`load_of_pods`.
        zones: Zone of every pod that could have been called.

    >>> load_of_zones({"a/1": 50, "b/1": 50}, {"a/1": "a", "a/2": "a", "a/3": "a", "b/1": "b"})[1].overload
    2.0
    """
    total = sum(loads.get(pod, 0) for pod in zones)
    if not total:
        return ()
    found = []
    for zone in sorted(set(zones.values())):
        pods = [pod for pod, where in zones.items() if where == zone]
        share_ = sum(loads.get(pod, 0) for pod in pods) / total
        found.append(ZoneLoad(zone, len(pods), share_, share_ / len(pods) * len(zones)))
    return tuple(found)


def saved_ms(round_trips: float, crossing_before: float, crossing_after: float, rtt_ms: float) -> float:
    """Mean time that a request is answered sooner, milliseconds, by the formula.

    >>> saved_ms(6, 0.5, 0.0, 2.0)
    6.0
    """
    return round_trips * (crossing_before - crossing_after) * rtt_ms


def round_trips(connection: str, *, mtls: bool = False) -> int:
    """Round trips between the app and Redis for one GET.

    Args:
        connection: ``pooled`` or ``fresh``.
        mtls: Two sidecars with TLS between them; a connection that is kept has paid for it.

    Raises:
        KeyError: Another word.
    """
    return ROUND_TRIPS[connection] + (MTLS_ROUND_TRIPS if mtls and connection == "fresh" else 0)


def share_of_request(saved: float, mean_ms: float) -> float:
    """How much of a request's mean time the crossing takes: what "dramatic" is judged by, whatever the delay.

    >>> share_of_request(1.0, 4.0)
    0.25
    """
    return saved / mean_ms


def cost_per_month(bytes_per_s: float, price_per_gb: float) -> float:
    """Price of a month's traffic across zones, in the currency of the price.

    Args:
        bytes_per_s: Bytes that cross, both directions.
        price_per_gb: For each GB that crosses; where the provider charges both ends, the sum of both.

    >>> cost_per_month(1e6, 0.02)
    52.56
    """
    return bytes_per_s * 3600 * HOURS_A_MONTH / BYTES_PER_GB * price_per_gb


@dataclass(frozen=True, slots=True)
class Outage:
    """What a failure cost the callers.

    Attributes:
        requests: From its moment on, to the end of the window.
        errors: Those of them that were not answered well.
        over_after_s: Seconds from its moment to the end of the last second with an error; 0 without any, None when the
            last seconds of the window still had some, or no request at all.
        share_left: Share of errors in those last seconds; None when nobody asked in them.
    """

    requests: int
    errors: int
    over_after_s: float | None
    share_left: float | None


def outage(seconds: Iterable[tuple[int, int, int]], moment: float, end: float, quiet_s: int = 3) -> Outage:
    """Judge a failure by the load record.

    Args:
        seconds: Unix second, requests and errors of each second of the record.
        moment: When it failed, unix seconds.
        end: End of the window.
        quiet_s: The last so many seconds must have no error for it to be over.
    """
    inside = [(t, n, bad) for t, n, bad in seconds if moment - 1 < t and t + 1 <= end]
    requests, errors = sum(n for _, n, _ in inside), sum(bad for _, _, bad in inside)
    tail = [(n, bad) for t, n, bad in inside if t + 1 > end - quiet_s]
    asked, left = sum(n for n, _ in tail), sum(bad for _, bad in tail)
    last = max((t + 1 for t, _, bad in inside if bad), default=None)
    over = None if left or not asked else 0.0 if last is None else max(0.0, last - moment)
    return Outage(requests, errors, over, left / asked if asked else None)
