"""Bring the lab's manifests to a real cluster, and take them away again: `meshverdict up|down --context NAME`.

Everything is looked at before the first write. What may be touched are namespaces labelled
``meshverdict.io/lab=true`` and the few cluster-wide objects that the manifests name; a namespace of
that name which somebody else made is refused, not labelled.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.chaos import canary, preflight
from meshverdict.chaos.canary import Canary
from meshverdict.chaos.cluster import (
    ISTIO_NAMESPACE,
    LAB_LABEL,
    PROTECTED,
    KubeAccess,
    opened,
    root_namespace,
)
from meshverdict.chaos.manifests import Objects, named, read_manifests
from meshverdict.chaos.preflight import Finding
from meshverdict.chaos.readiness import await_pods
from meshverdict.chaos.survey import Survey, look
from meshverdict.model.errors import LabError, UsageError
from meshverdict.model.paths import data_folder

Progress = Callable[[str], None]
POLICIES: Final = "policies"
_CLUSTER_WIDE: Final = frozenset({"Namespace", "ClusterRole", "ClusterRoleBinding", "IngressClass"})
_POLL_S: Final = 0.5
_ENDING_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was brought to a cluster.

    Attributes:
        objects: How many objects were applied.
        namespaces: The lab's namespaces there.
        pods: How many pods are Ready in them.
        findings: What the cluster has and lacks; the last one is whether it enforces policies.
    """

    context: str
    server: str
    version: str
    objects: int
    namespaces: tuple[str, ...]
    pods: int
    seconds: float
    findings: tuple[Finding, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "namespaces": list(self.namespaces),
            "findings": [finding.as_dict() for finding in self.findings],
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
        LabError: The cluster does not answer, lacks what the lab cannot be without, refuses an object, or a pod
            does not become Ready.
    """
    begun = time.monotonic()
    manifests = _ordered(_read(paths))
    with opened(context) as access, tempfile.TemporaryDirectory() as scratch:
        version = _version(access)
        survey = _survey(access)
        spaces = refuse_outside(manifests, _labels_of_namespaces(access), survey.istio_root)
        found = [*preflight.findings(survey, manifests, context=context), preflight.rights(access)]
        progress(preflight.render(found))
        preflight.refuse_unfit(found)
        progress(
            f"context {context}, {access.host}, Kubernetes {version}: {len(manifests)} objects in {', '.join(spaces)}"
        )
        _await_ended(access, spaces)
        objects = Objects(access, Path(scratch))
        for manifest in manifests:
            _apply(objects, manifest)
        pods = await_pods(access, spaces, timeout)
        found.append(preflight.enforcement(canary.try_policy(access, canary_namespace(spaces))))
        seconds = round(time.monotonic() - begun, 1)
        return Prepared(
            context, access.host, version, len(manifests), tuple(spaces), pods, seconds, tuple(found)
        )


def examine(context: str, paths: Sequence[str]) -> list[Finding]:
    """What a cluster has and lacks; written to is only a lab that is there already, by the canary.

    Args:
        context: Name in the kubeconfigs of KUBECONFIG, else in ``~/.kube/config``.
        paths: Manifests; none means the lab of the seed.

    Raises:
        UsageError: No such context.
        LabError: The cluster does not answer.
    """
    manifests = _read(paths)
    with opened(context) as access:
        _version(access)
        survey = _survey(access)
        found = [*preflight.findings(survey, manifests, context=context)]
        found.append(preflight.rights(access, survey.lab))
        tried: Canary | None = None
        if survey.lab:
            tried = canary.try_policy(access, canary_namespace(survey.lab))
        return [*found, preflight.enforcement(tried)]


def canary_namespace(namespaces: Sequence[str]) -> str:
    """Where the canary is the least in the way: among the load's pods, where there are any."""
    return "load" if "load" in namespaces else min(namespaces)


def _survey(access: KubeAccess) -> Survey:
    try:
        return look(access)
    except ApiException as error:
        raise LabError(
            f"context {access.context}: the cluster cannot be examined ({_short(error)})"
        ) from error


def _await_ended(access: KubeAccess, namespaces: Sequence[str]) -> None:
    """Wait for namespaces that are ending: nothing can be made in them, and then they are gone."""
    deadline = time.monotonic() + _ENDING_S
    while True:
        there = access.json(access.core.list_namespace)["items"]
        ending = [
            n["metadata"]["name"]
            for n in there
            if n["metadata"]["name"] in namespaces and n["metadata"].get("deletionTimestamp")
        ]
        if not ending:
            return
        if time.monotonic() > deadline:
            raise LabError(
                f"namespace {', '.join(ending)} has been ending for {_ENDING_S:g} s; look for what keeps it:"
                f" kubectl get namespace {ending[0]} -o yaml"
            )
        time.sleep(_POLL_S)


def remove(context: str, paths: Sequence[str], *, progress: Progress) -> int:
    """Delete the manifests' objects, last one first; returns how many were there.

    Raises:
        UsageError: No such context, or a manifest reaches outside the lab's namespaces; nothing was deleted.
        LabError: The cluster does not answer, or an object does not go away.
    """
    manifests = _ordered(_read(paths))
    with opened(context) as access, tempfile.TemporaryDirectory() as scratch:
        _version(access)
        there = _labels_of_namespaces(access)
        refuse_outside(manifests, there, root_namespace(access))
        objects = Objects(access, Path(scratch))
        removed = 0
        for manifest in reversed(manifests):
            where = manifest["metadata"].get("namespace")
            if where is None or where in there:
                removed += objects.delete(manifest)
                progress(f"{named(manifest)} is gone")
        return removed


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


def _short(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", "") or error).split())[:200]
