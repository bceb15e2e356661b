"""The runtime as one part: networks, firewall, kubelet and built-in pods, started in the right order.

    host view -> node networks and the links between them -> firewall (fails closed) -> kubelet -> DNS and flow-log pods

The lab's composition root starts it in the supervisor, with the API's objects already there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meshverdict.cluster.errors import ApiError
from meshverdict.mesh.values import Settings as MeshSettings
from meshverdict.model.errors import LabError
from meshverdict.network.addresses import DNS_IP, PodAddresses
from meshverdict.network.nft import FlowLogging, NftSettings
from meshverdict.runtime.delay_report import DelayLineClient
from meshverdict.runtime.dns import DnsServer
from meshverdict.runtime.firewall import Firewall
from meshverdict.runtime.flows import FlowLog
from meshverdict.runtime.images import ImageTable, Machine
from meshverdict.runtime.keeper import KeeperClient, WorldHandle
from meshverdict.runtime.kubelet import Kubelet
from meshverdict.runtime.mesh_authority import Authority
from meshverdict.runtime.mesh_controller import MeshController
from meshverdict.runtime.nflog import open_log
from meshverdict.runtime.nftables import NftError
from meshverdict.runtime.node_services import Builtin, KubeletObjects, NodeServices
from meshverdict.runtime.pod_backend import KubeletBackend
from meshverdict.runtime.rootfs import host_view
from meshverdict.runtime.spawn_client import SpawnClient
from meshverdict.runtime.topology import WORLD_ADDRESS, Node, link_requests, node_request, nodes
from meshverdict.runtime.traffic import TrafficCounters, TrafficLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from meshverdict.cluster.store import Event, Manifest, Store
    from meshverdict.model.settings import LabSettings
    from meshverdict.runtime.logs import LogFile
    from meshverdict.runtime.volumes import Token

DNS_IMAGE: Final = "meshverdict/dns"
FLOWS_IMAGE: Final = "meshverdict/flows"
DELAY_IMAGE: Final = "meshverdict/delay-line"
TRAFFIC_IMAGE: Final = "meshverdict/traffic"
SYSTEM_NAMESPACE: Final = "meshverdict-system"
PUBLISH_ANNOTATION: Final = "meshverdict.io/publish"


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What the composition root decides.

    Attributes:
        settings: The lab's settings.
        logs: Folder for the containers' logs; what is in it from before is deleted.
        images: The image table, the user's rows included.
        token: Makes service account tokens.
        on_lost: Called when the spawner has ended: the lab cannot go on.
    """

    settings: LabSettings
    logs: Path
    images: ImageTable
    token: Token
    on_lost: Callable[[], None]
    mesh: MeshSettings = field(default_factory=MeshSettings)


class Runtime:
    """The running runtime; make it with :meth:`start`."""

    def __init__(
        self,
        services: NodeServices,
        firewall: Firewall,
        kubelet: Kubelet,
        machine_nodes: Sequence[Node],
        *,
        delay_line: DelayLineClient | None,
        mesh: MeshController,
    ) -> None:
        self.nodes = tuple(machine_nodes)
        self.firewall = firewall
        self.kubelet = kubelet
        self.backend = KubeletBackend(kubelet, services.spawner)
        self._services = services
        self.delay_line = delay_line
        self.mesh = mesh

    @classmethod
    async def start(cls, world: WorldHandle, objects: KubeletObjects, options: RuntimeOptions) -> Runtime:
        """Make the networks, load the firewall, take up the pods.

        Raises:
            LabError: libnftables is missing.
            SpawnError: The kernel refuses a network.
        """
        machine = Machine.here()
        shutil.rmtree(options.logs, ignore_errors=True)  # of the lab before: kept until now for a look
        spawner = SpawnClient(world.spawner, options.on_lost)
        await spawner.configure(
            host_view([*machine.visible(), *map(str, machine.folders.values())]), WORLD_ADDRESS
        )
        lab_nodes = nodes(options.settings.zones)
        networks = {node.name: await spawner.network(node_request(node)) for node in lab_nodes}
        delay_line = await _join(spawner, lab_nodes, objects.store, options)
        flows = FlowLogging()
        firewall = Firewall(
            objects.store,
            lab_nodes,
            networks,
            _nft_settings(options.settings, flows),
            prefix=str(machine.prefix or ""),
            on_refused=lambda message: _tell_nodes(objects, lab_nodes, message),
        )
        firewall.start()
        keeper = KeeperClient(world.keeper)
        if delay_line is not None:
            keeper.want_fifo(delay_line.process.pidfd)
        mesh = MeshController(
            objects, Authority(), options.mesh, world.identity, prefix=str(machine.prefix or "")
        )
        mesh.start()
        services = NodeServices(
            objects=objects,
            spawner=spawner,
            nodes={node.name: node for node in lab_nodes},
            networks=networks,
            addresses=PodAddresses(),
            images=options.images,
            machine=machine,
            identity=world.identity,
            scratch=world.scratch,
            logs=options.logs,
            enforced=firewall.enforced,
            token=options.token,
            builtins=_builtins(objects, networks, firewall, flows, delay_line)
            | _traffic(objects, lab_nodes, networks, str(machine.prefix or "")),
            want_fifo=keeper.want_fifo,
            capacity=capacity(),
            sidecars=mesh,
        )
        kubelet = Kubelet(services)
        kubelet.start()
        return cls(services, firewall, kubelet, lab_nodes, delay_line=delay_line, mesh=mesh)

    async def stop(self) -> None:
        """End all pods and the spawner."""
        self.firewall.stop()
        await self.mesh.stop()
        await self.kubelet.stop()
        if self.delay_line is not None:
            self.delay_line.stop()
        self._services.spawner.close()


async def _join(
    spawner: SpawnClient, lab_nodes: Sequence[Node], store: Store, options: RuntimeOptions
) -> DelayLineClient | None:
    """Join the nodes: directly, or through the delay line where there is a delay."""
    links = link_requests(lab_nodes)
    if options.settings.delayed:
        return await DelayLineClient.start(spawner, links, options.settings, store, options.on_lost)
    for request in links:
        await spawner.call(request)
    return None


def _tell_nodes(objects: KubeletObjects, lab_nodes: Sequence[Node], message: str) -> None:
    """What keeps policies from being enforced is told where people look for what is wrong with a node."""
    for node in lab_nodes:
        found = objects.get("nodes", None, node.name)
        if found is None:
            continue
        with contextlib.suppress(ApiError):  # an event is worth no failure
            objects.event(
                found,
                type="Warning",
                reason="FirewallNotUpdated",
                message=message,
                source="meshverdict-firewall",
            )


def capacity() -> dict[str, float]:
    """What this machine has: ``cpu`` cores that we may use, ``memory`` bytes."""
    return {
        "cpu": float(len(os.sched_getaffinity(0))),
        "memory": float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
    }


def _nft_settings(settings: LabSettings, flows: FlowLogging) -> NftSettings:
    return NftSettings(
        denied=settings.denied,
        established=settings.established,
        network_policy=settings.network_policy,
        flows=flows,
    )


def _builtins(
    objects: KubeletObjects,
    networks: dict[str, int],
    firewall: Firewall,
    flows: FlowLogging,
    delay_line: DelayLineClient | None,
) -> dict[str, Any]:
    async def dns(_pod: Manifest, network: int, log: LogFile) -> Builtin:
        return await DnsServer.start(objects.store, network, log)

    async def flow_log(pod: Manifest, _network: int, log: LogFile) -> Builtin:
        node = pod["spec"]["nodeName"]
        return FlowLog.start(
            objects.store, open_log(networks[node], flows.group), node, firewall.policies_of, log
        )

    async def delays(_pod: Manifest, _network: int, log: LogFile) -> Builtin:
        if delay_line is None:
            raise LabError(f"image {DELAY_IMAGE}: this lab has no delay between zones, so nothing to log")
        delay_line.write_to(log)
        return delay_line

    return {DNS_IMAGE: dns, FLOWS_IMAGE: flow_log, DELAY_IMAGE: delays}


def _traffic(
    objects: KubeletObjects, lab_nodes: Sequence[Node], networks: dict[str, int], prefix: str
) -> dict[str, Any]:
    """The traffic log; nothing is counted in a lab of one zone, whose traffic crosses nothing."""
    try:
        counters = TrafficCounters(lab_nodes, networks, prefix) if len(lab_nodes) > 1 else None
    except NftError as error:
        raise LabError(
            f"this kernel does not count the traffic between zones ({error}); start the lab with --zones 1"
        ) from error
    zones = {node.name: node.zone for node in lab_nodes}

    async def traffic(_pod: Manifest, _network: int, log: LogFile) -> Builtin:
        if counters is None:
            raise LabError(f"image {TRAFFIC_IMAGE}: this lab has one zone, so no traffic is counted")
        return TrafficLog(counters, objects.store, zones, log)

    return {TRAFFIC_IMAGE: traffic}


def system_manifests(lab_nodes: Sequence[Node], *, delayed: bool = False) -> list[Manifest]:
    """The pods and Services of the lab itself, to be created once its namespaces are there."""
    own = [dns_service(), dns_pod(lab_nodes[0]), *(flows_pod(node) for node in lab_nodes)]
    if len(lab_nodes) > 1:
        own.append(traffic_pod(lab_nodes[0]))
    return [*own, delay_pod(lab_nodes[0])] if delayed else own


def dns_service() -> Manifest:
    """The Service ``kube-dns``."""
    ports = [
        {"name": "dns", "port": 53, "targetPort": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "targetPort": 53, "protocol": "TCP"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"clusterIP": DNS_IP, "selector": {"k8s-app": "kube-dns"}, "ports": ports},
    }


def dns_pod(node: Node) -> Manifest:
    """The pod behind it, a part of the supervisor with an address of its own."""
    return _pod("coredns", "kube-system", {"k8s-app": "kube-dns"}, node, DNS_IMAGE)


def flows_pod(node: Node) -> Manifest:
    """The pod whose log is the node's flow log."""
    return _pod(f"flows-{node.name}", SYSTEM_NAMESPACE, {"k8s-app": "flows"}, node, FLOWS_IMAGE)


def delay_pod(node: Node) -> Manifest:
    """The pod whose log is what the delay line says of itself."""
    return _pod("delay-line", SYSTEM_NAMESPACE, {"k8s-app": "delay-line"}, node, DELAY_IMAGE)


def traffic_pod(node: Node) -> Manifest:
    """The pod whose log is who sent how much to whom."""
    return _pod("traffic", SYSTEM_NAMESPACE, {"k8s-app": "traffic"}, node, TRAFFIC_IMAGE)


def _pod(name: str, namespace: str, labels: dict[str, str], node: Node, image: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "nodeName": node.name,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": name.partition("-")[0], "image": image}],
        },
    }


class Publisher:
    """Points the relay's host ports at Services with the annotation ``meshverdict.io/publish``.

    Args:
        point: The relay's ``point``.
        host_ports: Name of the host socket by the port that it stands for (as asked for, not as bound).

    Attributes:
        targets: ClusterIP and port of the published Service by the name of the host socket; None where there is none.
    """

    def __init__(
        self,
        objects: KubeletObjects,
        point: Callable[[str, tuple[str, int] | None], None],
        host_ports: dict[str, str],
    ) -> None:
        self._objects = objects
        self._point = point
        self._ports = host_ports
        self.targets: dict[str, tuple[str, int] | None] = {}
        self._update()
        self.stop = objects.store.subscribe(self._changed)

    def _changed(self, event: Event) -> None:
        if event.resource == "services":
            self._update()

    def _update(self) -> None:
        targets: dict[str, tuple[str, int] | None] = dict.fromkeys(self._ports.values())
        for service in self._objects.store.list("services"):
            port = (service["metadata"].get("annotations") or {}).get(PUBLISH_ANNOTATION)
            spec = service["spec"]
            name = self._ports.get(str(port))
            if name and spec.get("clusterIP") not in (None, "", "None") and spec.get("ports"):
                targets[name] = (spec["clusterIP"], spec["ports"][0]["port"])
        self.targets = targets
        for name, target in targets.items():
            self._point(name, target)
