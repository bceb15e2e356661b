"""Put sidecars beside the lab's pods and take them away again: the treatment whose price is measured.

Istio injects when a pod is made, by a label of its namespace, so a change takes effect with a restart. Restarting is a
step of its own, which a campaign's control arm does too: fresh pods are compared with fresh pods.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client import AppsV1Api

from meshverdict.chaos.answers import AS_EXPECTED, NOT_EXPECTED
from meshverdict.chaos.ledger import INJECTION, address
from meshverdict.chaos.rollout import await_rollout, has_sidecar, restart
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

LABEL: Final = INJECTION
_POLL_S: Final = 0.2


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
    _remember([address("v1", "Namespace", name) for name in names], None)
    for name in names:
        access.json(access.core.patch_namespace, name, {"metadata": {"labels": {LABEL: value}}})
    return names


def restart_workloads(namespaces: list[str] | str, timeout: float = 60.0) -> list[str]:
    """Make all pods of these namespaces anew, as `kubectl rollout restart` does, and wait until they serve.

    Args:
        namespaces: Of the lab.
        timeout: Seconds until all of them are Ready and the old ones gone.
    """
    return restart(current().access, _in_lab(namespaces), timeout)


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
    _remember([address("apps/v1", "Deployment", name)], namespace)
    metadata = {"labels": labels or {}, "annotations": annotations or {}}
    access.json(
        apps.patch_namespaced_deployment, name, namespace, {"spec": {"template": {"metadata": metadata}}}
    )
    await_rollout(access, [namespace], timeout)
    return workload


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


def _remember(objects: Sequence[dict[str, Any]], namespace: str | None) -> None:
    """Write down what is about to change, for whoever finds the cluster after this run was killed."""
    ledger = current().ledger
    if ledger is not None:
        ledger.remember((one, namespace) for one in objects)


def _in_lab(namespaces: list[str] | str) -> list[str]:
    names = [namespaces] if isinstance(namespaces, str) else list(namespaces)
    for name in names:
        if name not in current().namespaces:
            raise UsageError(
                f"namespace {name!r} is not labelled meshverdict.io/lab=true, so it is not touched"
            )
    return names
