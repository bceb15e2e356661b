"""Keep what a part of the embedded lab tells of itself, once a second, as the log of one of its own pods.

The lines are telemetry as they stand: they are added to the run's file as they arrive, and kept to be asked about.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Final, Self

from kubernetes.client.exceptions import ApiException

from meshverdict.chaos.manifests import FORBIDDEN, NOT_FOUND
from meshverdict.chaos.recorder import LineFile
from meshverdict.load.follow import follow, pod_log

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from meshverdict.chaos.cluster import KubeAccess

NAMESPACE: Final = "meshverdict-system"
TRAFFIC: Final = "traffic"


def is_told(access: KubeAccess, pod: str) -> bool:
    """Whether a cluster has such a pod of an embedded lab, and we may read of it."""
    try:
        access.json(access.core.read_namespaced_pod, pod, NAMESPACE)
    except ApiException as error:
        if error.status not in {FORBIDDEN, NOT_FOUND}:
            raise
        return False
    return True


class SystemLog:
    """One pod's log, followed as long as the ``with`` block lasts.

    Args:
        access: The cluster.
        pod: Name of the pod, in the lab's own namespace.
        container: Its container.
        key: What a line of telemetry must have to be kept.
        path: The file that the lines are added to.
    """

    def __init__(self, access: KubeAccess, pod: str, container: str, key: str, path: Path) -> None:
        self._access = access
        self._pod = pod
        self._container = container
        self._key = key
        self._file = LineFile(path)
        self._start = time.time()
        self._lines: list[dict[str, Any]] = []
        self._newest = self._start
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"log of {pod}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=0.5)

    @property
    def failure(self) -> str | None:
        """Why no more is written, if the file could not be."""
        return self._file.failure

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The lines so far."""
        return list(self._lines)

    @property
    def newest(self) -> float:
        """Unix seconds of the newest line; of the start when there is none."""
        return self._newest

    def _follow(self) -> None:
        log = pod_log(self._access.core, self._pod, NAMESPACE, self._container)
        first = max(1, int(time.time() - self._start) + 2)
        follow(lambda since: log(since or first), self._feed, lambda: False, self._stop)

    def _feed(self, text: bytes) -> int | None:
        try:
            line = json.loads(text)
        except ValueError:
            return None
        if not isinstance(line, dict) or self._key not in line:
            return None
        # A connection made again begins before the last line that arrived.
        if line["t"] > self._newest:
            self._newest = line["t"]
            self._take(line, text)
        return int(line["t"])

    def _take(self, line: dict[str, Any], text: bytes) -> None:
        self._lines.append(line)
        self._file.add([text.strip()])
