"""Which rules apply to whom: namespaces, exportTo, age and the most specific host, in Istio's order of precedence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from meshverdict.mesh.names import full_host, host_matches, most_specific
from meshverdict.mesh.values import Labels, Mesh, Port, Resource, Workload

Policy = Mapping[str, Any]


def exported(resource: Resource, namespace: str) -> bool:
    """Whether ``exportTo`` shows the resource to clients of a namespace."""
    targets = resource.spec.get("exportTo") or ["*"]
    return any(t in {"*", namespace} or (t == "." and resource.namespace == namespace) for t in targets)


def virtual_services(mesh: Mesh, proxy: Workload) -> list[Resource]:
    """What a sidecar sees, in the order in which the first one takes a host: its own namespace's private ones, then by age."""
    seen = [r for r in mesh.of_kind("VirtualService") if exported(r, proxy.namespace) and _for_sidecars(r)]
    return sorted(seen, key=lambda r: (r.spec.get("exportTo") != ["."], r.age))


def _for_sidecars(rule: Resource) -> bool:
    return "mesh" in (rule.spec.get("gateways") or ["mesh"])


def virtual_service(mesh: Mesh, proxy: Workload, host: str) -> Resource | None:
    """The VirtualService that routes a host for this sidecar: an exact host before a wildcard, then the first."""
    best: tuple[tuple[bool, int], Resource] | None = None
    for rule in virtual_services(mesh, proxy):
        for written in rule.spec.get("hosts") or ():
            pattern = full_host(written, rule.namespace)
            rank = (pattern[:1] != "*", len(pattern))
            if host_matches(pattern, host) and (best is None or rank > best[0]):
                best = (rank, rule)
    return best[1] if best else None


class DestinationPolicy:
    """What DestinationRules say about one host to one client: the policy of the first, the subsets of all of its namespace.

    Args:
        rules: The rules of one namespace for one host, oldest first; may be empty.
    """

    def __init__(self, rules: list[Resource]) -> None:
        self.rules = rules

    @property
    def subsets(self) -> list[Policy]:
        """Subsets in order; the first of a name wins."""
        found: dict[str, Policy] = {}
        for rule in self.rules:
            for subset in rule.spec.get("subsets") or ():
                found.setdefault(subset["name"], subset)
        return list(found.values())

    def policy(self, port: Port, subset: str = "") -> Policy:
        """The traffic policy of a port; a subset's fields replace the host's, a port's settings replace everything."""
        host_policy = next((p for r in self.rules if (p := r.spec.get("trafficPolicy"))), None) or {}
        policy = _overlaid({}, host_policy, port)
        chosen = next((s for s in self.subsets if s["name"] == subset), None)
        return _overlaid(policy, (chosen or {}).get("trafficPolicy") or {}, port)


def _overlaid(policy: Policy, over: Policy, port: Port) -> dict[str, Any]:
    merged = dict(policy) | {key: value for key, value in over.items() if key != "portLevelSettings"}
    for settings in over.get("portLevelSettings") or ():
        if (settings.get("port") or {}).get("number") == port.number:
            kept = {key: value for key, value in merged.items() if key == "retryBudget"}
            return kept | {key: value for key, value in settings.items() if key != "port"}
    return merged


def destination_policy(mesh: Mesh, namespace: str, host: str) -> DestinationPolicy:
    """What holds for clients of a namespace: their own namespace's rules, else the Service's, else the root namespace's."""
    service = mesh.by_host.get(host)
    places = [namespace, service.namespace if service else "", mesh.settings.root_namespace]
    for place in dict.fromkeys(filter(None, places)):
        rules = [
            r for r in mesh.of_kind("DestinationRule") if r.namespace == place and exported(r, namespace)
        ]
        patterns = {full_host(r.spec["host"], r.namespace) for r in rules}
        pattern = most_specific(patterns, host)
        if pattern is not None:
            return DestinationPolicy([r for r in rules if full_host(r.spec["host"], r.namespace) == pattern])
    return DestinationPolicy([])


def mtls_mode(mesh: Mesh, namespace: str, labels: Labels, port: int) -> str:
    """``STRICT``, ``PERMISSIVE`` or ``DISABLE`` at one port of a workload.

    The oldest PeerAuthentication that selects the workload comes first, then the namespace's, then the mesh's; a mode
    of ``UNSET`` asks the next.
    """
    own, spaces, root = _peer_authentications(mesh, namespace, labels)
    for rule in own:
        # YAML may make the keys numbers; JSON has them as strings.
        by_port = {str(key): mtls for key, mtls in (rule.spec.get("portLevelMtls") or {}).items()}
        at_port = by_port.get(str(port)) or {}
        if _set(at_port):
            return str(at_port["mode"])
    for rule in (*own, *spaces, *root):
        if _set(rule.spec.get("mtls") or {}):
            return str(rule.spec["mtls"]["mode"])
    return "PERMISSIVE"


def namespace_mtls_mode(mesh: Mesh, namespace: str) -> str:
    """The mode that clients expect of a Service: of its namespace or the mesh, workloads' own are not known to them."""
    _, spaces, root = _peer_authentications(mesh, namespace, {})
    for rule in (*spaces, *root):
        if _set(rule.spec.get("mtls") or {}):
            return str(rule.spec["mtls"]["mode"])
    return "PERMISSIVE"


def _set(mtls: Policy) -> bool:
    return bool(mtls.get("mode", "UNSET") != "UNSET")


def _peer_authentications(
    mesh: Mesh, namespace: str, labels: Labels
) -> tuple[list[Resource], list[Resource], list[Resource]]:
    own, spaces, root = [], [], []
    for rule in mesh.of_kind("PeerAuthentication"):
        selector = (rule.spec.get("selector") or {}).get("matchLabels") or {}
        if selector:
            if rule.namespace == namespace and labels and rule.selects(labels):
                own.append(rule)
        elif rule.namespace == mesh.settings.root_namespace:
            root.append(rule)
        elif rule.namespace == namespace:
            spaces.append(rule)
    return own[:1], spaces[:1], root[:1]


def for_workload(mesh: Mesh, kind: str, proxy: Workload) -> Iterator[Resource]:
    """AuthorizationPolicies or EnvoyFilters that select a workload: the root namespace's for all, its own namespace's."""
    rules = mesh.of_kind(kind)
    for place in dict.fromkeys((mesh.settings.root_namespace, proxy.namespace)):
        yield from (r for r in rules if r.namespace == place and r.selects(proxy.labels))
