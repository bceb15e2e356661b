"""Sample what the workloads say of themselves, and how busy the machine is, once a second.

Overload shows there first.
"""

from __future__ import annotations

import re
import time
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.chaos import machine_load
from meshverdict.chaos.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from meshverdict.chaos.cluster import KubeAccess

FILE: Final = "telemetry.jsonl"
METRICS_PORT: Final = 9102
_TIMEOUT_S: Final = 2.0
_PODS_EVERY: Final = 5
_GAUGES: Final = {
    "app_busy_threads": "busy_threads",
    "app_threads": "threads",
    "app_queued_connections": "queue",
    "process_cpu_seconds_total": "cpu_seconds",
    "process_resident_memory_bytes": "rss_bytes",
}
# Requests, counted when they are done. The kubelet's questions are nobody's requests.
_HANDLED: Final = "app_request_duration_seconds_count"
_PROBES: Final = ('endpoint="/healthz"', 'endpoint="/readyz"')
_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(\{[^}]*\})?\s+([^\s]+)")


def gauges(text: str) -> dict[str, float]:
    r"""The gauges of one answer in Prometheus' text format; a metric's series are added up.

    >>> gauges('app_queued_connections{where="worker"} 2\\napp_queued_connections{where="kernel"} 1\\n')
    {'queue': 3.0}
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        name = _name(match[1], match[2] or "") if match else None
        if match is None or name is None:
            continue
        try:
            found[name] = found.get(name, 0.0) + float(match[3])
        except ValueError:
            continue
    return found


def _name(metric: str, labels: str) -> str | None:
    if metric == _HANDLED and not any(probe in labels for probe in _PROBES):
        return "handled"
    return _GAUGES.get(metric)


def publishers(pods: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Namespace and name of the running pods that publish metrics."""
    return [
        (pod["metadata"]["namespace"], pod["metadata"]["name"])
        for pod in pods
        if (pod.get("status") or {}).get("phase") == "Running"
        and any(
            port.get("containerPort") == METRICS_PORT
            for container in pod["spec"].get("containers") or ()
            for port in container.get("ports") or ()
        )
    ]


class Telemetry(Recorder):
    """Samples of one run."""

    def __init__(self, access: KubeAccess, namespaces: Iterable[str], path: Path) -> None:
        super().__init__("telemetry", path, patience_s=2 * _TIMEOUT_S)
        self._access = access
        self._namespaces = tuple(namespaces)
        self._pods: list[tuple[str, str]] = []
        # A real cluster's pods are not on this machine.
        self._machine = machine_load.read(time.time()) if access.kind == "embedded" else None

    def look(self, number: int, *, last: bool) -> None:
        """Ask every workload that publishes metrics, and the machine."""
        if last:
            return
        if number % _PODS_EVERY == 0:  # pods come and go
            self._pods = self._publishers() or self._pods
        for namespace, name in self._pods:
            self._sample(namespace, name)
        self._sample_machine()

    def _publishers(self) -> list[tuple[str, str]]:
        try:
            core = self._access.core
            found = [self._access.json(core.list_namespaced_pod, name)["items"] for name in self._namespaces]
        except (ApiException, HTTPError, OSError):
            return []
        return publishers(chain.from_iterable(found))

    def _sample(self, namespace: str, name: str) -> None:
        now = time.time()
        try:
            answer: Any = self._access.core.connect_get_namespaced_pod_proxy_with_path(
                f"{name}:{METRICS_PORT}",
                namespace,
                "metrics",
                _preload_content=False,
                _request_timeout=_TIMEOUT_S,
            )
            values = gauges(answer.data.decode(errors="replace"))
        except (ApiException, HTTPError, OSError):
            self.missed += 1
            return
        if values:
            rounded = {k: round(v, 3) for k, v in values.items()}
            self.write([{"t": round(now, 3), "pod": f"{namespace}/{name}", "gauges": rounded}])

    def _sample_machine(self) -> None:
        before, now = self._machine, machine_load.read(time.time())
        if before is None or now is None:
            return
        self._machine = now
        shares = machine_load.between(before, now)
        if shares is not None:
            self.write([{"t": round(now.t, 3), "machine": shares}])
