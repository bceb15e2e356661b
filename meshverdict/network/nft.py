"""One node's complete nftables ruleset, from compiled policies and Services.

Only typed addresses, numbers and hashed names reach the text; nothing of a manifest is pasted into it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from meshverdict.network.flows import OPEN, FlowTag
from meshverdict.network.nft_policy import CALLED, CALLER, add_bundles, base_chains
from meshverdict.network.nft_services import add_services
from meshverdict.network.policy import PolicyRules
from meshverdict.network.ruleset import DEFAULT_TABLE, REFUSALS, Table, digest
from meshverdict.network.values import POD_RANGE, Direction, NodeNet, PodNet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshverdict.network.services import ServicePort

DENIED_COUNTERS: Final[dict[Direction, str]] = {"ingress": "denied_ingress", "egress": "denied_egress"}


@dataclass(frozen=True)
class FlowLogging:
    """How flows are logged to NFLOG.

    Args:
        group: NFLOG group.
        snaplen: Bytes of each packet; 64 hold the IP and TCP headers.
        per_second: Events each log rule writes in a second; more are counted, not logged.
        burst: Events above the rate that are let through after a quiet time.
    """

    group: int = 5
    snaplen: int = 128
    per_second: int = 1000
    burst: int = 2000


@dataclass(frozen=True)
class NftSettings:
    """How policies are enforced.

    Args:
        denied: ``drop`` leaves the caller waiting, as most CNIs do; ``reject`` answers at once (TCP reset,
            ICMP port unreachable).
        established: ``keep`` spares open connections when a policy changes; ``cut`` judges every packet of
            either direction.
        network_policy: False: Services only.
        flows: None: no flow log.
    """

    denied: Literal["drop", "reject"] = "drop"
    established: Literal["keep", "cut"] = "cut"
    network_policy: bool = True
    flows: FlowLogging | None = FlowLogging()


@dataclass(frozen=True)
class NodeRuleset:
    """A rendered ruleset.

    Args:
        table: The table, for ``text`` or ``transactions``.
        deciders: Id in a log prefix -> keys (``namespace/name``) of the policies that isolate the pod.
    """

    table: Table
    deciders: Mapping[str, tuple[str, ...]]

    @property
    def text(self) -> str:
        """The whole ruleset as one atomic transaction."""
        return self.table.text(DEFAULT_TABLE)

    def transactions(self, generation: int, *, previous: int | None, limit: int = 40_000) -> list[str]:
        """The ruleset for a small netlink buffer: load all in order; only the last changes what packets meet.

        Args:
            generation: A number not used before on this node.
            previous: The generation that is loaded now; None for the first.
            limit: Bytes of text of one transaction.
        """
        old = None if previous is None else f"{DEFAULT_TABLE}_{previous}"
        return self.table.transactions(f"{DEFAULT_TABLE}_{generation}", replaces=old, limit=limit)


def render(
    node: NodeNet,
    *,
    pods: Iterable[PodNet],
    services: Sequence[ServicePort] = (),
    rules: PolicyRules | None = None,
    settings: NftSettings | None = None,
) -> NodeRuleset:
    """Write a node's ruleset.

    Args:
        node: The node.
        pods: All pods of the cluster that have an address (those of other nodes are passed over).
        services: From ``compile_services``.
        rules: From ``compile_policies``; None means no policies.
        settings: How to enforce; None means the defaults.
    """
    settings = settings or NftSettings()
    local = frozenset(pod.ip for pod in pods if pod.node == node.name)
    table = Table()
    writer = _Writer(table, settings, rules or PolicyRules(), local)
    table.named_set("self", "ipv4_addr . ipv4_addr", (f"{ip} . {ip}" for ip in local))
    add_services(table, services, node)
    if settings.network_policy:
        writer.policies()
    if settings.flows:
        writer.forwarded()
    return NodeRuleset(table, writer.deciders)


class _Writer:
    """Groups: pods with the same policies share a chain, a log prefix and a decider's id."""

    def __init__(
        self, table: Table, settings: NftSettings, rules: PolicyRules, local: frozenset[str]
    ) -> None:
        self.deciders: dict[str, tuple[str, ...]] = {}
        self._table, self._settings, self._rules, self._local = table, settings, rules, local
        self._decider: dict[Direction, dict[str, str]] = {"ingress": {}, "egress": {}}

    def policies(self) -> None:
        admitting = add_bundles(self._table, self._rules, self._local)
        entries: dict[Direction, list[str]] = defaultdict(list)
        for direction, by_pod in admitting.items():
            self._table.counter(DENIED_COUNTERS[direction])
            for address, chains in by_pod.items():
                entries[direction].append(f"{address} : goto {self._group(direction, address, chains)}")
        base_chains(self._table, entries, keep_established=self._settings.established == "keep")

    def _group(self, direction: Direction, address: str, chains: str) -> str:
        """The chain of the pods that this one shares its policies with."""
        decider = digest(chains)
        self._decider[direction][address] = decider
        name = f"of_{direction}_{decider}"
        if decider not in self.deciders:
            isolating = self._rules.isolating(address, direction)
            self.deciders[decider] = tuple(policy.key for policy in isolating)
            jumps = [f"jump {chain}" for chain in chains.split()]
            self._table.chain(name, [*jumps, *self._denial(direction, decider)])
        return name

    def _denial(self, direction: Direction, decider: str) -> list[str]:
        rules = [f"counter name {DENIED_COUNTERS[direction]}"]
        if self._settings.flows:
            rules.append(self._log(self._settings.flows, FlowTag("DROPPED", direction, decider)))
        if self._settings.denied == "reject":
            return [*rules, *REFUSALS]
        return [*rules, "drop"]

    def _log(self, flows: FlowLogging, tag: FlowTag) -> str:
        return (
            f"limit rate {flows.per_second}/second burst {flows.burst} packets "
            f'log prefix "{tag.prefix}" group {flows.group} snaplen {flows.snaplen} queue-threshold 1'
        )

    def forwarded(self) -> None:
        """Log each new connection once: at the called pod's node, or where it leaves the cluster."""
        logged: dict[Direction, list[str]] = {"ingress": [], "egress": []}
        for direction, entries in logged.items():
            for address in sorted(self._local):
                tag = FlowTag("FORWARDED", direction, self._decider[direction].get(address, OPEN))
                entries.append(f"{address} : goto {self._log_chain(tag)}")
            self._table.map(f"forwarded_{direction}", "ipv4_addr", entries)
        self._table.chain(
            "flows",
            [
                "ct state != new accept",
                f"{CALLED} {POD_RANGE} {CALLED} vmap @forwarded_ingress",
                f"{CALLED} != {POD_RANGE} {CALLER} vmap @forwarded_egress",
            ],
            hook="type filter hook forward priority filter + 10; policy accept;",
        )

    def _log_chain(self, tag: FlowTag) -> str:
        name = f"log_{tag.direction}_{tag.decider}"
        if self._settings.flows and name not in self._table.chains:
            self._table.chain(name, [self._log(self._settings.flows, tag)])
        return name
