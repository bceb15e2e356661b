"""The values that the network room's parts share, so that none of them reads raw pods or namespaces.

Addresses are IPv4 in dotted form; protocols are Kubernetes' names (``TCP``, ``UDP``, ``SCTP``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Direction = Literal["ingress", "egress"]
Labels = Mapping[str, str]
Namespaces = Mapping[str, Labels]
NamedPorts = Mapping[str, tuple[str, int]]

PROTOCOLS: Final = ("TCP", "UDP", "SCTP")
POD_RANGE: Final = "10.244.0.0/16"
SERVICE_RANGE: Final = "10.96.0.0/16"
# The world's links and the links between nodes: what arrives from there is node traffic.
NODE_RANGES: Final = ("172.31.0.0/16", "172.30.0.0/16")
NAMESPACE_NAME_LABEL: Final = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class PodNet:
    """A pod as the network sees it.

    Args:
        namespace: Namespace of the pod.
        name: Name of the pod.
        ip: Its IPv4 address.
        node: Name of the node it runs on.
        labels: Labels of the pod.
        named_ports: Container port name -> (protocol, number).
        ready: Whether the pod is Ready; policy does not care, Services do.
        uid: Kubernetes' uid, empty when not known.
    """

    namespace: str
    name: str
    ip: str
    node: str
    labels: Labels = field(default_factory=dict)
    named_ports: NamedPorts = field(default_factory=dict)
    ready: bool = True
    uid: str = ""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class NodeNet:
    """A node as the network sees it: its name and its zone (empty: no zone label)."""

    name: str
    zone: str = ""


def pod_net(manifest: Mapping[str, Any]) -> PodNet | None:
    """The network's view of a Pod manifest; None for a pod that has no address of its own.

    That is a pod that has none yet, one that has ended, or one in the host's network, to which
    NetworkPolicy does not apply.
    """
    meta, spec, status = manifest["metadata"], manifest.get("spec") or {}, manifest.get("status") or {}
    ip = status.get("podIP")
    if not ip or spec.get("hostNetwork") or status.get("phase") in {"Succeeded", "Failed"}:
        return None
    return PodNet(
        namespace=meta["namespace"],
        name=meta["name"],
        ip=ip,
        node=spec.get("nodeName") or "",
        labels=meta.get("labels") or {},
        named_ports=_named_ports(spec),
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()),
        uid=meta.get("uid") or "",
    )


def _named_ports(spec: Mapping[str, Any]) -> NamedPorts:
    # Sidecar containers (init containers that keep running) serve ports too.
    sidecars = [c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"]
    return {
        port["name"]: (port.get("protocol") or "TCP", port["containerPort"])
        for container in [*sidecars, *(spec.get("containers") or ())]
        for port in container.get("ports") or ()
        if port.get("name")
    }
