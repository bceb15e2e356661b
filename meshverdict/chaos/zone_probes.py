"""What experiments ask about zones: who shares what by counted packets, what affinity saved, and who carries how much."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.load_table import OK
from meshverdict.analysis.pairs import MEAN_TRIM
from meshverdict.analysis.zones import (
    ROUND_TRIPS,
    Share,
    cost_per_month,
    load_of_pods,
    load_of_zones,
    outage,
    parse_traffic,
    round_trips,
    saved_ms,
    seconds_told,
    share,
    share_of_request,
)
from meshverdict.chaos import record, zone_rtt
from meshverdict.chaos.answers import AS_EXPECTED, NOT_EXPECTED
from meshverdict.chaos.session import current
from meshverdict.chaos.zone_rtt import ZONE
from meshverdict.model.errors import LabError, RecordError, UsageError
from meshverdict.model.record_reader import read_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_POLL_S: Final = 0.2
_PATIENCE_S: Final = 5.0


def find_round_trip() -> float:
    """Measure the round trip between the cluster's zones, milliseconds, and keep it for this run's formula."""
    found = zone_rtt.measure(current().access)
    current().zones["round_trips"] = [one.as_dict() for one in found]
    across = [one.p50_ms for one in found if one.source != one.destination]
    current().zones["rtt_ms"] = round(sum(across) / len(across), 4)
    return float(current().zones["rtt_ms"])


def local_share(caller: str, called: str, phase: str | None = None) -> float:
    """Share of packets between two namespaces' pods that stayed in their zone, as the kernel counted them.

    Args:
        caller: Beginning of ``namespace/pod``, such as "pippo/".
        called: The same, such as "paperino/".
        phase: Name of a phase; by default the one that lasts.
    """
    found = _share(caller, called, phase)
    if found.local is None:
        raise RecordError(f"no packet was counted between {caller} and {called}: nobody talked")
    return round(found.local, 5)


def local_share_as_expected(
    caller: str,
    called: str,
    treated: list[float] | None = None,
    untreated: list[float] | None = None,
    *,
    required: bool = False,
) -> str:
    """Whether packets stay in their zone exactly when they must; phase-aware.

    Args:
        caller: Beginning of ``namespace/pod``.
        called: The same.
        treated: Least and greatest share under the treatment (0.99 to 1).
        untreated: Least and greatest share without it (0 to 0.95).
        required: Fail instead of answering "NOT as expected", for rollbacks.
    """
    low, high = (treated or [0.99, 1.0]) if current().timeline.treated else (untreated or [0.0, 0.95])
    found = local_share(caller, called)
    said = f"{found:.2%} of the packets between {caller} and {called} stayed in their zone"
    said += f", expected {low:.0%} to {high:.0%}"
    if required and not low <= found <= high:
        raise LabError(
            f"{said}; affinity is as it should not be: look at the Service and the DestinationRules"
        )
    return (AS_EXPECTED if low <= found <= high else NOT_EXPECTED) + said


def _share(caller: str, called: str, phase: str | None) -> Share:
    window = _window(phase)
    return share(parse_traffic(_lines_of(window)), caller, called, window.start, window.end)


def _window(phase: str | None) -> record.Window:
    session = current()
    start = read_record(session.folder / "load.jsonl").header.start
    return record.window_of(session.timeline, phase=phase, last_s=None, load_start=start)


def _lines_of(window: record.Window) -> list[dict[str, Any]]:
    """What was counted, as soon as the window is over.

    Raises:
        RecordError: Not a second was counted in it, which is no sign that nobody talked.
    """
    traffic, end = current().traffic, window.end
    if traffic is None:
        raise UsageError(
            "packets between pods are counted by an embedded lab of several zones alone: `meshverdict up --zones 2`; on a"
            " real cluster ask Hubble (`hubble observe --from-namespace pippo`)"
        )
    deadline = time.monotonic() + _PATIENCE_S
    while traffic.newest < end and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if traffic.newest < end - 1:
        raise RecordError(
            f"the packets were not counted to the end: {end - traffic.newest:.0f} s are missing"
        )
    _seconds(traffic.lines, window)
    return traffic.lines


def _per_second(amount: int, window: record.Window) -> float:
    return amount / _seconds(_lines_of(window), window)


def _seconds(lines: Iterable[Mapping[str, Any]], window: record.Window) -> int:
    """How many seconds of counted packets lie in a window."""
    found = seconds_told((float(line["t"]) for line in lines), window.start, window.end)
    if not found:
        raise RecordError(
            f"the window of {window.end - window.start} s is too short: no whole second of counted packets lies in it;"
            " make the phase longer by two seconds"
        )
    return found


def zone_saving(  # noqa: PLR0917 - an experiment names its arguments
    caller: str,
    called: str,
    phase: str,
    beside: str,
    connection: str,
    name: str = "/get",
    mtls: bool = False,  # noqa: FBT001, FBT002 - JSON
    price_per_gb: float = 0.02,
) -> str:
    """What affinity saved in this run, beside the formula, in a sentence; kept in run.json as well.

    Args:
        caller: Beginning of ``namespace/pod``.
        called: The same.
        phase: Phase with affinity.
        beside: Phase without.
        connection: "pooled" or "fresh": how many round trips one request takes.
        name: Endpoint of the load.
        mtls: Sidecars on both sides, with TLS between them.
        price_per_gb: Of traffic across zones, both directions together.
    """
    session = current()
    if connection not in ROUND_TRIPS:
        raise UsageError(f"zone_saving: connection {connection!r}: one of {', '.join(ROUND_TRIPS)}")
    rtt = session.zones.get("rtt_ms")
    if rtt is None:
        raise UsageError("zone_saving: the round trip is not known; ask find_round_trip before")
    found = {key: _told(caller, called, each, name) for key, each in (("with", phase), ("without", beside))}
    turns = round_trips(connection, mtls=mtls)
    saved = found["without"]["mean_ms"] - found["with"]["mean_ms"]
    formula = saved_ms(turns, found["without"]["crossing"], found["with"]["crossing"], rtt)
    money = {k: cost_per_month(v["cross_bytes_per_s"], price_per_gb) for k, v in found.items()}
    session.zones["saving"] = {
        "connection": connection,
        "round_trips": turns,
        "rtt_ms": rtt,
        "saved_ms": round(saved, 4),
        "formula_ms": round(formula, 4),
        "price_per_gb": price_per_gb,
        "cost_per_month": {k: round(v, 4) for k, v in money.items()},
        **found,
    }
    return (
        f"mean {found['with']['mean_ms']:.2f} ms beside {found['without']['mean_ms']:.2f} ms: {saved:.2f} ms saved,"
        f" {share_of_request(saved, found['without']['mean_ms']):.0%} of the request; formula: {turns} round trips x"
        f" ({found['without']['crossing']:.3f} - {found['with']['crossing']:.3f}) x {rtt:.3f} ms = {formula:.2f} ms;"
        f" across zones {found['with']['cross_bytes_per_s'] / 1e3:.1f} beside"
        f" {found['without']['cross_bytes_per_s'] / 1e3:.1f} kB/s, {money['with']:.2f} beside {money['without']:.2f} a"
        f" month at {price_per_gb:g} per GB"
    )


def _told(caller: str, called: str, phase: str, name: str) -> dict[str, float]:
    window = _window(phase)
    table = record.table_covering(current().folder / "load.jsonl", window)
    rows = table.rows(start=window.start, end=window.end, names=(name,), outcomes=(OK,))
    mean, passed = table.mean_ms(rows, MEAN_TRIM), _share(caller, called, phase)
    if mean is None or passed.crossing is None:
        raise RecordError(f"phase {phase!r}: no good answer of {name!r}, or no packet counted")
    return {
        "mean_ms": round(mean, 4),
        "crossing": round(passed.crossing, 5),
        "cross_bytes_per_s": round(_per_second(passed.cross_bytes, window), 1),
    }


def load_by_pod(caller: str, called: str, phase: str | None = None) -> dict[str, float]:
    """Packets a second that each called pod got from the callers: who carries how much.

    Args:
        caller: Beginning of ``namespace/pod``.
        called: The same.
        phase: Name of a phase; by default the one that lasts.
    """
    window = _window(phase)
    passed = parse_traffic(_lines_of(window))
    counted = load_of_pods(passed, caller, called, window.start, window.end)
    found = {pod: round(_per_second(n, window), 1) for pod, n in counted.items()}
    current().zones.setdefault("load_by_pod", {}).setdefault(phase or "now", {}).update(found)
    return found


def load_by_zone(caller: str, called: str, phase: str | None = None) -> str:
    """What share of the packets one called pod of each zone got, beside an even share, in a sentence.

    Args:
        caller: Beginning of ``namespace/pod``.
        called: The same.
        phase: Name of a phase; by default the one that lasts.
    """
    window = _window(phase)
    counted = load_of_pods(parse_traffic(_lines_of(window)), caller, called, window.start, window.end)
    places = {
        f"{p['metadata']['namespace']}/{p['metadata']['name']}": str(p["metadata"]["labels"].get(ZONE, ""))
        for p in current().pods()
    }
    found = load_of_zones(counted, {pod: zone for pod, zone in places.items() if pod.startswith(called)})
    if not found:
        raise RecordError(f"no packet was counted from {caller} to {called}: nobody talked")
    kept = [{key: getattr(one, key) for key in one.__dataclass_fields__} for one in found]
    current().zones.setdefault("load_by_zone", {}).setdefault(phase or "now", {})[called] = kept
    return f"{called}: " + "; ".join(
        f"{one.zone} {one.share:.0%} of the packets for {one.pods} pods, {one.share / one.pods:.1%} each:"
        f" {one.overload:.2f} times an even share"
        for one in found
    )


def served_again(phase: str, name: str = "/get") -> str:
    """How long it took until every request was answered well again, and what it cost, in a sentence.

    Args:
        phase: Phase that began when something failed.
        name: Endpoint of the load.
    """
    session = current()
    found = session.timeline.find(phase)
    if found is None:
        raise UsageError(f"served_again: there was no phase {phase!r}")
    window = _window(phase)
    table = record.table_covering(session.folder / "load.jsonl", window)
    rows, good = table.rows(names=(name,)), table.rows(names=(name,), outcomes=(OK,))
    seconds = [
        (t, int(table.n[rows & (table.t == t)].sum()), int(table.n[rows & ~good & (table.t == t)].sum()))
        for t in sorted({int(t) for t in table.t[rows]})
    ]
    seen = outage(seconds, found.start, window.end)
    if seen.share_left is None:
        raise RecordError(
            f"phase {phase!r}: no request to {name!r} in its last seconds (endpoints: {', '.join(table.names)})"
        )
    session.zones["outage"] = {key: getattr(seen, key) for key in seen.__dataclass_fields__}
    cost = f"{seen.errors} of {seen.requests} requests were not answered well"
    if seen.over_after_s is None:
        return f"NOT everybody is served again: {seen.share_left:.0%} of the last requests failed; {cost}"
    return f"everybody was served again after {seen.over_after_s:.1f} s; {cost}"
