"""Kubernetes manifests -> the mesh room's values: the only module here that reads Pods, Services and EndpointSlices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meshverdict.mesh.names import full_host
from meshverdict.mesh.values import (
    HOSTNAME_LABEL,
    REGION_LABEL,
    SUBZONE_LABEL,
    ZONE_LABEL,
    Endpoint,
    Labels,
    Locality,
    Port,
    Protocol,
    Resource,
    Service,
    Workload,
)

Manifest = Mapping[str, Any]

# Istio's injector sets it, and clients encrypt to a pod that carries it.
TLS_MODE_LABEL: Final = "security.istio.io/tlsMode"
SERVICE_NAME_LABEL: Final = "kubernetes.io/service-name"
# Istio's own spelling of trafficDistribution, from before Kubernetes had the field; the field comes first.
DISTRIBUTION_ANNOTATION: Final = "networking.istio.io/traffic-distribution"
# What it asks of client and endpoint, in Istio's order.
_SAME_ZONE: Final = (REGION_LABEL, ZONE_LABEL)
_NEAR: Final = {
    "preferclose": _SAME_ZONE,
    "prefersamezone": _SAME_ZONE,
    "prefersamenode": (*_SAME_ZONE, SUBZONE_LABEL, HOSTNAME_LABEL),
}
_HTTP: Final = frozenset({"http", "http1.1", "kubernetes.io/ws"})
_HTTP2: Final = frozenset({"http2", "grpc", "grpc-web", "kubernetes.io/h2c"})


def locality(labels: Labels) -> Locality:
    """A node's locality, by its labels."""
    return Locality(labels.get(REGION_LABEL, ""), labels.get(ZONE_LABEL, ""), labels.get(SUBZONE_LABEL, ""))


def workload(pod: Manifest, node_labels: Labels) -> Workload | None:
    """The mesh's view of a Pod; None for one without an address of its own."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    ip = status.get("podIP")
    if not ip or spec.get("hostNetwork") or status.get("phase") in {"Succeeded", "Failed"}:
        return None
    labels = meta.get("labels") or {}
    return Workload(
        namespace=meta["namespace"],
        name=meta["name"],
        ip=ip,
        labels=labels,
        service_account=spec.get("serviceAccountName") or "default",
        locality=locality(node_labels),
        sidecar=labels.get(TLS_MODE_LABEL) == "istio",
        owner=_owner(meta),
        node=spec.get("nodeName") or "",
    )


def _owner(meta: Manifest) -> str:
    """What made a pod; a ReplicaSet stands for its Deployment, as in Istio's metrics."""
    for reference in meta.get("ownerReferences") or ():
        if reference.get("controller"):
            name = str(reference.get("name") or "")
            made_by = (meta.get("labels") or {}).get("pod-template-hash")
            return (
                name.removesuffix(f"-{made_by}")
                if reference.get("kind") == "ReplicaSet" and made_by
                else name
            )
    return ""


def protocol(name: str, app_protocol: str = "") -> Protocol:
    """What Istio takes a port for: ``appProtocol`` first, then the part of its name before the first ``-``.

    A port that says neither is TCP here: Istio would look at the first bytes, which makes what is enforced depend on
    the traffic; ``https`` and ``tls`` are TCP to a sidecar.
    """
    word = (app_protocol or name.split("-", 1)[0]).lower()
    if word in _HTTP:
        return "HTTP"
    return "HTTP2" if word in _HTTP2 else "TCP"


def service(
    manifest: Manifest, slices: Iterable[Manifest], workloads: Mapping[str, Workload]
) -> Service | None:
    """A Service with what is behind it; None for one that the mesh does not route (ExternalName, no TCP port).

    Args:
        manifest: The Service.
        slices: Its EndpointSlices.
        workloads: Pods by address.
    """
    meta, spec = manifest["metadata"], manifest.get("spec") or {}
    ports = tuple(
        Port(p["port"], p.get("name") or "", protocol(p.get("name") or "", p.get("appProtocol") or ""))
        for p in spec.get("ports") or ()
        if (p.get("protocol") or "TCP") == "TCP"
    )
    if spec.get("type") == "ExternalName" or not ports:
        return None
    address = spec.get("clusterIP") or ""
    wish = spec.get("trafficDistribution") or (meta.get("annotations") or {}).get(DISTRIBUTION_ANNOTATION)
    return Service(
        namespace=meta["namespace"],
        name=meta["name"],
        ports=ports,
        endpoints=tuple(_endpoints(slices, workloads, terminating=False)),
        leaving=tuple(_endpoints(slices, workloads, terminating=True)),
        cluster_ip="" if address == "None" else address,
        created=meta.get("creationTimestamp") or "",
        near=_NEAR.get((wish or "").lower(), ()),
        node_local=spec.get("internalTrafficPolicy") == "Local",
    )


def _endpoints(
    slices: Iterable[Manifest], workloads: Mapping[str, Workload], *, terminating: bool
) -> Iterable[Endpoint]:
    for piece in slices:
        ports = {p.get("name") or "": p["port"] for p in piece.get("ports") or () if p.get("port")}
        for item in piece.get("endpoints") or ():
            conditions = item.get("conditions") or {}
            if bool(conditions.get("terminating")) is not terminating:
                continue
            for address in item.get("addresses") or ():
                yield _endpoint(
                    address, ports, workloads.get(address), ready=conditions.get("ready") is not False
                )


def _endpoint(address: str, ports: Mapping[str, int], pod: Workload | None, *, ready: bool) -> Endpoint:
    if pod is None:
        return Endpoint(address, ports, ready=ready)
    return Endpoint(
        address=address,
        ports=ports,
        labels=pod.labels,
        locality=pod.locality,
        service_account=pod.service_account,
        workload=pod.key,
        sidecar=pod.sidecar,
        ready=ready,
        node=pod.node,
    )


def resource(manifest: Manifest) -> Resource:
    """An Istio resource that admission accepted."""
    meta = manifest["metadata"]
    return Resource(
        kind=manifest["kind"],
        namespace=meta.get("namespace") or "default",
        name=meta["name"],
        spec=manifest.get("spec") or {},
        created=meta.get("creationTimestamp") or "",
        generation=meta.get("generation") or 0,
    )


def services_of_entry(entry: Resource, workloads: Mapping[str, Workload]) -> list[Service]:
    """One Service for each host of a ServiceEntry; what is behind a pod's address is known as that pod."""
    spec = entry.spec
    ports = tuple(
        Port(p["number"], p.get("name") or "", protocol(p.get("protocol") or p.get("name") or ""))
        for p in spec.get("ports") or ()
    )
    addresses = spec.get("addresses") or [""]
    return [
        Service(
            namespace=entry.namespace,
            name=entry.name,
            ports=ports,
            endpoints=tuple(_entry_endpoints(entry, host, ports, workloads)),
            cluster_ip=addresses[0],
            created=entry.created,
            external_host=host,
            resolution=spec.get("resolution") or "STATIC",
        )
        for host in spec.get("hosts") or ()
    ]


def _entry_endpoints(
    entry: Resource, host: str, ports: tuple[Port, ...], workloads: Mapping[str, Workload]
) -> Iterable[Endpoint]:
    numbers = {port.name: port.number for port in ports}
    dns = entry.spec.get("resolution") == "DNS"
    if dns and not entry.spec.get("endpoints"):
        yield Endpoint(host, numbers)
    for item in entry.spec.get("endpoints") or ():
        named = item.get("ports") or {}
        place = locality_of(item["locality"]) if item.get("locality") else Locality()
        address = full_host(item["address"], entry.namespace) if dns else item["address"]
        pod = workloads.get(address)
        found = {name: named.get(name, number) for name, number in numbers.items()}
        yield Endpoint(
            address=address,
            ports=found,
            labels=item.get("labels") or (pod.labels if pod else {}),
            locality=place if item.get("locality") else (pod.locality if pod else place),
            # ServiceEntry endpoints are outside the mesh: clients do not encrypt to them unless a rule says so.
            service_account="",
            workload=pod.key if pod else "",
            sidecar=False,
        )


def locality_of(text: str) -> Locality:
    """``region/zone/subzone`` as a Locality."""
    parts = [*text.split("/"), "", ""]
    return Locality(*parts[:3])
