"""Bring the cluster's flow log home while a run lasts: who was let through, and who was dropped.

The embedded lab's log pods (`flows-<node>` in `meshverdict-system`) write Hubble's own flow JSON; a cluster with Cilium
has Hubble itself. Any other has no flow log, and a run says so instead of claiming that nothing was dropped.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError, ReadTimeoutError

from meshverdict.analysis.flows import DROPPED, Flow, parse_flow
from meshverdict.chaos import hubble
from meshverdict.chaos.cluster import short
from meshverdict.chaos.manifests import FORBIDDEN, NOT_FOUND
from meshverdict.chaos.recorder import LineFile
from meshverdict.load.follow import OVERLAP_S, follow, pod_log
from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from meshverdict.chaos.cluster import KubeAccess

FILE: Final = "flows.jsonl"
NAMESPACE: Final = "meshverdict-system"
PREFIX: Final = "flows-"
_KEPT: Final = 50_000
_AGAIN: Final = 500


class FlowLog:
    """The flow log of one run, written to a file as it arrives.

    Attributes:
        pods: Names of the pods whose logs are followed; empty when the cluster has none.
        agents: Those of them that are Cilium's.
    """

    def __init__(self, access: KubeAccess, path: Path, namespaces: Iterable[str] = ()) -> None:
        self._access = access
        self._namespaces = tuple(namespaces)
        self.agents: list[hubble.Agent] = []
        self._path = path
        self._start = time.time()
        self._dropped: deque[Flow] = deque(maxlen=_KEPT)
        self._known: deque[bytes] = deque(maxlen=_AGAIN)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.pods: list[str] = []
        self._refused: dict[str, str] = {}
        self._file = LineFile(path)

    def start(self) -> None:
        """Find the log pods and follow them."""
        try:
            found = self._access.json(self._access.core.list_namespaced_pod, NAMESPACE)["items"]
        except ApiException as error:
            if error.status not in {FORBIDDEN, NOT_FOUND}:
                raise
            found = []
        pods = [p for p in found if p["metadata"]["name"].startswith(PREFIX)]
        self.pods = [p["metadata"]["name"] for p in pods]
        if not pods:
            self._follow_hubble()
            return
        self._path.touch()
        for pod in pods:
            names = (pod["metadata"]["name"], pod["spec"]["containers"][0]["name"])
            thread = threading.Thread(target=self._follow, args=names, name=f"flows {names[0]}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _follow_hubble(self) -> None:
        """Cilium's own flow log, where there is one that we may read."""
        self.pods = hubble.agents(self._access)
        if not self.pods:
            return
        self._path.touch()
        for pod in self.pods:
            agent = hubble.Agent(self._access, pod, self._namespaces)
            self.agents.append(agent)
            thread = threading.Thread(
                target=agent.follow, args=(self._once, self._stop), name=f"hubble {pod}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _once(self, text: bytes) -> None:
        """A line of Hubble; after a lost connection some are told twice."""
        flow = self._parse(text)
        with self._lock:
            known = text in self._known
            self._known.append(text)
        if flow is not None and not known and flow.time >= self._start:
            self._take(flow, text)

    @property
    def failure(self) -> str | None:
        """Why the record is not whole: the file could not be written, or a pod or an agent does not tell."""
        silent = [] if self._switched_off else [agent.failure for agent in self.agents]
        gone = [
            f"{thread.name} is not followed any more"
            for thread in self._threads
            if not thread.is_alive() and not self._stop.is_set()
        ]
        return self._file.failure or next((r for r in (*self._refused.values(), *silent, *gone) if r), None)

    @property
    def _switched_off(self) -> bool:
        """Whether no agent was ever read: then the cluster has no flow log, rather than one with a hole."""
        return bool(self.agents) and not any(agent.told for agent in self.agents)

    @property
    def lines(self) -> int:
        """How many were written."""
        return self._file.lines

    @property
    def lost(self) -> int:
        """Events that the cluster's own flow log could not keep up with."""
        return sum(agent.lost for agent in self.agents)

    def _follow(self, pod: str, container: str) -> None:
        recent: deque[tuple[float, bytes]] = deque()
        known: set[bytes] = set()

        def feed(text: bytes) -> int | None:
            flow = self._parse(text)
            if flow is None:
                return None
            self._refused.pop(pod, None)
            # A connection made again begins before the last line that arrived.
            if text not in known and flow.time >= self._start:
                known.add(text)
                recent.append((flow.time, text))
                self._take(flow, text)
            while recent and recent[0][0] < flow.time - 3 * OVERLAP_S:
                known.discard(recent.popleft()[1])
            return int(flow.time)

        log = pod_log(self._access.core, pod, NAMESPACE, container)
        first = max(1, int(time.time() - self._start) + 2)

        def opened(since: int | None) -> Iterator[bytes]:
            try:
                yield from log(since or first)
            except ReadTimeoutError:
                self._refused.pop(pod, None)  # it was read, and in a quiet network there is nothing to tell
                raise
            except (ApiException, HTTPError, OSError) as error:
                # A log that cannot be read is silent, and silence looks like a network in which nothing is dropped.
                if not self._stop.is_set():
                    self._refused[pod] = f"the log of {NAMESPACE}/{pod} cannot be read ({short(error)})"
                raise

        follow(opened, feed, lambda: False, self._stop)

    @staticmethod
    def _parse(text: bytes) -> Flow | None:
        try:
            value = json.loads(text)
        except ValueError:
            return None
        return parse_flow(value) if isinstance(value, dict) else None

    def _take(self, flow: Flow, text: bytes) -> None:
        with self._lock:
            if flow.verdict == DROPPED:
                self._dropped.append(flow)
        self._file.add([text.strip()])

    def dropped(self, source: str, destination: str, *, start: float, end: float) -> int:
        """Packets or connections dropped in [start, end), by the beginnings of ``namespace/workload``.

        Raises:
            LabError: This cluster has no flow log, so nothing can be said.
        """
        if self._switched_off and self.agents[0].failure is not None:
            raise LabError(f"{self.agents[0].failure}: without its flow log, dropped flows cannot be counted")
        if not self.pods:
            raise LabError(
                f"this cluster has no flow log (no pods {PREFIX}* in namespace {NAMESPACE}, and no Cilium whose agents"
                " may be asked, see `meshverdict access --also flows-hubble`), so dropped flows cannot be counted"
            )
        with self._lock:
            if len(self._dropped) == _KEPT and self._dropped[0].time > start:
                raise LabError(
                    f"more than {_KEPT:,} flows were dropped since then, and only the last ones are kept in memory; ask"
                    f" for a shorter window, or count them in {self._path}"
                )
            return sum(
                flow.count
                for flow in self._dropped
                if start <= flow.time < end
                and flow.source.startswith(source)
                and flow.destination.startswith(destination)
            )

    def stop(self) -> None:
        """Stop following; a flow log that never told anything is none."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=0.5)
        if self._switched_off:
            self.pods = []
            self._path.unlink(missing_ok=True)


@contextmanager
def recording(access: KubeAccess, path: Path, namespaces: Iterable[str] = ()) -> Iterator[FlowLog]:
    """A flow log that is followed as long as the block lasts; of Hubble's, what concerns the *namespaces*."""
    flows = FlowLog(access, path, namespaces)
    flows.start()
    try:
        yield flows
    finally:
        flows.stop()
