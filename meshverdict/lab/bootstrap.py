"""What a cluster holds before anybody applies anything: its namespaces, nodes, DNS and the API's own Service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from meshverdict.cluster import schema
from meshverdict.cluster.bootstrap import install
from meshverdict.cluster.decode import DecodeError, decode
from meshverdict.cluster.errors import ApiError
from meshverdict.cluster.objects import CRDS, Objects, Write
from meshverdict.lab.manifests import as_applied
from meshverdict.mesh import definitions
from meshverdict.model.errors import UsageError
from meshverdict.runtime.mesh_admission import MeshWebhook
from meshverdict.runtime.node_object import node_manifest
from meshverdict.runtime.runtime import SYSTEM_NAMESPACE, capacity, system_manifests
from meshverdict.runtime.topology import API_PORT, WORLD_ADDRESS, Node

_MANAGER = "meshverdict"
_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_POLICIES = "networkpolicies.networking.k8s.io"


def create_cluster(objects: Objects, nodes: Sequence[Node]) -> None:
    """Create the namespaces and nodes of a new cluster."""
    install(objects, endpoint=(WORLD_ADDRESS, API_PORT))
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}}
    objects.create("namespaces", namespace, manager=_MANAGER)
    now = objects.now()
    for node in nodes:
        manifest = node_manifest(node, capacity(), now)
        made = objects.create("nodes", manifest, manager="kubelet")
        objects.update_status("nodes", {**made, "status": manifest["status"]}, manager="kubelet")


def install_mesh(objects: Objects, *, everywhere: bool) -> None:
    """Serve the Istio kinds, and let the mesh take part in admission.

    Args:
        objects: The cluster's objects.
        everywhere: Give a sidecar to every pod of the lab's own namespaces.
    """
    for definition in definitions.manifests():
        objects.create(CRDS, definition, manager=_MANAGER)
    objects.webhooks.append(MeshWebhook(objects.store, everywhere=everywhere))


def create_system(objects: Objects, nodes: Sequence[Node], *, delayed: bool) -> None:
    """Create DNS, the flow log and, where zones are apart, the delay line's log; their pods need the namespaces' service accounts."""
    for manifest in system_manifests(nodes, delayed=delayed):
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
        refuse_misfit(name, obj, objects.node(kind) if kind.definition else None)
        try:
            if objects.get(kind.resource, obj["metadata"].get("namespace"), obj["metadata"]["name"]) is None:
                objects.create(kind.resource, obj, manager="kubectl-client-side-apply")
            else:
                objects.update(kind.resource, obj, manager="kubectl-client-side-apply")
        except ApiError as error:
            raise UsageError(f"{name}: {error}") from error


def refuse_misfit(name: str, obj: dict[str, Any], node: schema.Node | None) -> None:
    """Refuse an object with a value of the wrong type, or a field that its kind has not, as kubectl does.

    Args:
        name: For the message.
        obj: As it is in its file.
        node: The schema of its kind; None for a custom resource, whose definition is asked later.

    Raises:
        UsageError: Naming the object and the field.
    """
    try:
        problems = decode(obj, node).problems if node is not None else []
        decode(obj["metadata"], schema.definitions().node(_METADATA))
    except DecodeError as error:
        raise UsageError(f"{name}: {error}") from error
    if problems:
        raise UsageError(f"{name}: {', '.join(problems)}; correct the name, or take it out")


def warm(objects: Objects) -> None:
    """Read what the first NetworkPolicy needs (schemas are read when first used).

    Otherwise the first policy of a lab takes a tenth of a second longer than all others, and an experiment
    measures that.
    """
    peers = [{"namespaceSelector": {"matchLabels": {"name": "x"}}, "podSelector": {}}]
    ports = [{"protocol": "TCP", "port": 80}]
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "warm", "namespace": "default", "labels": {"x": "y"}, "annotations": {"x": "y"}},
        "spec": {
            "podSelector": {"matchLabels": {"x": "y"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peers, "ports": ports}],
            "egress": [{"to": peers, "ports": ports}],
        },
    }
    decode(policy, objects.node(objects.kind(_POLICIES)))
    objects.create_with(_POLICIES, policy, Write(_MANAGER, dry_run=True))
