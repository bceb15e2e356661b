"""The service graph: who called whom before the treatment and with it, by the flow log and by the mesh. Pure.

The flow log knows new connections, and who was turned away. The mesh knows requests, how they ended and how long they
took, wherever a sidecar stood. An edge that both know is one edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshverdict.analysis.edges import totals
from meshverdict.analysis.flows import DROPPED, FORWARDED, Flow, between
from meshverdict.report.document import Edge, Traffic
from meshverdict.report.network_facts import MEASURING, of_the_application

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from meshverdict.analysis.edges import EdgeSample, EdgeTotal
    from meshverdict.analysis.windows import Moments

Graph = tuple[str, tuple[Edge, ...]]
# What controllers ask of the cluster is no part of the application.
_CONTROL_PLANE: Final = "default/kubernetes"
_NOT_A_SERVICE: Final = ("PassthroughCluster", "BlackHoleCluster")


def graphs(
    flows: Sequence[Flow], samples: Sequence[EdgeSample], moments: Moments, time: tuple[float, float] | None
) -> tuple[Graph, ...]:
    """The service graph before the treatment and with it, each with its title; none where nobody saw anything.

    Args:
        flows: The flow log.
        samples: What the mesh saw.
        moments: Of the treatment.
        time: First second of the load and the second after its last; None without load.
    """
    flows = tuple(flow for flow in flows if of_the_application(flow))
    samples = tuple(sample for sample in samples if _counts(sample))
    if not flows and not samples:
        return ()
    times = [*(sample.t for sample in samples), *(flow.time for flow in flows)]
    start, end = time or (min(times) - 1, max(times))
    if moments.applied is None:
        return (("Whole run", edges(flows, totals(samples, start, end), samples)),)
    parts = (
        ("Before", None, moments.applied),
        ("With the treatment in place", moments.in_effect or moments.applied, moments.removed),
    )
    found = []
    for title, first, last in parts:
        seen = totals(samples, start if first is None else first, end if last is None else last)
        found.append((title, edges(between(flows, first, last), seen, samples)))
    return tuple((title, part) for title, part in found if part)


def _counts(sample: EdgeSample) -> bool:
    return (
        sample.service != _CONTROL_PLANE
        and sample.destination not in _NOT_A_SERVICE
        and not sample.source.endswith(MEASURING)
    )


def edges(
    flows: Sequence[Flow], seen: Sequence[EdgeTotal], samples: Sequence[EdgeSample] = ()
) -> tuple[Edge, ...]:
    """One edge for each caller, callee and port.

    The mesh knows a Service's port and the flow log the pod's: where only one edge of the mesh joins two workloads, it
    is taken for the same.

    Args:
        flows: Of a part of the run.
        seen: What the mesh saw in it.
        samples: What the mesh saw in the whole run.
    """
    known = {(s.source, s.destination, s.port) for s in samples}
    counts: dict[tuple[str, str, int], list[int]] = {}
    for flow in flows:
        entry = counts.setdefault((flow.source, flow.destination, flow.port), [0, 0])
        if flow.verdict in {FORWARDED, DROPPED}:
            entry[flow.verdict == DROPPED] += flow.count
    traffic = {(t.source, t.destination, t.port): _traffic(t) for t in seen}
    found: dict[tuple[str, str, int], list[int]] = {key: [0, 0] for key in traffic}
    for key, (forwarded, dropped) in counts.items():
        entry = found.setdefault(_same(key, {*known, *traffic}), [0, 0])
        entry[0] += forwarded
        entry[1] += dropped
    return tuple(
        Edge(*key, forwarded=n[0], dropped=n[1], traffic=traffic.get(key))
        for key, n in sorted(found.items())
        if sum(n) or key in traffic
    )


def _same(key: tuple[str, str, int], known: AbstractSet[tuple[str, str, int]]) -> tuple[str, str, int]:
    if key in known:
        return key
    between_both = [other for other in known if other[:2] == key[:2]]
    return between_both[0] if len(between_both) == 1 else key


def _traffic(total: EdgeTotal) -> Traffic:
    answers = sorted(total.answers.items(), key=lambda item: (-item[1], item[0]))
    return Traffic(
        protocol=total.protocol,
        requests=total.requests,
        rate=total.rate,
        errors=total.errors,
        denied=total.denied,
        p99_ms=total.quantile_ms(0.99),
        amplification=total.amplification,
        answers=tuple(answers),
        mtls=total.mtls,
    )
