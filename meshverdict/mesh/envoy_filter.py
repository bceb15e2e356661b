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
from meshverdict.mesh.translation_error import naming
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
    counts = []
    for number, patch in enumerate(rule.spec.get("configPatches") or ()):
        # Patches change what earlier ones wrote, in any form: what does not fit is told by the patch's place.
        with naming(f"EnvoyFilter {rule.namespace}/{rule.name}: spec.configPatches[{number}]"):
            counts.append(_APPLIED[patch["applyTo"]](patch, sidecar))
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


def _within(message: Any, *path: str) -> Any:
    """A field inside a message, each part in either of its spellings; None where there is none."""
    for key in path:
        if not isinstance(message, Mapping):
            return None
        message = message.get(key, message.get(_camel(key)))
    return message


def _camel(key: str) -> str:
    first, *others = key.split("_")
    return first + "".join(word.capitalize() for word in others)


def _items(message: Json, key: str) -> list[Json]:
    """A message's list, to be changed in place; made where there is none."""
    spelled = key if key in message else _camel(key)
    found = message.get(spelled)
    if found is None:
        found = message[spelled] = []
    if not isinstance(found, list):
        raise TypeError(f"{spelled} is not a list")
    return found


def _port(listener: Json) -> Any:
    """None for a listener on no socket address, such as a pipe."""
    return _within(listener, "address", "socket_address", "port_value")


def _inbound(listener: Json) -> bool:
    return bool(_within(listener, "traffic_direction") == "INBOUND")


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
        if _direction(rule, inbound=_inbound(listener)) and wanted.get("name") in {
            None,
            "",
            listener.get("name"),
        }:
            yield listener


def _chains(rule: Rule, sidecar: Sidecar) -> Iterator[Json]:
    wanted = (rule.get("match") or {}).get("listener") or {}
    chain_wanted = wanted.get("filterChain") or {}
    for listener in _listeners(rule, sidecar):
        default = _within(listener, "default_filter_chain")
        for chain in [*(_within(listener, "filter_chains") or ()), *([default] if default else [])]:
            match = _within(chain, "filter_chain_match") or {}
            destination = _within(match, "destination_port")
            # Inbound there is one listener for all ports: the port is the chain's.
            number = destination if listener.get("name") == "virtualInbound" else _port(listener)
            if (
                wanted.get("portNumber") in {None, 0, number}
                and chain_wanted.get("name") in {None, "", chain.get("name")}
                and chain_wanted.get("transportProtocol")
                in {
                    None,
                    "",
                    _within(match, "transport_protocol"),
                }
                and chain_wanted.get("destinationPort") in {None, 0, destination}
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
    return sum(
        _in_list(_items(c, "filters"), rule, _filter_name(rule), last="") for c in _chains(rule, sidecar)
    )


def _http_filters(rule: Rule, sidecar: Sidecar) -> int:
    if _filter_name(rule) not in {"", CONNECTION_MANAGER}:
        return 0
    return sum(
        _in_list(_items(config, "http_filters"), rule, _sub_filter_name(rule), last=ROUTER)
        for chain in _chains(rule, sidecar)
        for config in _managers(chain)
    )


def _managers(chain: Json) -> Iterator[Json]:
    for item in chain.get("filters") or ():
        config = _within(item, "typed_config")
        if item.get("name") == CONNECTION_MANAGER and isinstance(config, dict):
            yield config


def _in_list(items: list[Json], rule: Rule, name: str, *, last: str) -> int:
    """Patch a list of named filters; *last* is the name of one that has to stay at the end."""
    operation, value = _patch(rule)
    position = next((i for i, item in enumerate(items) if item.get("name") == name), None)
    if name and position is None:
        return 0
    if operation in {"REMOVE", "MERGE", "REPLACE"}:
        return _changed(items, operation, value, position) if position is not None else 0
    end = len(items) - 1 if last and items and items[-1].get("name") == last else len(items)
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
    chosen = [found for found in _listeners(rule, sidecar) if port in {None, 0, _port(found)}]
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
    chosen = [c for c in sidecar.clusters if _cluster_matches(rule, wanted, c.get("name") or "")]
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
        and str(wanted.get("portNumber") or port) == port
    )


def _tables(rule: Rule, sidecar: Sidecar) -> Iterator[Json]:
    """Route configurations of both directions: files outbound, inside the connection managers inbound."""
    wanted = (rule.get("match") or {}).get("routeConfiguration") or {}
    inner = [
        (table, True)
        for listener in sidecar.listeners
        if _inbound(listener)
        for chain in _within(listener, "filter_chains") or ()
        for config in _managers(chain)
        if (table := _within(config, "route_config"))
    ]
    for table, inbound in [*((r, False) for r in sidecar.routes), *inner]:
        name = table.get("name") or ""
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
        for host in list(_items(table, "virtual_hosts")):
            if wanted.get("name") in {None, "", host.get("name")}:
                yield table, host


def _virtual_hosts(rule: Rule, sidecar: Sidecar) -> int:
    operation, value = _patch(rule)
    if operation == "ADD":
        tables = list(_tables(rule, sidecar))
        for table in tables:
            _items(table, "virtual_hosts").append(copy.deepcopy(value))
        return len(tables)
    return sum(
        _each(_items(table, "virtual_hosts"), [host], operation, value)
        for table, host in _hosts(rule, sidecar)
    )


def _http_routes(rule: Rule, sidecar: Sidecar) -> int:
    operation, value = _patch(rule)
    vhost = ((rule.get("match") or {}).get("routeConfiguration") or {}).get("vhost") or {}
    wanted = vhost.get("route") or {}
    count = 0
    for _, host in _hosts(rule, sidecar):
        routes = _items(host, "routes")
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
    return wanted.get("name") in {None, "", route.get("name")} and (
        action == "ANY" or _within(route, kinds[action]) is not None
    )


_APPLIED: Final[dict[str, Callable[[Rule, Sidecar], int]]] = {
    "LISTENER": _whole_listeners,
    "NETWORK_FILTER": _network_filters,
    "HTTP_FILTER": _http_filters,
    "ROUTE_CONFIGURATION": _route_tables,
    "VIRTUAL_HOST": _virtual_hosts,
    "HTTP_ROUTE": _http_routes,
    "CLUSTER": _clusters,
}
