"""What the mesh room knows about the cluster: frozen values, so that a translation is a function of them alone.

Addresses are IPv4 in dotted form. Nothing here is a Kubernetes manifest, except the Istio resources' ``spec``, whose
fields are the subject of this room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

Protocol = Literal["HTTP", "HTTP2", "TCP"]
Labels = Mapping[str, str]
RetryVariant = Literal["today", "1.14"]

DOMAIN: Final = "cluster.local"
REGION_LABEL: Final = "topology.kubernetes.io/region"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
SUBZONE_LABEL: Final = "topology.istio.io/subzone"
HOSTNAME_LABEL: Final = "kubernetes.io/hostname"


@dataclass(frozen=True, order=True)
class Locality:
    """Where something runs, by the labels of its node; empty parts are not known."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The parts that are known, as the labels that ``failoverPriority`` names."""
        parts = {REGION_LABEL: self.region, ZONE_LABEL: self.zone, SUBZONE_LABEL: self.subzone}
        return {key: value for key, value in parts.items() if value}


@dataclass(frozen=True)
class Workload:
    """A pod as the mesh sees it.

    Args:
        namespace: Namespace of the pod.
        name: Name of the pod.
        ip: Its IPv4 address.
        labels: Labels of the pod.
        service_account: Its ServiceAccount: the last part of its identity.
        locality: Where its node is.
        sidecar: Whether an Envoy stands before it.
        owner: Name of what made it; empty for a pod by itself.
        node: Name of its node.
    """

    namespace: str
    name: str
    ip: str
    labels: Labels = field(default_factory=dict)
    service_account: str = "default"
    locality: Locality = Locality()
    sidecar: bool = True
    owner: str = ""
    node: str = ""

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"

    @property
    def workload_name(self) -> str:
        """What Istio's metrics call it: the Deployment, DaemonSet, StatefulSet or Job that made it, or its own name."""
        return self.owner or self.name


@dataclass(frozen=True)
class Port:
    """A port of a Service.

    Args:
        number: The Service's port, which clients call.
        name: Its name, empty for the only port of a Service without one.
        protocol: What Istio takes it for, by ``appProtocol`` or by the name's first part.
    """

    number: int
    name: str = ""
    protocol: Protocol = "TCP"

    @property
    def is_http(self) -> bool:
        """Whether requests are seen, not only connections."""
        return self.protocol != "TCP"


@dataclass(frozen=True)
class Endpoint:
    """One address behind a Service.

    Args:
        address: IPv4, or a host name for a ServiceEntry that resolves by DNS.
        ports: Port name of the Service -> port number at the address.
        labels: Labels of the pod, which subsets select.
        locality: Where it is.
        service_account: ServiceAccount of the pod, empty when there is no pod behind it.
        workload: ``namespace/name`` of the pod, empty when there is none.
        sidecar: Whether an Envoy answers there.
        ready: Whether it may be given new requests.
        node: Name of the pod's node, empty when there is no pod behind it.
    """

    address: str
    ports: Mapping[str, int]
    labels: Labels = field(default_factory=dict)
    locality: Locality = Locality()
    service_account: str = ""
    workload: str = ""
    sidecar: bool = False
    ready: bool = True
    node: str = ""


@dataclass(frozen=True)
class Service:
    """A Service with everything that is behind it, or a host of a ServiceEntry.

    Args:
        namespace: Namespace it lives in.
        name: Its name.
        ports: Its TCP ports.
        endpoints: What is behind it, ready or not.
        leaving: Pods behind it that are about to end: nobody is sent there, and they serve what still comes.
        cluster_ip: Its virtual address; empty for a headless Service.
        created: ``creationTimestamp``; the oldest wins where two claim the same port.
        external_host: Host name of a ServiceEntry, empty for a Service.
        resolution: ``STATIC`` addresses as they are, ``DNS`` names are looked up by Envoy.
        near: Labels in which client and endpoint should agree, the most important first: its traffic distribution.
        node_local: Whether a client may call only endpoints on its own node: ``internalTrafficPolicy: Local``.
    """

    namespace: str
    name: str
    ports: tuple[Port, ...]
    endpoints: tuple[Endpoint, ...] = ()
    cluster_ip: str = ""
    created: str = ""
    external_host: str = ""
    resolution: Literal["STATIC", "DNS"] = "STATIC"
    leaving: tuple[Endpoint, ...] = ()
    near: tuple[str, ...] = ()
    node_local: bool = False

    @property
    def host(self) -> str:
        """The name by which rules know it."""
        return self.external_host or f"{self.name}.{self.namespace}.svc.{DOMAIN}"

    @property
    def headless(self) -> bool:
        """Whether clients call the pods' own addresses."""
        return not self.cluster_ip and not self.external_host

    def port(self, number: int) -> Port | None:
        """The port of this number, if it has one."""
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True)
class Resource:
    """An Istio resource, as far as more than one module reads it.

    Args:
        kind: ``VirtualService``, ``DestinationRule``, ``PeerAuthentication``, ``AuthorizationPolicy``, ``EnvoyFilter``
            or ``ServiceEntry``.
        namespace: Its namespace.
        name: Its name.
        spec: Its ``spec``, accepted by `meshverdict.mesh.check`.
        created: ``creationTimestamp``: the oldest wins.
        generation: ``metadata.generation``, for the status.
    """

    kind: str
    namespace: str
    name: str
    spec: Mapping[str, Any]
    created: str = ""
    generation: int = 0

    @property
    def age(self) -> tuple[str, str, str]:
        """Sorts the oldest first; equals by name, then namespace, as Istio does."""
        return (self.created, self.name, self.namespace)

    def selects(self, labels: Labels) -> bool:
        """Whether its workload selector, of either spelling, takes these labels; without one it takes all."""
        selector = self.spec.get("selector") or {}
        wanted = selector.get("matchLabels") or (self.spec.get("workloadSelector") or {}).get("labels") or {}
        return all(labels.get(key) == value for key, value in wanted.items())


@dataclass(frozen=True)
class Settings:
    """What Istio calls mesh configuration.

    Args:
        retries: Default retries of a route that says nothing: ``today`` or as Istio 1.14, which also retried 503.
        root_namespace: Where policies for the whole mesh live.
        trust_domain: First part of every identity.
        access_log: File for one JSON line a request and connection; empty for none.
        inline_endpoints: Endpoints stand in the clusters, not in files of their own. Envoy takes one inotify instance
            (``fs.inotify.max_user_instances``, often 128 for all of a user's processes) for each file that it reads,
            and aborts when there is none left; this needs far fewer, but each change of endpoints makes the cluster
            anew, and so forgets its ejections and connections.
        metrics: Count requests and connections as Istio's sidecars do.
    """

    retries: RetryVariant = "today"
    root_namespace: str = "istio-system"
    trust_domain: str = DOMAIN
    access_log: str = ""
    inline_endpoints: bool = False
    metrics: bool = True


@dataclass(frozen=True)
class Mesh:
    """Everything that a sidecar's configuration depends on, at one moment.

    Two sidecars of one snapshot share its indexes, so make one `Mesh` for all of them.
    """

    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    resources: tuple[Resource, ...] = ()
    settings: Settings = Settings()

    @cached_property
    def by_host(self) -> dict[str, Service]:
        """Host -> Service; the oldest Service of a host wins."""
        found: dict[str, Service] = {}
        for service in self.in_age:
            found.setdefault(service.host, service)
        return found

    @cached_property
    def in_age(self) -> tuple[Service, ...]:
        """The Services, oldest first."""
        return tuple(sorted(self.services, key=lambda s: (s.created, s.namespace, s.name)))

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """What workloads that look alike share, kept as long as this snapshot; see `sidecar.translate`."""
        return {}

    def of_kind(self, kind: str) -> tuple[Resource, ...]:
        """The resources of a kind, oldest first."""
        return self._by_kind.get(kind, ())

    @cached_property
    def _by_kind(self) -> dict[str, tuple[Resource, ...]]:
        kinds = {resource.kind for resource in self.resources}
        return {
            kind: tuple(sorted((r for r in self.resources if r.kind == kind), key=lambda r: r.age))
            for kind in kinds
        }
