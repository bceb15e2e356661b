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
from meshverdict.chaos.blast_radius import found_there, is_theirs, marked, refuse_outside, refuse_theirs
from meshverdict.chaos.canary import Canary
from meshverdict.chaos.cluster import (
    LAB_LABEL,
    KubeAccess,
    opened,
    root_namespace,
    short,
)
from meshverdict.chaos.manifests import Objects, named
from meshverdict.chaos.preflight import Finding
from meshverdict.chaos.readiness import await_pods
from meshverdict.chaos.survey import Survey, look
from meshverdict.model.errors import LabError
from meshverdict.model.manifest_files import LEFT_OUT, read_files
from meshverdict.model.paths import data_folder

Progress = Callable[[str], None]
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
        objects = Objects(access, Path(scratch))
        refuse_theirs(manifests, objects)
        found = [*preflight.findings(survey, manifests, context=context), preflight.rights(access)]
        progress(preflight.render(found))
        preflight.refuse_unfit(found)
        progress(
            f"context {context}, {access.host}, Kubernetes {version}: {len(manifests)} objects in {', '.join(spaces)}"
        )
        _await_ended(access, spaces)
        for manifest in manifests:
            _apply(objects, marked(manifest))
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
    except (ApiException, HTTPError) as error:
        raise LabError(
            f"context {access.context}: the cluster cannot be examined ({short(error)})"
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

    Everything is tried. An object of the whole cluster that is somebody else's is left alone, and said.

    Raises:
        UsageError: No such context, or a manifest reaches outside the lab's namespaces; nothing was deleted.
        LabError: The cluster does not answer, or objects do not go away: all that did is gone.
    """
    manifests = _ordered(_read(paths))
    with opened(context) as access, tempfile.TemporaryDirectory() as scratch:
        _version(access)
        there = _labels_of_namespaces(access)
        refuse_outside(manifests, there, root_namespace(access))
        objects = Objects(access, Path(scratch))
        removed, failed = 0, []
        for manifest in reversed(manifests):
            where = manifest["metadata"].get("namespace")
            if where is not None and where not in there:
                continue
            try:
                if is_theirs(manifest, found_there(objects, manifest)):
                    progress(
                        f"{named(manifest)} is not the lab's (it has no label {LAB_LABEL}=true): left alone"
                    )
                    continue
                removed += objects.delete(manifest)
                progress(f"{named(manifest)} is gone")
            except (ApiException, LabError) as error:
                failed.append(f"{named(manifest)} ({short(error)})")
        if failed:
            raise LabError(
                f"context {context}: {removed} objects removed, these were not: {'; '.join(failed)}"
            )
        return removed


def _read(paths: Sequence[str]) -> list[dict[str, Any]]:
    """The manifests of a lab, as the embedded one reads them: treatments are taken only where they are named."""
    folders = [Path(path) for path in paths] or [data_folder("manifests")]
    return [
        manifest
        for folder in folders
        for manifest in read_files(folder, what="--manifests", left_out=LEFT_OUT)
    ]


def _ordered(manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(manifests, key=lambda m: m["kind"] != "Namespace")


def _version(access: KubeAccess) -> str:
    try:
        return access.version()
    except (ApiException, HTTPError) as error:
        raise LabError(
            f"context {access.context}: {access.host} does not answer as a Kubernetes API ({short(error)}); "
            "is the cluster running, and is the context right?"
        ) from error


def _labels_of_namespaces(access: KubeAccess) -> dict[str, dict[str, str]]:
    try:
        found = access.json(access.core.list_namespace)
    except ApiException as error:
        raise LabError(f"context {access.context}: namespaces cannot be listed ({short(error)})") from error
    return {i["metadata"]["name"]: dict(i["metadata"].get("labels") or {}) for i in found["items"]}


def _apply(objects: Objects, manifest: Mapping[str, Any]) -> None:
    try:
        objects.apply(manifest)
    except (ApiException, HTTPError) as error:
        raise LabError(f"{named(manifest)}: the cluster refuses it ({short(error)})") from error
