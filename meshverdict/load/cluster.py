"""What the driver does to the cluster: create, look, read logs, end, remove.

It acts in namespaces labelled as the lab's alone, and refuses any other.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from meshverdict.load import job
from meshverdict.load.errors import LoadError
from meshverdict.load.follow import pod_log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshverdict.load.follow import Open
    from meshverdict.load.spec import LoadSpec

log = logging.getLogger("meshverdict.load")
_NEVER_STARTS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
_TERMINATE = "import os, signal; os.kill(1, signal.SIGTERM)"


@dataclass(frozen=True, slots=True)
class PodState:
    """What matters of a load pod.

    Attributes:
        phase: Kubernetes' phase, for messages.
        started: Whether there is a log to read.
        over: Whether its container has ended.
        refused: Why it will never start; empty if nothing says so.
    """

    name: str
    namespace: str
    phase: str
    started: bool
    over: bool
    refused: str = ""

    def ended(self) -> PodState:
        """The same pod, gone."""
        return replace(self, over=True, phase="gone")


class LoadCluster:
    """The cluster, seen from the driver.

    Args:
        client: A ``kubernetes.client.ApiClient``.
    """

    def __init__(self, client: Any) -> None:
        from kubernetes.client import BatchV1Api, CoreV1Api  # noqa: PLC0415

        self._client = client
        self._core: Any = CoreV1Api(client)
        self._batch: Any = BatchV1Api(client)
        self._allowed = False

    def create(self, spec: LoadSpec, locustfile: str) -> None:
        """Create the namespace if it is missing, the ConfigMap and the Job; leftovers are replaced."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

        self._own_namespace(spec)
        self._allowed = True
        self.remove(spec)
        deadline = time.monotonic() + 15.0
        for create, body in (
            (self._core.create_namespaced_config_map, job.config_map(spec, locustfile)),
            (self._batch.create_namespaced_job, job.job(spec)),
        ):
            while True:
                try:
                    create(spec.namespace, body)
                    break
                except ApiException as error:
                    # What was there under that name, or a namespace made just now, takes its time.
                    if error.status not in {403, 404, 409} or time.monotonic() > deadline:
                        raise LoadError(
                            f"load {spec.name}: {body['kind']} not created: {_message(error)}"
                        ) from error
                    time.sleep(0.1)

    def _own_namespace(self, spec: LoadSpec) -> None:
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

        try:
            found = self._core.read_namespace(spec.namespace)
        except ApiException as error:
            if error.status != 404:
                raise LoadError(f"namespace {spec.namespace}: {_message(error)}") from error
            self._core.create_namespace(job.namespace(spec))
            return
        if (found.metadata.labels or {}).get(job.LAB_LABEL) != "true":
            raise LoadError(
                f"namespace {spec.namespace} is not labelled {job.LAB_LABEL}=true, so no load is started in it;"
                " `meshverdict up --context NAME` labels the lab's namespaces"
            )

    def pods(self, spec: LoadSpec) -> dict[str, PodState]:
        """The load's pods by name; the last known ones while the API cannot be asked."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            found = self._core.list_namespaced_pod(
                spec.namespace, label_selector=f"{job.LOAD_LABEL}={spec.name}", _request_timeout=10.0
            )
        except (ApiException, HTTPError, OSError) as error:
            log.debug("pods of load %s cannot be listed now: %r", spec.name, error)
            return {}
        return {pod.metadata.name: _state(pod) for pod in found.items if not pod.metadata.deletion_timestamp}

    def over(self, spec: LoadSpec, pod: str) -> bool:
        """Whether the pod's container has ended, or the pod is gone."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            return _state(self._core.read_namespaced_pod(pod, spec.namespace, _request_timeout=10.0)).over
        except ApiException as error:
            return bool(error.status == 404)
        except (HTTPError, OSError):
            return False

    def log(self, spec: LoadSpec, pod: str) -> Open:
        """Opens the pod's log."""
        return pod_log(self._core, pod, spec.namespace, job.CONTAINER)

    def terminate(self, pods: Iterable[PodState]) -> None:
        """Send SIGTERM to Locust in each pod. The pod stays, and with it its log."""
        from kubernetes.client import ApiClient, CoreV1Api  # noqa: PLC0415
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
        from kubernetes.stream import stream  # noqa: PLC0415

        # The stream module borrows its client for the time of the call: threads that read logs need the other one.
        core: Any = CoreV1Api(ApiClient(configuration=self._client.configuration))
        for pod in pods:
            try:
                stream(
                    core.connect_get_namespaced_pod_exec,
                    pod.name,
                    pod.namespace,
                    container=job.CONTAINER,
                    command=["python", "-c", _TERMINATE],
                    stderr=True,
                    stdin=False,
                    stdout=True,
                    tty=False,
                    _request_timeout=10.0,
                )
            except (ApiException, OSError) as error:
                log.warning("pod %s could not be asked to end: %s", pod.name, error)

    def delete_job(self, spec: LoadSpec, *, grace: int) -> None:
        """Delete the Job with its pods; one that is gone is no error."""
        batch = self._batch
        self._delete("Job", batch.read_namespaced_job, batch.delete_namespaced_job, spec, grace=grace)

    def remove(self, spec: LoadSpec) -> None:
        """Delete the Job, its pods and the ConfigMap; nothing where no load may be.

        Raises:
            LoadError: What has that name is no load, or the server refuses.
        """
        if not self._allowed:
            return
        core = self._core
        self.delete_job(spec, grace=0)
        self._delete(
            "ConfigMap", core.read_namespaced_config_map, core.delete_namespaced_config_map, spec, grace=0
        )

    def _delete(self, kind: str, read: Any, delete: Any, spec: LoadSpec, *, grace: int) -> None:
        from kubernetes.client import V1DeleteOptions  # noqa: PLC0415
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

        options = V1DeleteOptions(grace_period_seconds=grace, propagation_policy="Background")
        try:
            found = read(spec.name, spec.namespace)
            if (found.metadata.labels or {}).get(job.LOAD_LABEL) != spec.name:
                raise LoadError(
                    f"load {spec.name}: {kind} {spec.namespace}/{spec.name} is no load (it is not labelled"
                    f" {job.LOAD_LABEL}={spec.name}), so it is left alone; give the load another name"
                )
            delete(spec.name, spec.namespace, body=options)
        except ApiException as error:
            if error.status != 404:
                raise LoadError(f"load {spec.name}: not removed: {_message(error)}") from error


def _state(pod: Any) -> PodState:
    statuses = pod.status.container_statuses or []
    own = next((s for s in statuses if s.name == job.CONTAINER), None)
    waiting = own.state.waiting if own is not None and own.state is not None else None
    ended = own is not None and own.state is not None and own.state.terminated is not None
    running = own is not None and own.state is not None and own.state.running is not None
    refused = (
        f"{waiting.reason}: {waiting.message or ''}" if waiting and waiting.reason in _NEVER_STARTS else ""
    )
    over = ended or pod.status.phase in {"Succeeded", "Failed"}
    return PodState(
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        phase=pod.status.phase or "Pending",
        started=running or ended,
        over=over,
        refused=refused,
    )


def _message(error: Any) -> str:
    """The server's own words, without the headers that the client prints."""
    import json  # noqa: PLC0415

    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
