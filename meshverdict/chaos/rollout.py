"""Make a namespace's pods anew, and know when that is over: a mesh changes pods only when they are made."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client import AppsV1Api

from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.chaos.cluster import KubeAccess

RESTARTED: Final = "kubectl.kubernetes.io/restartedAt"
_KINDS: Final = ("deployment", "daemon_set", "stateful_set")
CONTAINER: Final = "istio-proxy"
_POLL_S: Final = 0.2


def restart(access: KubeAccess, namespaces: Sequence[str], timeout: float) -> list[str]:
    """Restart all workloads, as `kubectl rollout restart` does, and wait until they serve; their names.

    Raises:
        LabError: After *timeout* seconds; it names what is not ready.
    """
    apps = AppsV1Api(access.api)
    patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: datetime.now(UTC).isoformat()}}}}}
    restarted = []
    for namespace, kind, name in _workloads(access, apps, namespaces):
        access.json(getattr(apps, f"patch_namespaced_{kind}"), name, namespace, patch)
        restarted.append(f"{namespace}/{name}")
    await_rollout(access, namespaces, timeout)
    return restarted


def await_rollout(access: KubeAccess, namespaces: Sequence[str], timeout: float) -> None:
    """Wait until the workloads of some namespaces run their newest templates alone.

    Raises:
        LabError: After *timeout* seconds; it names what is not ready.
    """
    apps = AppsV1Api(access.api)
    deadline = time.monotonic() + timeout
    while waiting := _unfinished(access, apps, namespaces):
        if time.monotonic() > deadline:
            raise LabError(f"after {timeout:g} s not restarted: {', '.join(waiting)}")
        time.sleep(_POLL_S)


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


def has_sidecar(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has Istio's proxy, in the older form (a container) or the newer (a restartable one)."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return any(container.get("name") == CONTAINER for container in containers)
