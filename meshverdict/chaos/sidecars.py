"""Put sidecars beside the lab's pods and take them away again: the treatment whose price is measured.

Istio injects when a pod is made, by a label of its namespace, so a change takes effect with a restart. Restarting is a
step of its own, which a campaign's control arm does too: fresh pods are compared with fresh pods.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client import AppsV1Api

from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.chaos.cluster import KubeAccess

LABEL: Final = "istio-injection"
CONTAINER: Final = "istio-proxy"
_RESTARTED: Final = "kubectl.kubernetes.io/restartedAt"
_KINDS: Final = ("deployment", "daemon_set", "stateful_set")
_POLL_S: Final = 0.2
AS_EXPECTED: Final = "as expected: "
NOT_EXPECTED: Final = "NOT as expected: "


def label_injection(namespaces: list[str] | str, value: str | None = "enabled") -> list[str]:
    """Say whether pods made from now on in these namespaces get a sidecar; those that run stay as they are.

    Args:
        namespaces: Of the lab.
        value: "enabled", "disabled", or null to take the label away.
    """
    if value not in {"enabled", "disabled", None}:
        raise UsageError(f"label_injection: {value!r}: one of enabled, disabled, null")
    names = _in_lab(namespaces)
    access = current().access
    for name in names:
        access.json(access.core.patch_namespace, name, {"metadata": {"labels": {LABEL: value}}})
    return names


def restart_workloads(namespaces: list[str] | str, timeout: float = 60.0) -> list[str]:
    """Make all pods of these namespaces anew, as `kubectl rollout restart` does, and wait until they serve.

    Args:
        namespaces: Of the lab.
        timeout: Seconds until all of them are Ready and the old ones gone.
    """
    names = _in_lab(namespaces)
    access = current().access
    apps = AppsV1Api(access.api)
    now = datetime.now(UTC).isoformat()
    patch = {"spec": {"template": {"metadata": {"annotations": {_RESTARTED: now}}}}}
    restarted = []
    for namespace, kind, name in _workloads(access, apps, names):
        access.json(getattr(apps, f"patch_namespaced_{kind}"), name, namespace, patch)
        restarted.append(f"{namespace}/{name}")
    _await_rollout(access, apps, names, timeout)
    return restarted


def _await_rollout(access: KubeAccess, apps: Any, namespaces: Sequence[str], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while waiting := _unfinished(access, apps, namespaces):
        if time.monotonic() > deadline:
            raise LabError(f"after {timeout:g} s not restarted: {', '.join(waiting)}")
        time.sleep(_POLL_S)


def set_pod_metadata(
    workload: str,
    labels: dict[str, str | None] | None = None,
    annotations: dict[str, str | None] | None = None,
    timeout: float = 60.0,
) -> str:
    """Change labels and annotations of a Deployment's pods, which are made anew, and wait until the new ones serve.

    Args:
        workload: The Deployment, as ``namespace/name``.
        labels: Of its pods; null takes one away.
        annotations: Of its pods, such as Istio's about traffic; null takes one away.
        timeout: Seconds until the new pods are Ready and the old ones gone.
    """
    namespace, _, name = workload.partition("/")
    (namespace,) = _in_lab(namespace)
    access = current().access
    apps = AppsV1Api(access.api)
    metadata = {"labels": labels or {}, "annotations": annotations or {}}
    access.json(
        apps.patch_namespaced_deployment, name, namespace, {"spec": {"template": {"metadata": metadata}}}
    )
    _await_rollout(access, apps, [namespace], timeout)
    return workload


def _workloads(access: KubeAccess, apps: Any, namespaces: Sequence[str]) -> list[tuple[str, str, str]]:
    return [
        (namespace, kind, item["metadata"]["name"])
        for namespace in namespaces
        for kind in _KINDS
        for item in access.json(getattr(apps, f"list_namespaced_{kind}"), namespace)["items"]
    ]


def _unfinished(access: KubeAccess, apps: Any, namespaces: Sequence[str]) -> list[str]:
    """The workloads whose rollout is not over, and the pods that are still going."""
    found = [
        f"{kind} {namespace}/{item['metadata']['name']}"
        for namespace in namespaces
        for kind in _KINDS
        for item in access.json(getattr(apps, f"list_namespaced_{kind}"), namespace)["items"]
        if not rolled_out(item)
    ]
    for namespace in namespaces:
        pods = access.json(access.core.list_namespaced_pod, namespace)["items"]
        found += [
            f"pod {namespace}/{pod['metadata']['name']}"
            for pod in pods
            if pod["metadata"].get("deletionTimestamp")
        ]
    return found


def rolled_out(workload: Mapping[str, Any]) -> bool:
    """Whether a Deployment, DaemonSet or StatefulSet runs its newest template alone, by its status. Pure."""
    status, spec = workload.get("status") or {}, workload.get("spec") or {}
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return False
    if "desiredNumberScheduled" in status or workload.get("kind") == "DaemonSet":
        wanted = status.get("desiredNumberScheduled", 0)
        return bool(status.get("updatedNumberScheduled", 0) == status.get("numberAvailable", 0) == wanted)
    wanted = spec.get("replicas", 1)
    counts = (status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas"))
    return all(count == wanted for count in counts)


def sidecars_as_expected(
    namespaces: list[str] | str,
    timeout: float = 5.0,
    treated: str = "all",
    untreated: str = "none",
    *,
    required: bool = False,
) -> str:
    """Whether all pods of these namespaces have a sidecar, or none; phase-aware.

    Args:
        namespaces: Of the lab.
        timeout: Seconds to wait until it is so.
        treated: What must be found under the treatment: "all" or "none".
        untreated: What must be found without it.
        required: Fail instead of answering "NOT as expected", for rollbacks.
    """
    for value in (treated, untreated):
        if value not in {"all", "none"}:
            raise UsageError(f"sidecars_as_expected: {value!r}: one of all, none")
    names = _in_lab(namespaces)
    session = current()
    expected = treated if session.timeline.treated else untreated
    deadline = time.monotonic() + timeout
    while True:
        pods = [p for p in session.pods() if p["metadata"]["namespace"] in names]
        having = [p for p in pods if has_sidecar(p)]
        right = bool(pods) and len(having) == (len(pods) if expected == "all" else 0)
        sentence = f"{len(having)} of {len(pods)} pods have a sidecar"
        if right:
            return AS_EXPECTED + sentence
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    if required:
        raise LabError(
            f"after {timeout:g} s {sentence}, and {expected} must; see the namespaces' label {LABEL}, then"
            " `kubectl rollout restart`, or start the lab anew"
        )
    return NOT_EXPECTED + sentence


def has_sidecar(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has Istio's proxy, in the older form (a container) or the newer (a restartable one)."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return any(container.get("name") == CONTAINER for container in containers)


def _in_lab(namespaces: list[str] | str) -> list[str]:
    names = [namespaces] if isinstance(namespaces, str) else list(namespaces)
    for name in names:
        if name not in current().namespaces:
            raise UsageError(
                f"namespace {name!r} is not labelled meshverdict.io/lab=true, so it is not touched"
            )
    return names
