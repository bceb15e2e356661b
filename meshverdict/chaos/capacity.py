"""Give a workload a known, small capacity for an experiment, and its own form back afterwards.

An overload is measured where threads and waits are the limit: 4 threads that wait 50 ms for each request serve 80 a
second on any machine, and neither the generator nor the sidecars decide the result. What the workload was before is in
the run's ledger, so that it comes back also after a run that was killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kubernetes.client import AppsV1Api

from meshverdict.chaos.ledger import Ledger, address
from meshverdict.chaos.rollout import await_rollout
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKLOAD: Final = "c-app-count/pythonapp"
READINESS: Final = ("queue", "apart")
# Strategic merge would keep variables that are no longer wanted: lists are replaced.
_MERGE: Final = "application/merge-patch+json"


def set_capacity(  # noqa: PLR0917 - an experiment names its arguments
    threads: int | None = None,
    work_ms: float | None = None,
    replicas: int | None = None,
    readiness: str | None = None,
    workload: str = WORKLOAD,
    timeout: float = 60.0,
) -> dict[str, Any]:
    """Give the app another capacity, threads x replicas / work, and wait until pods that have it serve.

    What is not named is as in the workload's own form, also when the capacity was set before.

    Args:
        threads: Requests that one replica handles at a time.
        work_ms: Milliseconds that each request waits besides.
        replicas: How many pods.
        readiness: "queue": the readiness probe waits in the same queue as the requests, as the manifest has it;
            "apart": it asks the metrics port, as services with a management port do, so that overload does not take
            the pod out of its Service.
        workload: The Deployment, as ``namespace/name``.
        timeout: Seconds until all pods are new and Ready.
    """
    if readiness is not None and readiness not in READINESS:
        raise UsageError(f"set_capacity: readiness {readiness!r}: one of {', '.join(READINESS)}")
    namespace, name = _named(workload)
    ledger = _ledger()
    ledger.remember([(address("apps/v1", "Deployment", name), namespace)])
    before = _before(ledger, namespace, name)
    if before is None:
        raise UsageError(f"set_capacity: there is no Deployment {workload}")
    variables = {k: f"{v:g}" for k, v in (("THREADS", threads), ("WORK_MS", work_ms)) if v is not None}
    count = int(before["spec"].get("replicas", 1) if replicas is None else replicas)
    access = current().access
    body = {"spec": {"replicas": count, **resized(before, variables, apart=readiness == "apart")}}
    access.json(
        AppsV1Api(access.api).patch_namespaced_deployment, name, namespace, body, _content_type=_MERGE
    )
    await_rollout(access, [namespace], timeout)
    return {"workload": workload, "replicas": count, **variables}


def restore_capacity(workload: str = WORKLOAD, timeout: float = 60.0) -> str:
    """Give a workload back the form that it had before `set_capacity`, and wait until its pods serve.

    Args:
        workload: The Deployment, as ``namespace/name``.
        timeout: Seconds until all pods are new and Ready.
    """
    namespace, name = _named(workload)
    ledger = _ledger()
    before = _before(ledger, namespace, name)
    if before is None:
        return f"{workload} was not changed"
    ledger.objects.restore(before, namespace)
    await_rollout(current().access, [namespace], timeout)
    return f"{workload} is again as it was"


def resized(deployment: Mapping[str, Any], variables: Mapping[str, str], *, apart: bool) -> dict[str, Any]:
    """The part of a Deployment's specification that has these variables in its containers. Pure.

    Args:
        deployment: Its own form.
        variables: By name; others stay as they are.
        apart: Readiness is asked where liveness is, in the containers that say where.

    Raises:
        UsageError: None of them says where liveness is asked.
    """
    containers = deployment["spec"]["template"]["spec"]["containers"]
    if apart and not any(c.get("livenessProbe") for c in containers):
        metadata = deployment["metadata"]
        raise UsageError(
            f"set_capacity: readiness 'apart': no container of Deployment {metadata.get('namespace')}/{metadata['name']}"
            " has a livenessProbe, whose question readiness would ask; give it one"
        )
    return {"template": {"spec": {"containers": [_changed(c, variables, apart=apart) for c in containers]}}}


def _changed(container: Mapping[str, Any], variables: Mapping[str, str], *, apart: bool) -> dict[str, Any]:
    kept = [item for item in container.get("env") or () if item.get("name") not in variables]
    given = [{"name": name, "value": value} for name, value in variables.items()]
    found = {**container, "env": [*kept, *given]}
    alive = container.get("livenessProbe")
    if apart and alive is not None:
        asks = {k: v for k, v in alive.items() if k in {"httpGet", "tcpSocket", "exec", "grpc"}}
        ready = container.get("readinessProbe") or {}
        times = {k: v for k, v in ready.items() if k.endswith(("Seconds", "Threshold"))}
        found["readinessProbe"] = {**times, **asks}
    return found


def _named(workload: str) -> tuple[str, str]:
    namespace, slash, name = workload.partition("/")
    if not slash or namespace not in current().namespaces:
        raise UsageError(
            f"workload {workload!r}: expected namespace/name in a namespace labelled meshverdict.io/lab=true"
        )
    return namespace, name


def _ledger() -> Ledger:
    ledger = current().ledger
    if ledger is None:
        raise LabError("this run has no ledger, so nothing that it changes would come back")
    return ledger


def _before(ledger: Ledger, namespace: str, name: str) -> dict[str, Any] | None:
    """The Deployment as it was before this run first changed it; None when it did not, or there was none."""
    for change in ledger.changes:
        metadata = change["metadata"]
        if (change["kind"], metadata.get("namespace"), metadata["name"]) == ("Deployment", namespace, name):
            before: dict[str, Any] | None = change["before"]
            return before
    return None
