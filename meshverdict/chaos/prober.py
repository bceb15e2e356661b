"""Prober pods: one in each namespace that is asked about, trying new connections as long as a run lasts."""

from __future__ import annotations

import inspect
import json
import logging
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client.exceptions import ApiException

from meshverdict.chaos import prober_program
from meshverdict.chaos.connections import SILENT_S, Connection, Seen
from meshverdict.chaos.manifests import CONFLICT, NOT_FOUND, until_account
from meshverdict.load.follow import follow, pod_log
from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshverdict.chaos.cluster import KubeAccess

log = logging.getLogger("chaostoolkit")
NAME: Final = "meshverdict-prober"
LABEL: Final = "meshverdict.io/component"
IMAGE: Final = "python:3.12-alpine"
_READY_TIMEOUT_S: Final = 60.0
_LONGEST_RUN_S: Final = 7200


def pod(namespace: str, connections: Iterable[Connection]) -> dict[str, Any]:
    """The manifest of one prober pod; no Service of the lab selects it."""
    targets = json.dumps([c.as_target() for c in connections])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": {LABEL: "prober", "sidecar.istio.io/inject": "false"},
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": _LONGEST_RUN_S,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000},
            "containers": [
                {
                    "name": "prober",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-u", "-c", inspect.getsource(prober_program), targets],
                    "resources": {"requests": {"cpu": "20m", "memory": "24Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


class Probers:
    """The probers of one run.

    Attributes:
        seen: What each connection did, in the order in which they were asked for.
    """

    def __init__(self, access: KubeAccess, connections: Iterable[Connection]) -> None:
        self._access = access
        self.seen = [Seen(connection) for connection in connections]
        self.namespaces = tuple(dict.fromkeys(s.connection.source for s in self.seen))
        self._stop = threading.Event()
        self._stopped = 0.0
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Create the pods and wait until every connection was tried once.

        Raises:
            LabError: A pod does not run; the message says which, and why.
        """
        for namespace in self.namespaces:
            body = pod(namespace, (s.connection for s in self.seen if s.connection.source == namespace))
            try:
                until_account(
                    partial(self._access.json, self._access.core.create_namespaced_pod, namespace, body)
                )
            except ApiException as error:
                if error.status != CONFLICT:
                    raise
                raise LabError(
                    f"pod {namespace}/{NAME} is there already: is another run using this cluster?"
                ) from error
        deadline = time.monotonic() + _READY_TIMEOUT_S
        for namespace in self.namespaces:
            self._await_running(namespace, deadline)
            thread = threading.Thread(
                target=self._follow, args=(namespace,), name=f"prober-{namespace}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        while not all(s.changes for s in self.seen):
            if time.monotonic() > deadline:
                missing = ", ".join(str(s.connection) for s in self.seen if not s.changes)
                raise LabError(f"the probers did not try {missing}; do these Services exist?")
            time.sleep(0.02)

    def _await_running(self, namespace: str, deadline: float) -> None:
        while True:
            status = (
                self._access.json(self._access.core.read_namespaced_pod, NAME, namespace).get("status") or {}
            )
            if status.get("phase") == "Running":
                return
            refuse_trouble(f"{namespace}/{NAME}", status, late=time.monotonic() > deadline)
            time.sleep(0.05)

    def _follow(self, namespace: str) -> None:
        mine = {s.connection.to: s for s in self.seen if s.connection.source == namespace}

        def feed(text: bytes) -> int | None:
            try:
                line = json.loads(text)
                mine[line["to"]].take(line)
                mine[line["to"]].heard = time.time()
                return int(line.get("t") or line.get("second"))
            except (ValueError, KeyError, TypeError):
                return None

        follow(pod_log(self._access.core, NAME, namespace, "prober"), feed, lambda: False, self._stop)

    @property
    def failure(self) -> str | None:
        """Which connection was not tried to the end; None for none."""
        now = self._stopped or time.time()
        silent = next((s for s in self.seen if s.silent_s(now) > SILENT_S), None)
        return (
            None
            if silent is None
            else f"the prober of {silent.connection} has been silent for {silent.silent_s(now):.0f} s"
        )

    def stop(self) -> None:
        """Delete the pods; their records stay."""
        self._stopped = time.time()
        self._stop.set()
        remove(self._access, self.namespaces)
        for thread in self._threads:
            thread.join(timeout=2)


def refuse_trouble(pod: str, status: Mapping[str, Any], *, late: bool) -> None:
    """Refuse to wait any longer for a pod that will not run.

    Raises:
        LabError: Its image cannot be had, it has ended, or it is *late*; the message says which.
    """
    waiting = [c.get("state", {}).get("waiting", {}) for c in status.get("containerStatuses") or ()]
    trouble = next((w for w in waiting if w.get("reason") in {"ErrImagePull", "ImagePullBackOff"}), None)
    if trouble or status.get("phase") in {"Failed", "Succeeded"} or late:
        said = trouble or status.get("message") or status.get("phase")
        raise LabError(f"pod {pod} does not run: {said}")


def remove(access: KubeAccess, namespaces: Iterable[str], *, name: str = NAME) -> list[str]:
    """Delete prober pods, also those of a dead run; answers where there were any.

    Raises:
        LabError: One does not go away.
    """
    found = []
    for namespace in namespaces:
        try:
            access.json(access.core.delete_namespaced_pod, name, namespace, grace_period_seconds=0)
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise
            continue
        found.append(namespace)
    deadline = time.monotonic() + _READY_TIMEOUT_S
    for namespace in found:
        while _exists(access, namespace, name):
            if time.monotonic() > deadline:
                raise LabError(f"pod {namespace}/{name} does not go away; delete it with kubectl")
            time.sleep(0.02)
    return found


def _exists(access: KubeAccess, namespace: str, name: str) -> bool:
    try:
        access.json(access.core.read_namespaced_pod, name, namespace)
    except ApiException as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True


@contextmanager
def probing(access: KubeAccess, connections: Iterable[Connection]) -> Iterator[Probers]:
    """Probers that live as long as the block."""
    probers = Probers(access, connections)
    try:
        probers.start()
        yield probers
    finally:
        probers.stop()
