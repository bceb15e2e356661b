"""The pods in which intruders stand: made when the first of them is needed, gone with the run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client.exceptions import ApiException

from meshverdict.chaos.manifests import CONFLICT, NOT_FOUND
from meshverdict.chaos.prober import IMAGE, LABEL
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshverdict.chaos.cluster import KubeAccess

COMPONENT: Final = "intruder"
CONTAINER: Final = "intruder"
_WORDS: Final = {"with sidecar": True, "without sidecar": False}
_READY_TIMEOUT_S: Final = 60.0
_LONGEST_RUN_S: Final = 7200
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Intruder:
    """Where somebody stands who has no business with the target.

    Attributes:
        namespace: Of the pod.
        sidecar: Whether the mesh gives it a sidecar, and with it a name.
    """

    namespace: str
    sidecar: bool

    @classmethod
    def parse(cls, text: str) -> Intruder:
        """Read ``b-apacherr with sidecar`` or ``b-apacherr without sidecar``.

        Raises:
            UsageError: Neither.
        """
        namespace, _, words = str(text).partition(" ")
        if not namespace or words not in _WORDS:
            raise UsageError(
                f"intruders: {text!r}: write 'NAMESPACE with sidecar' or 'NAMESPACE without sidecar'"
            )
        return cls(namespace, _WORDS[words])

    @property
    def pod(self) -> str:
        """Name of its pod."""
        return "meshverdict-intruder" + ("-in-mesh" if self.sidecar else "")

    def __str__(self) -> str:
        return f"{self.namespace} {'with' if self.sidecar else 'without'} sidecar"

    def manifest(self) -> dict[str, Any]:
        """The pod; no Service of the lab selects it."""
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.pod,
                "namespace": self.namespace,
                "labels": {LABEL: COMPONENT, "sidecar.istio.io/inject": "true" if self.sidecar else "false"},
            },
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "activeDeadlineSeconds": _LONGEST_RUN_S,
                "securityContext": {"runAsNonRoot": True, "runAsUser": 1000},
                "containers": [
                    {
                        "name": CONTAINER,
                        "image": IMAGE,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-c", f"import time; time.sleep({_LONGEST_RUN_S})"],
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            },
        }


def place(access: KubeAccess, intruder: Intruder) -> None:
    """Wait until the intruder's pod is Ready; it is made where there is none, and left to `remove` in every case.

    Raises:
        LabError: It does not become Ready.
    """
    what, deadline = f"pod {intruder.namespace}/{intruder.pod}", time.monotonic() + _READY_TIMEOUT_S
    while True:
        pod = _read(access, intruder)
        if pod is None:
            _create(access, intruder)
            continue
        status, going = pod.get("status") or {}, pod["metadata"].get("deletionTimestamp")
        conditions = status.get("conditions") or ()
        if not going and any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions):
            return
        ended = status.get("phase") in {"Failed", "Succeeded"} and not going
        if ended or time.monotonic() > deadline:
            said = status.get("message") or ("it does not go away" if going else status.get("phase"))
            raise LabError(
                f"{what} does not become Ready: {said}; look with kubectl describe pod -n {intruder.namespace} {intruder.pod}"
            )
        time.sleep(_POLL_S)


def _read(access: KubeAccess, intruder: Intruder) -> dict[str, Any] | None:
    try:
        return access.json(access.core.read_namespaced_pod, intruder.pod, intruder.namespace)
    except ApiException as error:
        if error.status == NOT_FOUND:
            return None
        raise


def _create(access: KubeAccess, intruder: Intruder) -> None:
    try:
        access.json(access.core.create_namespaced_pod, intruder.namespace, intruder.manifest())
    except ApiException as error:
        if error.status != CONFLICT:  # made meanwhile by somebody else
            raise


def remove(access: KubeAccess, namespaces: Iterable[str]) -> list[str]:
    """Delete all intruders, also those of a dead run, and wait until they are gone; answers which there were."""
    found, selector = [], f"{LABEL}={COMPONENT}"
    for namespace in namespaces:
        for pod in access.json(access.core.list_namespaced_pod, namespace, label_selector=selector)["items"]:
            name = pod["metadata"]["name"]
            try:
                access.json(access.core.delete_namespaced_pod, name, namespace, grace_period_seconds=0)
            except ApiException as error:
                if error.status != NOT_FOUND:
                    raise
            found.append(f"{namespace}/{name}")
    deadline = time.monotonic() + _READY_TIMEOUT_S
    for namespace in {name.partition("/")[0] for name in found}:
        while access.json(access.core.list_namespaced_pod, namespace, label_selector=selector)["items"]:
            if time.monotonic() > deadline:
                raise LabError(f"intruders in {namespace} do not go away; delete them with kubectl")
            time.sleep(_POLL_S)
    return found
