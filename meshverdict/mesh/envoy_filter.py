"""EnvoyFilters: patches on what was translated, in Istio's order, with a count of how often each one took hold.

A patch that hits nothing is Istio's silent failure: here the count reaches the resource's status.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshverdict.mesh.envoy import CLUSTER, CONNECTION_MANAGER, LISTENER, ROUTER, Json, typed
from meshverdict.mesh.lookup import for_workload
from meshverdict.mesh.values import Mesh, Resource, Workload

Rule = Mapping[str, Any]

_CAMEL: Final = re.compile(r"[a-z][a-z0-9]*(?:[A-Z][a-z0-9]*)+")


@dataclass
class Sidecar:
    """What patches change: the resources of one sidecar, in place.

    Args:
        listeners: Listeners of both directions.
        clusters: Clusters of both directions.
        routes: Route configurations that are files of their own (outbound).
    """

    listeners: list[Json]
    clusters: list[Json]
    routes: list[Json]


@dataclass(frozen=True)
class Hits:
    """How often each patch of an EnvoyFilter took hold in one sidecar, in order of ``configPatches``."""

    namespace: str
    name: str
    counts: tuple[int, ...] = field(default=())


def apply(mesh: Mesh, proxy: Workload, sidecar: Sidecar) -> list[Hits]:
    """Patch the sidecar with every EnvoyFilter that selects it: the root namespace's first, then by priority and age."""
    chosen = list(for_workload(mesh, "EnvoyFilter", proxy))
    root = mesh.settings.root_namespace
    chosen.sort(key=lambda r: (r.namespace != root, r.spec.get("priority") or 0, r.age))
    return [_apply(rule, sidecar) for rule in chosen]


def _apply(rule: Resource, sidecar: Sidecar) -> Hits:
    counts = [_APPLIED[p["applyTo"]](p, sidecar) for p in rule.spec.get("configPatches") or ()]
    return Hits(rule.namespace, rule.name, tuple(counts))


def merge(target: Json, patch: Rule) -> None:
    """Protocol buffers' merge: messages field by field, lists appended, single values replaced."""
    for written, value in patch.items():
        key = _snake(written)
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            merge(target[key], value)
        elif isinstance(value, list) and isinstance(target.get(key), list):
            target[key].extend(copy.deepcopy(value))
        else:
            target[key] = copy.deepcopy(value)


def _snake(key: str) -> str:
    """Patches may be written in either of protobuf's JSON spellings; what is merged into is written in one."""
    if not _CAMEL.fullmatch(key):
        return key
    return re.sub(r"([A-Z])", lambda m: f"_{m[1].lower()}", key)


# ---- which direction a resource belongs to, and what a patch asks for


def _direction(rule: Rule, *, inbound: bool) -> bool:
    context = (rule.get("match") or {}).get("context") or "ANY"
    return context in {"ANY", "SIDECAR_INBOUND" if inbound else "SIDECAR_OUTBOUND"}


def _patch(rule: Rule) -> tuple[str, Any]:
    patch = rule["patch"]
    return patch.get("operation") or "", patch.get("value")


def _listeners(rule: Rule, sidecar: Sidecar) -> Iterator[Json]:
    wanted = (rule.get("match") or {}).get("listener") or {}
    for listener in sidecar.listeners:
        inbound = listener.get("traffic_direction") == "INBOUND"
        if _direction(rule, inbound=inbound) and wanted.get("name") in {None, "", listener["name"]}:
            yield listener


def _chains(rule: Rule, sidecar: Sidecar) -> Iterator[Json]:
    wanted = (rule.get("match") or {}).get("listener") or {}
    chain_wanted = wanted.get("filterChain") or {}
    for listener in _listeners(rule, sidecar):
        port = listener["address"]["socket_address"]["port_value"]
        default = listener.get("default_filter_chain")
        for chain in [*listener.get("filter_chains", ()), *([default] if default else [])]:
            match = chain.get("filter_chain_match") or {}
            # Inbound there is one listener for all ports: the port is the chain's.
            number = match.get("destination_port") if listener["name"] == "virtualInbound" else port
            if (
                wanted.get("portNumber") in {None, 0, number}
                and chain_wanted.get("name") in {None, "", chain.get("name")}
                and chain_wanted.get("transportProtocol") in {None, "", match.get("transport_protocol")}
                and chain_wanted.get("destinationPort") in {None, 0, match.get("destination_port")}
            ):
                yield chain


def _filter_name(rule: Rule) -> str:
    chain = ((rule.get("match") or {}).get("listener") or {}).get("filterChain") or {}
    return (chain.get("filter") or {}).get("name") or ""


def _sub_filter_name(rule: Rule) -> str:
    chain = ((rule.get("match") or {}).get("listener") or {}).get("filterChain") or {}
    return ((chain.get("filter") or {}).get("subFilter") or {}).get("name") or ""


# ---- the objects that a patch may be applied to


def _network_filters(rule: Rule, sidecar: Sidecar) -> int:
    return sum(_in_list(c["filters"], rule, _filter_name(rule), last="") for c in _chains(rule, sidecar))


def _http_filters(rule: Rule, sidecar: Sidecar) -> int:
    if _filter_name(rule) not in {"", CONNECTION_MANAGER}:
        return 0
    return sum(
        _in_list(config["http_filters"], rule, _sub_filter_name(rule), last=ROUTER)
        for chain in _chains(rule, sidecar)
        for config in _managers(chain)
    )


def _managers(chain: Json) -> Iterator[Json]:
    for item in chain["filters"]:
        if item["name"] == CONNECTION_MANAGER:
            yield item["typed_config"]


def _in_list(items: list[Json], rule: Rule, name: str, *, last: str) -> int:
    """Patch a list of named filters; *last* is the name of one that has to stay at the end."""
    operation, value = _patch(rule)
    position = next((i for i, item in enumerate(items) if item["name"] == name), None)
    if name and position is None:
        return 0
    if operation in {"REMOVE", "MERGE", "REPLACE"}:
        return _changed(items, operation, value, position) if position is not None else 0
    end = len(items) - 1 if last and items and items[-1]["name"] == last else len(items)
    places = {
        "INSERT_FIRST": 0,
        "INSERT_BEFORE": position if position is not None else 0,
        "INSERT_AFTER": position + 1 if position is not None else end,
        "ADD": end,
    }
    items.insert(places[operation], copy.deepcopy(value))
    return 1


def _changed(items: list[Json], operation: str, value: Any, position: int) -> int:
    if operation == "REMOVE":
        del items[position]
    elif operation == "REPLACE":
        items[position] = copy.deepcopy(value)
    else:
        merge(items[position], value)
    return 1


def _whole_listeners(rule: Rule, sidecar: Sidecar) -> int:
    operation, value = _patch(rule)
    if operation == "ADD":
        sidecar.listeners.append(typed(LISTENER) | copy.deepcopy(dict(value)))
        return 1
    port = ((rule.get("match") or {}).get("listener") or {}).get("portNumber")
    chosen = [
        found
        for found in _listeners(rule, sidecar)
        if port in {None, 0, found["address"]["socket_address"]["port_value"]}
    ]
    return _each(sidecar.listeners, chosen, operation, value)


def _each(items: list[Json], chosen: Iterable[Json], operation: str, value: Any) -> int:
    count = 0
    for found in chosen:
        count += 1
        if operation == "REMOVE":
            items[:] = [item for item in items if item is not found]
        else:
            merge(found, value)
    return count


def _clusters(rule: Rule, sidecar: Sidecar) -> int:
    operation, value = _patch(rule)
    if operation == "ADD":
        if not any(_direction(rule, inbound=inbound) for inbound in (True, False)):
            return 0
        sidecar.clusters.append(typed(CLUSTER) | copy.deepcopy(dict(value)))
        return 1
    wanted = (rule.get("match") or {}).get("cluster") or {}
    chosen = [c for c in sidecar.clusters if _cluster_matches(rule, wanted, c["name"])]
    return _each(sidecar.clusters, chosen, operation, value)


def _cluster_matches(rule: Rule, wanted: Rule, name: str) -> bool:
    if wanted.get("name"):
        return bool(wanted["name"] == name)
    parts = name.split("|")
    if len(parts) != 4:
        return _direction(rule, inbound=name.startswith("Inbound")) and not wanted
    direction, port, subset, host = parts
    return (
        _direction(rule, inbound=direction == "inbound")
        and wanted.get("service") in {None, "", host}
        and wanted.get("subset") in {None, "", subset}
        and wanted.get("portNumber") in {None, 0, int(port)}
    )


def _tables(rule: Rule, sidecar: Sidecar) -> Iterator[Json]:
    """Route configurations of both directions: files outbound, inside the connection managers inbound."""
    wanted = (rule.get("match") or {}).get("routeConfiguration") or {}
    inner = [
        (table, True)
        for listener in sidecar.listeners
        if listener.get("traffic_direction") == "INBOUND"
        for chain in listener.get("filter_chains", ())
        for config in _managers(chain)
        if (table := config.get("route_config"))
    ]
    for table, inbound in [*((r, False) for r in sidecar.routes), *inner]:
        name = table["name"]
        port = name.split("|")[1] if inbound and "|" in name else name
        if (
            _direction(rule, inbound=inbound)
            and wanted.get("name") in {None, "", name}
            and str(wanted.get("portNumber") or port) == port
        ):
            yield table


def _route_tables(rule: Rule, sidecar: Sidecar) -> int:
    _, value = _patch(rule)
    return _each([], list(_tables(rule, sidecar)), "MERGE", value)


def _hosts(rule: Rule, sidecar: Sidecar) -> Iterator[tuple[Json, Json]]:
    wanted = ((rule.get("match") or {}).get("routeConfiguration") or {}).get("vhost") or {}
    for table in _tables(rule, sidecar):
        for host in list(table["virtual_hosts"]):
            if wanted.get("name") in {None, "", host["name"]}:
                yield table, host


def _virtual_hosts(rule: Rule, sidecar: Sidecar) -> int:
    operation, value = _patch(rule)
    if operation == "ADD":
        tables = list(_tables(rule, sidecar))
        for table in tables:
            table["virtual_hosts"].append(copy.deepcopy(value))
        return len(tables)
    return sum(
        _each(table["virtual_hosts"], [host], operation, value) for table, host in _hosts(rule, sidecar)
    )


def _http_routes(rule: Rule, sidecar: Sidecar) -> int:
    operation, value = _patch(rule)
    vhost = ((rule.get("match") or {}).get("routeConfiguration") or {}).get("vhost") or {}
    wanted = vhost.get("route") or {}
    count = 0
    for _, host in _hosts(rule, sidecar):
        routes = host["routes"]
        if operation in {"ADD", "INSERT_FIRST"}:
            routes.insert(0 if operation == "INSERT_FIRST" else len(routes), copy.deepcopy(value))
            count += 1
            continue
        for route in [r for r in routes if _route_matches(r, wanted)]:
            if operation in {"INSERT_BEFORE", "INSERT_AFTER"}:
                place = next(i for i, r in enumerate(routes) if r is route)
                routes.insert(place + (operation == "INSERT_AFTER"), copy.deepcopy(value))
                count += 1
            else:
                count += _each(routes, [route], operation, value)
    return count


def _route_matches(route: Json, wanted: Rule) -> bool:
    action = wanted.get("action") or "ANY"
    kinds = {"ROUTE": "route", "REDIRECT": "redirect", "DIRECT_RESPONSE": "direct_response"}
    return wanted.get("name") in {None, "", route.get("name")} and (action == "ANY" or kinds[action] in route)


_APPLIED: Final[dict[str, Callable[[Rule, Sidecar], int]]] = {
    "LISTENER": _whole_listeners,
    "NETWORK_FILTER": _network_filters,
    "HTTP_FILTER": _http_filters,
    "ROUTE_CONFIGURATION": _route_tables,
    "VIRTUAL_HOST": _virtual_hosts,
    "HTTP_ROUTE": _http_routes,
    "CLUSTER": _clusters,
}
