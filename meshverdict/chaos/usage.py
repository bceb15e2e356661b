"""Sample the processor time and the memory of the lab's containers: the price of whatever is put beside them.

A kubelet tells it in ``/stats/summary``, through the API server, on every cluster. A real kubelet looks every ten
seconds or so; each of its values carries the time at which it was true, and that time is what is written down.
"""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.chaos.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from meshverdict.chaos.cluster import KubeAccess

log = logging.getLogger("chaostoolkit")
EVERY_S: Final = 2.0
_TIMEOUT_S: Final = 2.0


def lines(summary: Mapping[str, Any], namespaces: Iterable[str]) -> list[dict[str, Any]]:
    """The pods of a kubelet's summary as telemetry lines; what the kubelet does not know yet is left out. Pure."""
    wanted, found = set(namespaces), []
    for pod in summary.get("pods") or ():
        reference = pod.get("podRef") or {}
        if reference.get("namespace") not in wanted:
            continue
        used = {str(c.get("name")): c for c in pod.get("containers") or ()}
        times = {
            name: t for name, c in used.items() if (t := _read_at(c)) is not None and _cpu(c) is not None
        }
        newest = max(times.values(), default=None)
        # Containers of one pod may have been read seconds apart.
        told = {
            name: _used(used[name]) | ({} if t == newest else {"t": round(t, 3)}) for name, t in times.items()
        }
        if newest is not None:
            name = f"{reference['namespace']}/{reference.get('name')}"
            found.append({"t": round(newest, 3), "pod": name, "containers": told})
    return found


def _cpu(container: Mapping[str, Any]) -> float | None:
    value = (container.get("cpu") or {}).get("usageCoreNanoSeconds")
    return None if value is None else float(value) / 1e9


def _used(container: Mapping[str, Any]) -> dict[str, float]:
    memory = (container.get("memory") or {}).get("rssBytes")
    used = {"cpu_seconds": round(_cpu(container) or 0.0, 6)}
    return used if memory is None else used | {"rss_bytes": int(memory)}


def _read_at(container: Mapping[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat((container.get("cpu") or {}).get("time") or "").timestamp()
    except ValueError:
        return None


class Usage(Recorder):
    """Samples of one run.

    Attributes:
        refused: Why the cluster tells nothing; a run without these figures is a run all the same.
    """

    def __init__(self, access: KubeAccess, namespaces: Iterable[str], path: Path) -> None:
        super().__init__("usage", path, every_s=EVERY_S, patience_s=2 * _TIMEOUT_S)
        self._access = access
        self._namespaces = tuple(namespaces)
        self._found: list[str] = []
        self._written: dict[str, float] = {}
        self.refused: str | None = None

    def look(self, number: int, *, last: bool) -> None:  # noqa: ARG002 - the last look is like the others
        """Ask the kubelet of every node."""
        if number == 0:
            self._found = self._nodes()
        for node in self._found:
            self._sample(node)

    def _nodes(self) -> list[str]:
        try:
            found = self._access.json(self._access.core.list_node)["items"]
        except (ApiException, HTTPError, OSError) as error:
            self._told_nothing(error)
            return []
        return [node["metadata"]["name"] for node in found]

    def _sample(self, node: str) -> None:
        try:
            answer: Any = self._access.core.connect_get_node_proxy_with_path(
                node, "stats/summary", _preload_content=False, _request_timeout=_TIMEOUT_S
            )
            summary = json.loads(answer.data)
        except (ApiException, HTTPError, OSError, ValueError) as error:
            self._told_nothing(error)
            return
        for line in lines(summary, self._namespaces):
            # A kubelet that looks more rarely than we ask repeats itself.
            if self._written.get(line["pod"]) != line["t"]:
                self._written[line["pod"]] = line["t"]
                self.write([line])

    def _told_nothing(self, error: Exception) -> None:
        self.missed += 1
        if self.refused is None:
            self.refused = str(getattr(error, "reason", "") or error)
            log.debug("the kubelets' /stats/summary cannot be read: %r", error)
