"""Wait for the pods of a real cluster's lab, and say what holds them up."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client import AppsV1Api

from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from meshverdict.chaos.cluster import KubeAccess

_POLL_S: Final = 0.5
_HOPELESS: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})


def await_pods(access: KubeAccess, namespaces: Sequence[str], timeout: float) -> int:
    """Wait until all pods of some namespaces are Ready, and all Deployments have theirs; how many pods.

    Raises:
        LabError: After *timeout* seconds, or at once when an image cannot be had; it names the pods.
    """
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
                + f". `meshverdict images --build --context {access.context}` prints how this project's images get"
                f" into the cluster; `meshverdict down --context {access.context}` takes everything away again"
            )
        time.sleep(_POLL_S)


def _unmade(access: KubeAccess, namespaces: Sequence[str]) -> list[str]:
    """Deployments whose pods are not all made yet."""
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
