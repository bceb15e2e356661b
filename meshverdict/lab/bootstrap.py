"""What a cluster holds before anybody applies anything: its namespaces, nodes, DNS and the API's own Service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from meshverdict.cluster.errors import ApiError
from meshverdict.cluster.objects import Objects
from meshverdict.lab.manifests import as_applied
from meshverdict.model.errors import UsageError
from meshverdict.network.addresses import KUBERNETES_IP
from meshverdict.runtime.runtime import SYSTEM_NAMESPACE, capacity, system_manifests
from meshverdict.runtime.topology import API_PORT, WORLD_ADDRESS, Node, node_manifest

_MANAGER = "meshverdict"
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", SYSTEM_NAMESPACE)


def create_cluster(objects: Objects, nodes: Sequence[Node]) -> None:
    """Create the namespaces and nodes of a new cluster."""
    for name in _NAMESPACES:
        objects.create(
            "namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
            manager=_MANAGER,
        )
    now = objects.now()
    for node in nodes:
        manifest = node_manifest(node, capacity(), now)
        made = objects.create("nodes", manifest, manager="kubelet")
        objects.update_status("nodes", {**made, "status": manifest["status"]}, manager="kubelet")
    objects.create("services", _kubernetes_service(), manager=_MANAGER)
    objects.create("endpointslices.discovery.k8s.io", _kubernetes_slice(), manager=_MANAGER)


def create_system(objects: Objects, nodes: Sequence[Node]) -> None:
    """Create DNS and the flow log; their pods need the namespaces' service accounts."""
    for manifest in system_manifests(nodes):
        objects.create(f"{manifest['kind'].lower()}s", manifest, manager=_MANAGER)


def apply_all(objects: Objects, manifests: Iterable[dict[str, Any]]) -> None:
    """Create the manifests' objects, as `kubectl apply` does on a new cluster.

    Raises:
        UsageError: The API refuses one; the message names it and the field.
    """
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata'].get('namespace', '')}/{manifest['metadata']['name']}".replace(
            " /", " "
        )
        kind = objects.kinds.of_object(manifest["apiVersion"], manifest["kind"])
        if kind is None:
            raise UsageError(
                f"{name}: the lab's API has no kind {manifest['kind']} in {manifest['apiVersion']}"
            )
        obj = as_applied(manifest)
        if kind.namespaced and "namespace" not in obj["metadata"]:
            obj["metadata"]["namespace"] = "default"
        try:
            if objects.get(kind.resource, obj["metadata"].get("namespace"), obj["metadata"]["name"]) is None:
                objects.create(kind.resource, obj, manager="kubectl-client-side-apply")
            else:
                objects.update(kind.resource, obj, manager="kubectl-client-side-apply")
        except ApiError as error:
            raise UsageError(f"{name}: {error}") from error


def _kubernetes_service() -> dict[str, Any]:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "clusterIP": KUBERNETES_IP,
            "ports": [{"name": "https", "port": 443, "targetPort": API_PORT, "protocol": "TCP"}],
        },
    }


def _kubernetes_slice() -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [WORLD_ADDRESS], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": API_PORT, "protocol": "TCP"}],
    }
