"""Follow Cilium's own flow log: `hubble observe` inside every agent, over the Kubernetes API.

Each agent knows the flows of its node, and has the program with it, so neither Hubble Relay nor a program on this
machine is needed. The right to run something in an agent is a strong one; without it a run has no flow log.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from urllib3.exceptions import HTTPError
from websocket import WebSocketException

from meshverdict.analysis.hubble import command, counts, lost_events
from meshverdict.chaos.cluster import short
from meshverdict.chaos.manifests import FORBIDDEN, NOT_FOUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from meshverdict.chaos.cluster import KubeAccess

log = logging.getLogger("chaostoolkit")
NAMESPACE: Final = "kube-system"
SELECTOR: Final = "k8s-app=cilium"
CONTAINER: Final = "cilium-agent"
# What the client raises where a connection was closed before the program's end was told: it reads what is not there.
_UNFRAMED: Final = (TypeError, LookupError, ValueError)
_PAUSE_S: Final = 1.0
_POLL_S: Final = 0.5
_SETTLED_S: Final = 2.0
Take = Callable[[bytes], None]


def agents(access: KubeAccess) -> list[str]:
    """The Cilium agents in which we may run a command; none where there are none, or we may not."""
    try:
        found = access.json(access.core.list_namespaced_pod, NAMESPACE, label_selector=SELECTOR)["items"]
    except ApiException as error:
        if error.status not in {FORBIDDEN, NOT_FOUND}:
            raise
        return []
    running = [p["metadata"]["name"] for p in found if (p.get("status") or {}).get("phase") == "Running"]
    return running if running and _allowed(access) else []


def _allowed(access: KubeAccess) -> bool:
    right = {"verb": "create", "resource": "pods", "subresource": "exec", "namespace": NAMESPACE}
    api = client.AuthorizationV1Api(access.api)
    body = {"spec": {"resourceAttributes": right}}
    answer = access.json(api.create_self_subject_access_review, body)
    return bool((answer.get("status") or {}).get("allowed"))


class Agent:
    """One agent's flows.

    Attributes:
        lost: Events that its Hubble could not keep up with: dropped flows are then at least those counted.
        told: Whether it was ever read: where Hubble is switched off it never is.
        failure: Why nothing is read, as long as it is so: what Hubble tells meanwhile is missing from the record.
    """

    def __init__(self, access: KubeAccess, pod: str, namespaces: Iterable[str]) -> None:
        # Its own client: while it runs, `stream` takes over the one that it is given.
        self._core = client.CoreV1Api(client.ApiClient(access.api.configuration))
        self._pod = pod
        self._namespaces = tuple(namespaces)
        self._newest: str | None = None
        self.lost = 0
        self.told = False
        self.failure: str | None = None

    def follow(self, take: Take, stop: threading.Event) -> None:
        """Hand every line that counts to *take* until *stop*; a connection that is lost is made again."""
        while not stop.is_set():
            try:
                for line in self._lines(stop):
                    self._one(line, take)
            except (ApiException, HTTPError, OSError, WebSocketException, *_UNFRAMED) as error:
                log.debug("hubble in %s: connection lost (%r)", self._pod, error)
                self.failure = f"`hubble observe` in {NAMESPACE}/{self._pod} is not reached: {short(error)}"
            stop.wait(_PAUSE_S)

    def _one(self, text: bytes, take: Take) -> None:
        try:
            line = json.loads(text)
        except ValueError:
            return
        if not isinstance(line, dict):
            return
        self.told = True
        self.lost += lost_events(line)
        flow = line.get("flow", line)
        moment = flow.get("time") if isinstance(flow, dict) else None
        if isinstance(moment, str):
            self._newest = moment
        if counts(line):
            take(text)

    def _lines(self, stop: threading.Event) -> Iterator[bytes]:
        session: Any = stream(
            self._core.connect_get_namespaced_pod_exec,
            self._pod,
            NAMESPACE,
            container=CONTAINER,
            command=command(self._namespaces, self._newest),
            stdout=True,
            stderr=True,
            stdin=False,
            tty=False,
            _preload_content=False,
        )
        rest, began = "", time.monotonic()
        try:
            while session.is_open() and not stop.is_set():
                session.update(timeout=_POLL_S)
                if time.monotonic() > began + _SETTLED_S:
                    self.told, self.failure = True, None  # it lasts; a command that cannot run ends at once
                *whole, rest = (rest + (session.read_stdout() if session.peek_stdout() else "")).split("\n")
                yield from (line.encode() for line in whole)
            said = session.read_stderr() if session.peek_stderr() else ""
            if not session.is_open() and session.returncode:
                self.failure = f"`hubble observe` in {NAMESPACE}/{self._pod} ended: {said.strip()[-200:]}"
                log.warning("%s", self.failure)
        finally:
            session.close()
