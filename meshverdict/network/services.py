"""Services and EndpointSlices compiled to virtual addresses and the endpoints behind them.

Which endpoints a node uses follows kube-proxy: ready ones; if none is ready, those that still serve while
they end; only the node's own with internalTrafficPolicy Local; and those hinted for the node or its zone when
every ready endpoint has such hints and at least one is for this node or zone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.model.errors import UnsupportedError
from meshverdict.network.values import PROTOCOLS, NodeNet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"


@dataclass(frozen=True)
class Endpoint:
    """One address and port behind a Service; *draining* means that it ends and still serves."""

    ip: str
    port: int
    node: str = ""
    zone: str = ""
    ready: bool = True
    draining: bool = False
    zones: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ServicePort:
    """One port of a Service with a ClusterIP.

    Args:
        service: ``namespace/name`` of the Service.
        name: Name of the port, empty when it has none.
        ip: ClusterIP.
        protocol: TCP, UDP or SCTP.
        port: The Service's port.
        endpoints: All endpoints of the port, ready or not, sorted by address.
        sticky: sessionAffinity ClientIP.
        local: internalTrafficPolicy Local.
    """

    service: str
    name: str
    ip: str
    protocol: str
    port: int
    endpoints: tuple[Endpoint, ...] = ()
    sticky: bool = False
    local: bool = False

    def endpoints_on(self, node: NodeNet) -> tuple[Endpoint, ...]:
        """The endpoints that connections from this node are spread over."""
        reachable = [e for e in self.endpoints if not self.local or e.node == node.name]
        ready = tuple(e for e in reachable if e.ready)
        if not ready:
            return tuple(e for e in reachable if e.draining)
        return ready if self.local else _preferred(ready, node)


def _preferred(ready: tuple[Endpoint, ...], node: NodeNet) -> tuple[Endpoint, ...]:
    if all(e.nodes for e in ready) and any(node.name in e.nodes for e in ready):
        return tuple(e for e in ready if node.name in e.nodes)
    if node.zone and all(e.zones for e in ready) and any(node.zone in e.zones for e in ready):
        return tuple(e for e in ready if node.zone in e.zones)
    return ready


def check(manifest: Mapping[str, Any]) -> None:
    """Refuse a Service that the lab cannot serve as written.

    Raises:
        UnsupportedError: Names the field and the way out.
    """
    spec = manifest.get("spec") or {}
    if spec.get("externalIPs"):
        raise UnsupportedError(
            "spec.externalIPs",
            "the embedded lab has no outside addresses; use annotation meshverdict.io/publish",
        )
    if spec.get("loadBalancerSourceRanges"):
        raise UnsupportedError(
            "spec.loadBalancerSourceRanges", "the embedded lab has no load balancers; use a NetworkPolicy"
        )
    if "IPv6" in (spec.get("ipFamilies") or ()) or spec.get("ipFamilyPolicy") == "RequireDualStack":
        raise UnsupportedError("spec.ipFamilies", "the embedded lab has IPv4 only; use IPv4 and SingleStack")
    for position, port in enumerate(spec.get("ports") or ()):
        protocol = port.get("protocol") or "TCP"
        if protocol not in PROTOCOLS:
            raise UnsupportedError(
                f"spec.ports[{position}].protocol", f"{protocol!r} is not known; use {', '.join(PROTOCOLS)}"
            )


def warnings(manifest: Mapping[str, Any]) -> list[str]:
    """What the author of an accepted Service should know, for Warning headers."""
    spec = manifest.get("spec") or {}
    found = []
    if spec.get("type") in {"NodePort", "LoadBalancer"}:
        found.append(
            f"spec.type: {spec['type']} is served on the ClusterIP only; the embedded lab opens no node "
            "ports and has no load balancer: annotation meshverdict.io/publish puts a Service on 127.0.0.1"
        )
    if spec.get("sessionAffinity") == "ClientIP":
        found.append(
            "spec.sessionAffinity: ClientIP is kept by hashing the client's address: it never expires, and "
            "a new endpoint takes over a share of the clients"
        )
    return found


def compile_services(
    services: Iterable[Mapping[str, Any]], slices: Iterable[Mapping[str, Any]]
) -> tuple[ServicePort, ...]:
    """All ports of all Services that have a ClusterIP, sorted by Service and port.

    Args:
        services: Service manifests; headless and ExternalName ones are passed over.
        slices: EndpointSlice manifests (discovery.k8s.io/v1), matched by their service-name label.
    """
    by_service: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for piece in slices:
        if piece.get("addressType") == "IPv4":
            name = (piece["metadata"].get("labels") or {}).get(SERVICE_NAME_LABEL, "")
            by_service[piece["metadata"]["namespace"], name].append(piece)
    compiled = []
    for service in services:
        key = (service["metadata"]["namespace"], service["metadata"]["name"])
        compiled += _ports_of(service, by_service.get(key, []))
    return tuple(sorted(compiled, key=lambda p: (p.service, p.protocol, p.port)))


def _ports_of(service: Mapping[str, Any], slices: list[Mapping[str, Any]]) -> list[ServicePort]:
    spec, meta = service.get("spec") or {}, service["metadata"]
    ip = spec.get("clusterIP")
    if not ip or ip == "None" or spec.get("type") == "ExternalName":
        return []
    unready_too = bool(spec.get("publishNotReadyAddresses"))
    return [
        ServicePort(
            service=f"{meta['namespace']}/{meta['name']}",
            name=port.get("name") or "",
            ip=ip,
            protocol=port.get("protocol") or "TCP",
            port=port["port"],
            endpoints=_endpoints(slices, port, unready_too=unready_too),
            sticky=spec.get("sessionAffinity") == "ClientIP",
            local=spec.get("internalTrafficPolicy") == "Local",
        )
        for port in spec.get("ports") or ()
    ]


def _endpoints(
    slices: list[Mapping[str, Any]], port: Mapping[str, Any], *, unready_too: bool
) -> tuple[Endpoint, ...]:
    wanted = (port.get("name") or "", port.get("protocol") or "TCP")
    found = {}
    for piece in slices:
        for theirs in piece.get("ports") or ():
            if (theirs.get("name") or "", theirs.get("protocol") or "TCP") != wanted or not theirs.get(
                "port"
            ):
                continue
            for entry in piece.get("endpoints") or ():
                for address in entry.get("addresses") or ():
                    # The same pod may be in two slices while the controller moves it: one of them counts.
                    found[address, theirs["port"]] = _endpoint(
                        entry, address, theirs["port"], unready_too=unready_too
                    )
    return tuple(found[key] for key in sorted(found))


def _endpoint(entry: Mapping[str, Any], ip: str, port: int, *, unready_too: bool) -> Endpoint:
    conditions, hints = entry.get("conditions") or {}, entry.get("hints") or {}
    return Endpoint(
        ip=ip,
        port=port,
        node=entry.get("nodeName") or "",
        zone=entry.get("zone") or "",
        ready=unready_too or conditions.get("ready") is not False,  # not given means ready
        draining=bool(conditions.get("serving") and conditions.get("terminating")),
        zones=frozenset(hint["name"] for hint in hints.get("forZones") or ()),
        nodes=frozenset(hint["name"] for hint in hints.get("forNodes") or ()),
    )
