"""NetworkPolicy in nftables: one chain for each set of isolated pods, reached by the pod's address.

A packet is judged by its connection's tuple, ``ct original ip saddr`` for who called, ``ct reply ip saddr``
and ``ct reply proto-src`` for who was called after translation, so one set of rules judges both directions of
a connection, through Services too, and ICMP errors about it. Egress is judged on the source's node, ingress
on the destination's, in two base chains, because ``accept`` ends only its own.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from meshverdict.network.intervals import Interval, dotted, number, tiles, union
from meshverdict.network.policy import Clause, Ports
from meshverdict.network.ruleset import Table, digest
from meshverdict.network.values import NODE_RANGES, Direction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from meshverdict.network.policy import Bundle, Peers, PolicyRules, PortRange

CALLER: Final = "ct original ip saddr"
CALLED: Final = "ct reply ip saddr"
CALLED_PORT: Final = "ct reply proto-src"
_NODE_RANGES: Final = ", ".join(NODE_RANGES)
_ALL_PORTS: Final = (0, 65535)
_FEW_PAIRS: Final = 64
_WIDE: Final = 1000


def add_bundles(table: Table, rules: PolicyRules, local: frozenset[str]) -> dict[Direction, dict[str, str]]:
    """Write a chain for every bundle that isolates a pod of this node.

    Returns:
        Direction -> local pod address -> the chains that admit its traffic, as one line of jumps.
    """
    jumps: dict[Direction, dict[str, list[str]]] = {"ingress": defaultdict(list), "egress": defaultdict(list)}
    for bundle in rules.bundles:
        mine = bundle.pods & local
        if mine:
            chain = f"{bundle.direction}_{digest(' '.join(bundle.policies))}"
            table.chain(chain, _admissions(table, bundle))
            for address in mine:
                jumps[bundle.direction][address].append(chain)
    return {
        direction: {address: " ".join(chains) for address, chains in by_pod.items()}
        for direction, by_pod in jumps.items()
    }


def _admissions(table: Table, bundle: Bundle) -> Iterator[str]:
    """Accept rules; short clauses share one set of (address, port), so that long lists cost one lookup."""
    other = CALLER if bundle.direction == "ingress" else CALLED
    short = [clause for clause in bundle.clauses if _is_short(clause)]
    rest = [clause for clause in bundle.clauses if not _is_short(clause)]
    for protocol, clauses in sorted(_by_protocol(short).items()):
        elements, interval = _pair_elements(clauses)
        if elements is None:
            rest += [Clause(peers, Ports(frozenset({ports}))) for peers, ports in clauses]
        else:
            name = table.set("pairs", "ipv4_addr . inet_service", elements, interval=interval)
            yield f"ct protocol {protocol} {other} . {CALLED_PORT} @{name} accept"
    for clause in rest:
        match = _peers_match(table, clause.peers, other)
        if match is not None:
            for ports in _ports_matches(table, clause.ports):
                yield f"{match}{ports}accept"


def _is_short(clause: Clause) -> bool:
    """Whether all pairs of its peers and ports are about as few as the peers and ports themselves."""
    peers, ports = clause.peers, clause.ports
    if peers is None or ports is None or ports.targets:
        return False
    if any(high - low > _WIDE for _, low, high in ports.ranges):
        return False  # it would be cut into pieces by every other range
    count = len(peers.addresses) + len(peers.blocks)
    return count * len(ports.ranges) <= max(_FEW_PAIRS, count + len(ports.ranges))


def _by_protocol(clauses: list[Clause]) -> dict[str, list[tuple[Peers, PortRange]]]:
    found: dict[str, list[tuple[Peers, PortRange]]] = defaultdict(list)
    for clause in clauses:
        if clause.peers is not None and clause.ports is not None:
            for part in clause.ports.ranges:
                found[part[0].lower()].append((clause.peers, part))
    return found


def _pair_elements(clauses: list[tuple[Peers, PortRange]]) -> tuple[Iterable[str] | None, bool]:
    """Elements of a set of pairs, and whether they are ranges; None when ranges overlap too much."""
    if all(not peers.blocks and low == high for peers, (_, low, high) in clauses):
        return {f"{address} . {low}" for peers, (_, low, _) in clauses for address in peers.addresses}, False
    areas = [(x, (low, high)) for peers, (_, low, high) in clauses for x in _intervals(peers)]
    found = tiles(areas, limit=4 * len(areas) + 100)
    if found is None:
        return None, True
    return [f"{_range(dotted, *x)} . {_range(str, *y)}" for x, y in found], True


def _intervals(peers: Peers) -> tuple[Interval, ...]:
    numbers = ((value, value) for value in map(number, peers.addresses))
    return union([*peers.blocks, *numbers])


def _peers_match(table: Table, peers: Peers | None, other: str) -> str | None:
    """The start of a rule; None when nobody can match."""
    if peers is None:
        return ""
    if not peers.blocks:
        if not peers.addresses:
            return None
        return f"{other} @{table.set('pods', 'ipv4_addr', peers.addresses)} "
    ranges = [_range(dotted, low, high) for low, high in _intervals(peers)]
    return f"{other} @{table.set('blocks', 'ipv4_addr', ranges, interval=True)} "


def _ports_matches(table: Table, ports: Ports | None) -> Iterator[str]:
    """The middle of one rule for each protocol."""
    if ports is None:
        yield ""
        return
    by_protocol: dict[str, list[PortRange]] = defaultdict(list)
    for part in ports.ranges:
        by_protocol[part[0].lower()].append(part)
    for protocol, parts in sorted(by_protocol.items()):
        if any((low, high) == _ALL_PORTS for _, low, high in parts):
            yield f"ct protocol {protocol} "
        elif len(parts) == 1:
            yield f"ct protocol {protocol} {CALLED_PORT} {_range(str, *parts[0][1:])} "
        else:
            elements = [_range(str, low, high) for _, low, high in parts]
            name = table.set("ports", "inet_service", elements, interval=True)
            yield f"ct protocol {protocol} {CALLED_PORT} @{name} "
    targets: dict[str, list[str]] = defaultdict(list)
    for address, protocol, port in ports.targets:
        targets[protocol.lower()].append(f"{address} . {port}")
    for protocol, elements in sorted(targets.items()):
        name = table.set("named", "ipv4_addr . inet_service", elements)
        yield f"ct protocol {protocol} {CALLED} . {CALLED_PORT} @{name} "


def _range(write: Callable[[int], str], low: int, high: int) -> str:
    return write(low) if low == high else f"{write(low)}-{write(high)}"


def base_chains(table: Table, entries: Mapping[Direction, Sequence[str]], *, keep_established: bool) -> None:
    """The hooks: from a pod's address to its group's chain, with what is always allowed before."""
    priorities: dict[Direction, str] = {"egress": "filter - 10", "ingress": "filter"}
    for direction, priority in priorities.items():
        table.map(f"{direction}_of", "ipv4_addr", entries.get(direction, ()))
        who = CALLER if direction == "egress" else CALLED
        rules = ["ct state invalid counter drop"]  # it has no tuple to be judged by
        if keep_established:
            rules.append("ct state established,related accept")
        rules.append(f"{CALLER} . {CALLED} @self accept")
        if direction == "ingress":
            rules.append(f"{CALLER} {{ {_NODE_RANGES} }} accept")
        rules.append(f"{who} vmap @{direction}_of")
        table.chain(direction, rules, hook=f"type filter hook forward priority {priority}; policy accept;")
