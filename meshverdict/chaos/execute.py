"""Run a program in a pod's container and hear what it says: how an experiment reaches into what it troubles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from websocket import WebSocketException

from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshverdict.chaos.cluster import KubeAccess


def one_pod(access: KubeAccess, namespace: str, label_selector: str) -> str:
    """Name of a running pod that the selector finds.

    Raises:
        LabError: There is none.
    """
    for pod in access.json(access.core.list_namespaced_pod, namespace, label_selector=label_selector)[
        "items"
    ]:
        going = pod["metadata"].get("deletionTimestamp")
        if (pod.get("status") or {}).get("phase") == "Running" and not going:
            return str(pod["metadata"]["name"])
    raise LabError(f"namespace {namespace}: no running pod has the labels {label_selector!r}")


def execute(
    access: KubeAccess, namespace: str, pod: str, container: str, command: Sequence[str], *, timeout: float
) -> str:
    """What a program wrote to standard output.

    Args:
        access: The cluster.
        namespace: Of the pod.
        pod: Its name.
        container: Of the pod.
        command: Program and arguments.
        timeout: Seconds that it may take.

    Raises:
        LabError: It could not be started, failed, or did not end in time.
    """
    what = f"{' '.join(command)[:60]!r} in {namespace}/{pod}, container {container}"
    # `stream` changes the client that it is given, and others use ours at the same time.
    own = client.CoreV1Api(client.ApiClient(access.api.configuration))
    try:
        session: Any = stream(
            own.connect_get_namespaced_pod_exec,
            pod,
            namespace,
            container=container,
            command=list(command),
            stdout=True,
            stderr=True,
            stdin=False,
            tty=False,
            _preload_content=False,
        )
        session.run_forever(timeout=timeout)
        if session.is_open():
            session.close()
            raise LabError(f"{what}: no end after {timeout:g} s")
        out, error, code = session.read_stdout() or "", session.read_stderr() or "", session.returncode
    except (ApiException, WebSocketException, OSError) as failed:
        raise LabError(f"{what}: cannot be run ({failed})") from failed
    if code != 0:
        raise LabError(f"{what}: ended with {code}: {(error or out).strip()[:200]}")
    return str(out)
