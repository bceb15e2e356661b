"""Bring the lab's manifests to a real cluster, and take them away again: `meshverdict up|down --context NAME`.

Everything is looked at before the first write. What may be touched are namespaces labelled
``meshverdict.io/lab=true`` and the few cluster-wide objects that the manifests name; a namespace of
that name which somebody else made is refused, not labelled.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.chaos.cluster import LAB_LABEL, KubeAccess, kubeconfig_of_context
from meshverdict.chaos.manifests import Objects, named, read_manifests
from meshverdict.model.errors import LabError, UsageError
from meshverdict.model.paths import data_folder

Progress = Callable[[str], None]
POLICIES: Final = "policies"
_CLUSTER_WIDE: Final = frozenset({"Namespace", "ClusterRole", "ClusterRoleBinding", "IngressClass"})
_POLL_S: Final = 0.5
_HOPELESS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was brought to a cluster.

    Attributes:
        objects: How many objects were applied.
        namespaces: The lab's namespaces there.
        pods: How many pods are Ready in them.
    """

    context: str
    server: str
    version: str
    objects: int
    namespaces: tuple[str, ...]
    pods: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "namespaces": list(self.namespaces)
        }


def prepare(context: str, paths: Sequence[str], *, timeout: float, progress: Progress) -> Prepared:
    """Apply the manifests and wait until their pods are Ready.

    Args:
        context: Name in the kubeconfigs of KUBECONFIG, else in ``~/.kube/config``.
        paths: Manifests; none means the lab of the seed.
        timeout: Seconds for all pods to become Ready.
        progress: Told what happens.

    Raises:
        UsageError: No such context, or a manifest reaches outside the lab's namespaces; nothing was written.
        LabError: The cluster does not answer, refuses an object, or a pod does not become Ready.
    """
    begun = time.monotonic()
    manifests = _ordered(_read(paths))
    with _access(context) as access, tempfile.TemporaryDirectory() as scratch:
        version = _version(access)
        spaces = refuse_outside(manifests, _labels_of_namespaces(access))
        progress(
            f"context {context}, {access.host}, Kubernetes {version}: {len(manifests)} objects in {', '.join(spaces)}"
        )
        objects = Objects(access, Path(scratch))
        for manifest in manifests:
            _apply(objects, manifest)
        pods = _await_pods(access, spaces, timeout)
        seconds = round(time.monotonic() - begun, 1)
        return Prepared(context, access.host, version, len(manifests), tuple(spaces), pods, seconds)


def remove(context: str, paths: Sequence[str], *, progress: Progress) -> int:
    """Delete the manifests' objects, last one first; returns how many were there.

    Raises:
        UsageError: No such context, or a manifest reaches outside the lab's namespaces; nothing was deleted.
        LabError: The cluster does not answer, or an object does not go away.
    """
    manifests = _ordered(_read(paths))
    with _access(context) as access, tempfile.TemporaryDirectory() as scratch:
        _version(access)
        there = _labels_of_namespaces(access)
        refuse_outside(manifests, there)
        objects = Objects(access, Path(scratch))
        removed = 0
        for manifest in reversed(manifests):
            where = manifest["metadata"].get("namespace")
            if where is None or where in there:
                removed += objects.delete(manifest)
                progress(f"{named(manifest)} is gone")
        return removed


def refuse_outside(
    manifests: Sequence[Mapping[str, Any]], there: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """The lab's namespaces that the manifests make or use. Pure.

    Args:
        manifests: All objects.
        there: The cluster's namespaces and their labels.

    Raises:
        UsageError: One would touch what is not the lab's.
    """
    own: list[str] = []
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
    usable = {*own, *(name for name, labels in there.items() if labels.get(LAB_LABEL) == "true")}
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


@contextmanager
def _access(context: str) -> Iterator[KubeAccess]:
    sources = os.environ.get("KUBECONFIG") or "~/.kube/config"
    with tempfile.TemporaryDirectory(prefix="meshverdict-") as folder:
        yield KubeAccess.open(kubeconfig_of_context(context, Path(folder), sources), kind="real")


def _read(paths: Sequence[str]) -> list[dict[str, Any]]:
    if paths:
        return [manifest for path in paths for manifest in read_manifests(Path(path))]
    root = data_folder("manifests")
    folders = sorted(p for p in root.iterdir() if p.is_dir() and p.name[:2].isdigit())
    return [manifest for folder in folders for manifest in read_manifests(folder)]


def _ordered(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(manifests, key=lambda m: m["kind"] != "Namespace")


def _version(access: KubeAccess) -> str:
    try:
        return access.version()
    except (ApiException, HTTPError) as error:
        raise LabError(
            f"context {access.context}: {access.host} does not answer as a Kubernetes API ({_short(error)}); "
            "is the cluster running, and is the context right?"
        ) from error


def _labels_of_namespaces(access: KubeAccess) -> dict[str, dict[str, str]]:
    try:
        found = access.json(access.core.list_namespace)
    except ApiException as error:
        raise LabError(f"context {access.context}: namespaces cannot be listed ({_short(error)})") from error
    return {i["metadata"]["name"]: dict(i["metadata"].get("labels") or {}) for i in found["items"]}


def _apply(objects: Objects, manifest: Mapping[str, Any]) -> None:
    try:
        objects.apply(manifest)
    except (ApiException, HTTPError) as error:
        raise LabError(f"{named(manifest)}: the cluster refuses it ({_short(error)})") from error


def _await_pods(access: KubeAccess, namespaces: Sequence[str], timeout: float) -> int:
    deadline = time.monotonic() + timeout
    while True:
        pods = [p for n in namespaces for p in access.json(access.core.list_namespaced_pod, n)["items"]]
        waiting = [line for line in map(_not_ready, pods) if line]
        missing = _unmade(access, namespaces)
        if pods and not waiting and not missing:
            return len(pods)
        hopeless = [line for line in waiting if any(reason in line for reason in _HOPELESS)]
        if hopeless or time.monotonic() > deadline:
            lines = hopeless or [*waiting, *missing] or ["no pod was made"]
            raise LabError(
                "not Ready: "
                + "; ".join(lines[:5])
                + ". Images of this project are built from app/Dockerfile and "
                "meshverdict/load/Dockerfile; take everything away with `meshverdict down --context "
                f"{access.context}`"
            )
        time.sleep(_POLL_S)


def _unmade(access: KubeAccess, namespaces: Sequence[str]) -> list[str]:
    """Deployments whose pods are not all made yet."""
    from kubernetes.client import AppsV1Api  # noqa: PLC0415 - with the other calls of this function

    lines = []
    for namespace in namespaces:
        for item in access.json(AppsV1Api(access.api).list_namespaced_deployment, namespace)["items"]:
            ready = (item.get("status") or {}).get("readyReplicas", 0)
            if ready != item["spec"].get("replicas", 1):
                lines.append(f"deployment {namespace}/{item['metadata']['name']}: {ready} ready")
    return lines


def _not_ready(pod: Mapping[str, Any]) -> str:
    status = pod.get("status") or {}
    name = f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
    if status.get("phase") == "Succeeded" or any(
        c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or ()
    ):
        return ""
    for container in status.get("containerStatuses") or ():
        reason = ((container.get("state") or {}).get("waiting") or {}).get("reason")
        if reason:
            return f"{name}: {reason} ({container.get('image')})"
    return f"{name}: {status.get('phase', 'Pending')}"


def _short(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", "") or error).split())[:200]
