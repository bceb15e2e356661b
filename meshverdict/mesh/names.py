"""How Istio names things: hosts, clusters, virtual hosts. Graphs, EnvoyFilters and people's queries rely on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshverdict.mesh.values import DOMAIN, Service

PASSTHROUGH: Final = "PassthroughCluster"
BLACK_HOLE: Final = "BlackHoleCluster"
INBOUND_PASSTHROUGH: Final = "InboundPassthroughClusterIpv4"


def outbound_cluster(port: int, host: str, subset: str = "") -> str:
    """``outbound|80|v1|svc.ns.svc.cluster.local``."""
    return f"outbound|{port}|{subset}|{host}"


def inbound_cluster(port: int) -> str:
    """``inbound|8080||``: the port is the container's."""
    return f"inbound|{port}||"


def full_host(host: str, namespace: str) -> str:
    """A rule's host in full: a short name belongs to the rule's own namespace, one with a dot is left alone."""
    return host if "." in host or "*" in host else f"{host}.{namespace}.svc.{DOMAIN}"


def sni(port: int, host: str, subset: str = "") -> str:
    """The server name that Istio's clients send with mutual TLS."""
    return f"outbound_.{port}_.{subset}_.{host}"


def host_matches(pattern: str, host: str) -> bool:
    """Whether a rule's host, which may begin with ``*``, takes this host."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return pattern == host


def most_specific(patterns: Iterable[str], host: str) -> str | None:
    """The longest pattern that takes the host; an exact one is the longest there can be."""
    return max(
        (p for p in patterns if host_matches(p, host)), key=lambda p: (p[:1] != "*", len(p)), default=None
    )


def domains(service: Service, namespace: str) -> list[str]:
    """The Host headers by which clients of a namespace may call a Service; the port is ignored in matching."""
    if service.external_host:
        return [name for name in (service.external_host, service.cluster_ip) if name]
    name, own = service.name, service.namespace
    found = [service.host]
    if namespace == own:
        found.append(name)
    found += [f"{name}.{own}.svc", f"{name}.{own}"]
    if service.cluster_ip:
        found.append(service.cluster_ip)
    return found
