"""Read what the sidecars count, once a second, and write it down by edge: who called whom, how often, how well.

The way is Istio's own: port 15090 of each pod with a sidecar, through the API server's pod proxy. So it works on a real
Istio as on the embedded lab.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.analysis.edge_lines import Place, Report, edge_lines
from meshverdict.analysis.flows import workload
from meshverdict.analysis.sidecar_metrics import EMPTY, FILTER, Reading, read, since
from meshverdict.chaos.recorder import Recorder
from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from meshverdict.chaos.cluster import KubeAccess

PORT: Final = 15090
SIDECAR: Final = "istio-proxy"
_TIMEOUT_S: Final = 2.0
_AT_ONCE: Final = 4
_PODS_EVERY: Final = 5
_ZONE: Final = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of the cluster: how to reach it, and where it is.

    Attributes:
        path: Of its metrics, at the API server; empty for one without a sidecar.
    """

    uid: str
    namespace: str
    address: str
    place: Place
    path: str


def pods_of(pods: Iterable[Mapping[str, Any]], zones: Mapping[str, str]) -> list[Pod]:
    """The running pods.

    Args:
        pods: Manifests.
        zones: Zone by node.
    """
    found = []
    for pod in pods:
        meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
        if status.get("phase") != "Running" or not status.get("podIP") or spec.get("hostNetwork"):
            continue
        containers = (*(spec.get("initContainers") or ()), *spec["containers"])
        sidecar = any(c["name"] == SIDECAR for c in containers)
        space, name = meta["namespace"], meta["name"]
        path = f"/api/v1/namespaces/{space}/pods/{name}:{PORT}/proxy/stats/prometheus"
        place = Place(f"{space}/{workload(name)}", zones.get(spec.get("nodeName") or ""), sidecar)
        found.append(Pod(meta["uid"], space, status["podIP"], place, path if sidecar else ""))
    return found


class EdgeLog(Recorder):
    """What the sidecars counted during one run."""

    def __init__(self, access: KubeAccess, namespaces: Iterable[str], path: Path) -> None:
        super().__init__("edges", path, patience_s=3 * _TIMEOUT_S)
        self._access = access
        self._namespaces = frozenset(namespaces)
        self._zones: dict[str, str] = {}
        self._pods: list[Pod] = []
        # By pod: what was read last. A pod that is not here yet has counted from before the run, or is new.
        self._before: dict[str, Reading] = {}
        # Pods that were there before: what they counted until their first reading is not the run's.
        self._old: frozenset[str] | None = None

    def look(self, number: int, *, last: bool) -> None:
        """Read every sidecar; also once more at the end."""
        if last or number % _PODS_EVERY == 0:
            self._find_pods()
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sidecar") as pool:
            self._round(pool)

    def _find_pods(self) -> None:
        core, read_json = self._access.core, self._access.json
        try:
            nodes = read_json(core.list_node)["items"]
            # The lab's own: a runner with few rights may not look at others.
            pods = [p for n in self._namespaces for p in read_json(core.list_namespaced_pod, n)["items"]]
        except (ApiException, HTTPError, OSError):
            return
        self._zones = {
            n["metadata"]["name"]: (n["metadata"].get("labels") or {}).get(_ZONE, "") for n in nodes
        }
        self._pods = pods_of(pods, {name: zone for name, zone in self._zones.items() if zone})
        if self._old is None:
            self._old = frozenset(pod.uid for pod in self._pods)

    def _round(self, pool: ThreadPoolExecutor) -> None:
        mine = [pod for pod in self._pods if pod.path and pod.namespace in self._namespaces]
        now = time.time()
        reports = []
        for pod, reading in zip(mine, pool.map(self._read, mine), strict=True):
            if reading is None:
                self.missed += 1
                continue
            # A pod that came later has counted in the run from its beginning.
            before = self._before.get(pod.uid, reading if pod.uid in (self._old or ()) else EMPTY)
            self._before[pod.uid] = reading
            reports.append(Report(pod.place, since(before, reading), reading))
        self.write(edge_lines(reports, {pod.address: pod.place for pod in self._pods}, now))

    def _read(self, pod: Pod) -> Reading | None:
        try:
            return read(self._access.page(pod.path, {"filter": FILTER}, timeout_s=_TIMEOUT_S))
        except (LabError, HTTPError, OSError):
            return None
