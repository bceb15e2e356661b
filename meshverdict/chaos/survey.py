"""What a cluster is: read once, before anything is written, with whatever rights there are.

Everything that cannot be read is None, so that nobody takes "not allowed to look" for "not there".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from meshverdict.chaos.cluster import ISTIO_NAMESPACE, root_namespace

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshverdict.chaos.cluster import KubeAccess

_ZONE: Final = "topology.kubernetes.io/zone"
_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
# DaemonSets by which network plug-ins show themselves.
_PLUGINS: Final = {
    "cilium": "Cilium",
    "calico-node": "Calico",
    "aws-node": "Amazon VPC CNI",
    "kindnet": "kindnet",
    "kube-flannel": "flannel",
    "kube-flannel-ds": "flannel",
    "weave-net": "Weave Net",
    "antrea-agent": "Antrea",
    "canal": "Canal",
    "kube-router": "kube-router",
    "azure-npm": "Azure NPM",
}
_UNITS: Final = {
    **{f"{letter}i": 2 ** (10 * n) for n, letter in enumerate("KMGTPE", 1)},
    **{letter: 10.0 ** (3 * n) for n, letter in enumerate("kMGTPE", 1)},
    "m": 1e-3,
}
_FINISHED: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its zone, the memory that pods may have in bytes, and the images that it says it holds."""

    name: str
    zone: str | None
    memory: int
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """One cluster; None is what could not be read.

    Attributes:
        plugins: Network plug-ins by the DaemonSets that there are, with version where the image tells.
        istio: Version of istiod; an empty text where there is none.
        istio_root: Istio's root namespace, which is never written to.
        classes: Ingress classes and their controllers.
        requested: Memory that the running pods have asked for, bytes.
        requested_in: What of it those in a namespace of the lab have asked for, by namespace.
        lab: The namespaces that are labelled as a lab.
    """

    version: str
    plugins: tuple[str, ...] | None = None
    istio: str | None = None
    istio_root: str = ISTIO_NAMESPACE
    classes: Mapping[str, str] | None = None
    nodes: tuple[Node, ...] | None = None
    requested: int | None = None
    requested_in: Mapping[str, int] = field(default_factory=dict)
    lab: tuple[str, ...] = ()
    denied: tuple[str, ...] = field(default=())

    @property
    def zones(self) -> tuple[str, ...]:
        """The zones of its nodes, sorted."""
        return tuple(sorted({n.zone for n in self.nodes or () if n.zone}))

    def has_image(self, name: str) -> bool | None:
        """Whether some node says that it holds an image; None when that cannot be known.

        A node tells of its 50 largest images, so absence is no proof.
        """
        if self.nodes is None:
            return None
        held = {short for node in self.nodes for image in node.images for short in _names_of(image)}
        return True if name in held else None

    def as_dict(self) -> dict[str, Any]:
        """What run.json's ``cluster`` says of the place, where it is known."""
        found = {
            "cni": ", ".join(self.plugins) if self.plugins else None,
            "istio": self.istio or None,
            "zones": ", ".join(self.zones) or None,
            "nodes": len(self.nodes) if self.nodes else None,
        }
        return {key: value for key, value in found.items() if value is not None}


def look(access: KubeAccess) -> Survey:
    """Read everything that may be read.

    Raises:
        ApiException: The server refused for another reason than rights.
        HTTPError: It cannot be reached.
    """
    apps, network = client.AppsV1Api(access.api), access.networking
    denied: list[str] = []

    def items(what: str, call: Callable[..., Any], **options: Any) -> list[dict[str, Any]] | None:
        try:
            found: list[dict[str, Any]] = access.json(call, **options)["items"]
        except ApiException as error:
            if error.status not in {_FORBIDDEN, _NOT_FOUND}:
                raise
            denied.append(what)
            return None
        return found

    daemons = items("daemonsets", apps.list_daemon_set_for_all_namespaces)
    pilots = items("deployments", apps.list_deployment_for_all_namespaces, label_selector="app=istiod")
    classes = items("ingressclasses", network.list_ingress_class)
    nodes = items("nodes", access.core.list_node)
    pods = items("pods", access.core.list_pod_for_all_namespaces)
    lab = tuple(access.lab_namespaces())
    return Survey(
        version=access.version(),
        plugins=None if daemons is None else _plugins(daemons),
        istio=None if pilots is None else _istio(pilots),
        istio_root=root_namespace(access),
        classes=None if classes is None else _classes(classes),
        nodes=None if nodes is None else tuple(map(_node, nodes)),
        requested=None if pods is None else sum(map(requested_memory, pods)),
        requested_in={
            name: sum(requested_memory(p) for p in pods or () if p["metadata"]["namespace"] == name)
            for name in lab
        },
        lab=lab,
        denied=tuple(denied),
    )


def _plugins(daemons: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    found = []
    for item in daemons:
        name = _PLUGINS.get(item["metadata"]["name"])
        if name is not None:
            found.append(" ".join([name, *_tags(item)][:2]))
    return tuple(sorted(dict.fromkeys(found)))


def _istio(pilots: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(" ".join(_tags(item)[:1]) or "of unknown version" for item in pilots))


def _tags(workload: Mapping[str, Any]) -> list[str]:
    """The tags of a workload's images, such as v1.18.5."""
    pod = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    images = [str(c.get("image", "")).partition("@")[0] for c in pod.get("containers") or ()]
    return [image.rpartition(":")[2] for image in images if ":" in image.rpartition("/")[2]]


def _classes(classes: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {c["metadata"]["name"]: str((c.get("spec") or {}).get("controller", "")) for c in classes}


def _node(item: Mapping[str, Any]) -> Node:
    status = item.get("status") or {}
    memory = (status.get("allocatable") or status.get("capacity") or {}).get("memory", "0")
    images = [name for image in status.get("images") or () for name in image.get("names") or ()]
    labels = item["metadata"].get("labels") or {}
    return Node(item["metadata"]["name"], labels.get(_ZONE), quantity(memory), tuple(images))


def requested_memory(pod: Mapping[str, Any]) -> int:
    """Bytes that a pod (or a pod template) asks for."""
    if (pod.get("status") or {}).get("phase") in _FINISHED:
        return 0
    asked = (
        ((c.get("resources") or {}).get("requests") or {}).get("memory", "0")
        for c in (pod.get("spec") or {}).get("containers") or ()
    )
    return sum(map(quantity, asked))


def wanted_memory(manifests: Sequence[Mapping[str, Any]]) -> int:
    """Bytes that the workloads of some manifests ask for; a DaemonSet counts once, since nodes differ."""
    total = 0
    for manifest in manifests:
        spec = manifest.get("spec") or {}
        if isinstance(spec.get("template"), Mapping):
            total += _whole(spec.get("replicas")) * requested_memory(spec["template"])
    return total


def _whole(replicas: object) -> int:
    """How many replicas a manifest asks for; one where it does not say, or says no number: the API refuses that."""
    return replicas if isinstance(replicas, int) else 1


def quantity(text: object) -> int:
    """A Kubernetes quantity of memory in bytes; 0 for what is none.

    >>> quantity("128Mi"), quantity("2G"), quantity(1024), quantity("128974848000m"), quantity("?")
    (134217728, 2000000000, 1024, 128974848, 0)
    """
    word = str(text)
    unit = next((u for u in _UNITS if word.endswith(u)), "")
    try:
        return int(float(word.removesuffix(unit)) * _UNITS.get(unit, 1))
    except ValueError:
        return 0


def _names_of(image: str) -> tuple[str, ...]:
    """The ways in which manifests write an image that a node holds as ``docker.io/library/redis:7``."""
    bare = (
        image.partition("@")[0].removeprefix("docker.io/").removeprefix("library/").removeprefix("localhost/")
    )
    return bare, bare.rpartition(":")[0] or bare
