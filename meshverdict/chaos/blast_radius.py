"""What a lab on a real cluster may write over and take away: its own namespaces, and objects that are its own.

Decided from the manifests and from what is there, before the first write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from meshverdict.chaos.cluster import ISTIO_NAMESPACE, LAB_LABEL, PROTECTED
from meshverdict.chaos.manifests import named
from meshverdict.model.errors import UsageError

if TYPE_CHECKING:
    from meshverdict.chaos.manifests import Objects

_CLUSTER_WIDE: Final = frozenset({"Namespace", "ClusterRole", "ClusterRoleBinding", "IngressClass"})


def marked(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with the lab's label, if it is of the whole cluster: `down` removes what has it. Pure."""
    metadata = manifest["metadata"]
    if not _wide(manifest):
        return dict(manifest)
    labels = {**(metadata.get("labels") or {}), LAB_LABEL: "true"}
    return {**manifest, "metadata": {**metadata, "labels": labels}}


def is_theirs(manifest: Mapping[str, Any], found: Mapping[str, Any] | None) -> bool:
    """Whether an object of the whole cluster is somebody else's, who happened to take the same name. Pure.

    One with the lab's label is ours, and so is one that says what the manifest says, as after `kubectl apply`.
    """
    if found is None or not _wide(manifest):
        return False
    if ((found.get("metadata") or {}).get("labels") or {}).get(LAB_LABEL) == "true":
        return False
    says = manifest.keys() - {"apiVersion", "kind", "metadata"}
    return any(found.get(key) != manifest[key] for key in says)


def refuse_theirs(manifests: Sequence[Mapping[str, Any]], objects: Objects) -> None:
    """Refuse to write over what somebody else made for the whole cluster.

    Raises:
        UsageError: Naming the object; nothing was written.
    """
    for manifest in manifests:
        if is_theirs(manifest, found_there(objects, manifest)):
            kind, name = manifest["kind"].lower(), manifest["metadata"]["name"]
            raise UsageError(
                f"{named(manifest)} is on the cluster already, says something else, and is not labelled"
                f" {LAB_LABEL}=true, so it is not touched. Rename it in the manifests; or if it is yours to change:"
                f" kubectl label {kind} {name} {LAB_LABEL}=true"
            )


def found_there(objects: Objects, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is there under the name of an object of the whole cluster; None for any other."""
    return objects.get(manifest) if _wide(manifest) and objects.knows(manifest) else None


def _wide(manifest: Mapping[str, Any]) -> bool:
    return manifest["kind"] in _CLUSTER_WIDE and manifest["kind"] != "Namespace"


def refuse_outside(
    manifests: Sequence[Mapping[str, Any]],
    there: Mapping[str, Mapping[str, str]],
    istio_root: str = ISTIO_NAMESPACE,
) -> list[str]:
    """The lab's namespaces that the manifests make or use. Pure.

    Args:
        manifests: All objects.
        there: The cluster's namespaces and their labels.
        istio_root: Istio's root namespace: what is in it concerns every sidecar of the cluster.

    Raises:
        UsageError: One would touch what is not the lab's.
    """
    own: list[str] = []
    never = PROTECTED | {istio_root}
    for manifest in manifests:
        where = manifest["metadata"].get("namespace")
        if manifest["kind"] == "Namespace":
            where = manifest["metadata"]["name"]
        if where in never:
            raise UsageError(
                f"{named(manifest)}: {where} is the cluster's own, or Istio's root namespace, where it would"
                " concern everybody; it is never written to, whatever its labels. Use a namespace of the lab"
            )
    for manifest in manifests:
        if manifest["kind"] != "Namespace":
            continue
        name = manifest["metadata"]["name"]
        if (manifest["metadata"].get("labels") or {}).get(LAB_LABEL) != "true":
            raise UsageError(f'{named(manifest)}: its manifest lacks the label {LAB_LABEL}: "true"; add it')
        if name in there and there[name].get(LAB_LABEL) != "true":
            raise UsageError(
                f"namespace {name} is on the cluster already and is not labelled {LAB_LABEL}=true, so it is not "
                f"touched. If it is yours to use: kubectl label namespace {name} {LAB_LABEL}=true"
            )
        own.append(name)
    labelled = {name for name, labels in there.items() if labels.get(LAB_LABEL) == "true"}
    usable = {*own, *labelled - never}
    for manifest in manifests:
        where = manifest["metadata"].get("namespace")
        if where is None and manifest["kind"] not in _CLUSTER_WIDE:
            raise UsageError(
                f"{named(manifest)}: metadata.namespace is missing; name one of the lab's namespaces"
            )
        if where is not None and where not in usable:
            raise UsageError(
                f"{named(manifest)}: namespace {where!r} is not one of the lab's; nothing was written"
            )
        if where is not None and where not in own:
            own.append(where)
    return own
