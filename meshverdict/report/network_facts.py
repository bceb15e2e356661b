"""What the network did: the flows, the endpoint table, the connections that were tried. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from meshverdict.analysis.flows import Flow, FlowRow, aggregate
from meshverdict.analysis.loose import count, mapping, mappings, number
from meshverdict.report.document import ConnectionRow, EndpointRow

DNS_PORT: Final = 53
# Workloads that measure; they are no part of what is measured.
MEASURING: Final = ("meshverdict-prober",)
# Labels that controllers and the scheduler add; nobody selects by them.
_GENERATED_LABELS: Final = (
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "topology.",
)


def endpoint_rows(value: object) -> tuple[EndpointRow, ...]:
    """The endpoint table of ``measures.endpoints``: {"before": [...], "during": [...]}, matched by pod."""
    if not isinstance(value, Mapping):
        return ()
    before, during = _by_pod(value.get("before")), _by_pod(value.get("during") or value.get("after"))
    rows = []
    for pod in dict.fromkeys([*before, *during]):
        then, now = before.get(pod, {}), during.get(pod, {})
        known = {**then, **now}
        labels = known.get("labels")
        rows.append(
            EndpointRow(
                pod=pod,
                labels=tuple(
                    f"{k}={v}" for k, v in mapping(labels).items() if not k.startswith(_GENERATED_LABELS)
                ),
                address=str(known.get("ipv4", "")),
                ingress=(str(then.get("ingress", "?")), str(now.get("ingress", "?"))),
                egress=(str(then.get("egress", "?")), str(now.get("egress", "?"))),
            )
        )
    return tuple(sorted(rows, key=lambda row: row.pod))


def _by_pod(value: object) -> dict[str, Mapping[str, Any]]:
    return {str(item["pod"]): item for item in mappings(value) if "pod" in item}


def connection_rows(value: object) -> tuple[ConnectionRow, ...]:
    """The connections of ``measures.connections``; what is not one is left out."""
    return tuple(_connection(item) for item in mappings(value) if "from" in item)


def _connection(item: Mapping[str, Any]) -> ConnectionRow:
    attempts, kept = mapping(item.get("attempts")), mapping(item.get("open_connection"))
    return ConnectionRow(
        source=str(item["from"]),
        destination=str(item.get("to", "")),
        attempts=(count(attempts.get("open")), count(attempts.get("closed"))),
        resolution_ms=number(item.get("resolution_ms")),
        to_denied_ms=number(item.get("apply_to_denied_ms")),
        denied_as=str(item.get("denied_as") or ""),
        opened_after_denial=count(item.get("opened_after_denial")),
        to_allowed_ms=number(item.get("remove_to_allowed_ms")),
        open_connection=_fate(kept) if kept else "",
    )


def _fate(kept: Mapping[str, Any]) -> str:
    after = number(kept.get("after_ms"))
    if not kept.get("ended_as"):
        return "stayed open"
    return f"{kept['ended_as']}" + (f" after {after:,.0f} ms" if after is not None else "")


def flow_table(flows: Sequence[Flow]) -> tuple[FlowRow, ...]:
    """Flows by kind: what the application did first, dropped before forwarded; then all the rest."""
    rows = aggregate(flows)
    own = [row for row in rows if of_the_application(row)]
    return (*own, *(row for row in rows if not of_the_application(row)))


def of_the_application(flow: Flow | FlowRow) -> bool:
    """Whether a flow belongs into the picture: no name lookups, no health checks by the node, no probers."""
    ends = (flow.source, flow.destination)
    return flow.port != DNS_PORT and "host" not in ends and not any(end.endswith(MEASURING) for end in ends)
