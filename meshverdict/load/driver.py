"""Run a load in the cluster as a Job, and bring its record home while it runs.

Used by the Chaos Toolkit actions, whose calls are separate: `start_load` in one, `find_load` (by the Job's
name) in a later one. Threads of the chaos process follow the workers' logs. Locust is never imported here.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshverdict.load import job
from meshverdict.load.cluster import LoadCluster, PodState
from meshverdict.load.collector import Collector
from meshverdict.load.errors import LoadError
from meshverdict.load.follow import follow
from meshverdict.load.writer import open_new
from meshverdict.model.errors import MeshverdictError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshverdict.load.collector import LoadProgress, LoadSummary
    from meshverdict.load.spec import LoadSpec

log = logging.getLogger("meshverdict.load")
RECORD_FILE = "load.jsonl"
START_TIMEOUT_S = 90.0
_DRAIN_S = 15.0
_POLL_S = 0.25
_LOADS: dict[str, LoadHandle] = {}


class LoadHandle:
    """A load that runs in the cluster; made by `start_load`, found again by `find_load`.

    Attributes:
        spec: What was asked for.
        record: Path of the record on this machine.
    """

    def __init__(
        self,
        cluster: LoadCluster,
        spec: LoadSpec,
        record: Path,
        on_progress: Callable[[LoadProgress], None] | None = None,
    ) -> None:
        self.spec = spec
        self.record = record
        self._cluster = cluster
        self._on_progress = on_progress
        self._descriptor, writer = open_new(record)
        self._collector = Collector(writer, spec.workers, spec.duration_s)
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._followers: dict[str, threading.Thread] = {}
        self._pods: dict[str, PodState] = {}
        self._failure: Exception | None = None
        self._summary: LoadSummary | None = None
        self._watcher = threading.Thread(target=self._watch, name=f"load {spec.name}", daemon=True)

    @property
    def name(self) -> str:
        """The Job's name, by which `find_load` finds the load again."""
        return self.spec.name

    def begin(self, timeout: float) -> None:
        """Follow the workers; returns when the first of them makes load.

        Raises:
            LoadError: None did within *timeout* seconds, or one cannot; the message says why.
        """
        self._watcher.start()
        deadline = time.monotonic() + timeout
        while not self._collector.started.wait(0.05):
            self._raise_failure()
            if self._ended.is_set():
                raise LoadError(f"load {self.name}: its pods ended without any load.{self._last_words()}")
            if time.monotonic() > deadline:
                raise LoadError(
                    f"load {self.name}: no load after {timeout:.0f} s; {self._states()}.{self._last_words()}"
                )

    def progress(self) -> LoadProgress:
        """How the load is doing now."""
        return self._collector.progress()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all workers have ended; False if one still runs after *timeout* seconds."""
        return self._ended.wait(timeout)

    def stop(self) -> LoadSummary:
        """End the load, early if need be, bring the rest of the record home, and remove what belongs to it.

        Workers are asked to end (SIGTERM), and their logs are read to the end before anything is deleted.
        A second call answers the same.
        """
        if self._summary is not None:
            return self._summary
        early = not self._ended.is_set()
        try:
            if early:
                self._cluster.terminate([pod for pod in self._pods.values() if not pod.over])
                if not self._ended.wait(_DRAIN_S):
                    log.warning("load %s: its workers do not end on SIGTERM; deleting the Job", self.name)
                    self._cluster.delete_job(self.spec, grace=job.GRACE_S)
                    self._ended.wait(job.GRACE_S)
        finally:
            self._summary = self._finish(stopped=early)
        return self._summary

    def _finish(self, *, stopped: bool) -> LoadSummary:
        import os  # noqa: PLC0415

        self._stop.set()
        for thread in (self._watcher, *self._followers.values()):
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(2.0)
        try:
            summary = self._collector.finish(stopped=stopped)
        finally:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            _LOADS.pop(self.name, None)
            self._cluster.remove(self.spec)
        self._raise_failure()
        return summary

    def abandon(self) -> None:
        """Remove what belongs to a load that could not begin."""
        self._finish(stopped=True)

    # --- threads ---

    def _watch(self) -> None:
        """Follow every worker's log; tell the progress; notice the end."""
        told = 0.0
        while not self._stop.is_set():
            try:
                self._look()
            except MeshverdictError as error:
                self._failure = error
                self._ended.set()
                return
            if len(self._followers) == self.spec.workers and not any(
                thread.is_alive() for thread in self._followers.values()
            ):
                self._ended.set()
                return
            if self._on_progress is not None and time.monotonic() - told >= 1.0:
                told = time.monotonic()
                self._tell()
            self._stop.wait(_POLL_S if not self._collector.started.is_set() else 4 * _POLL_S)

    def _tell(self) -> None:
        assert self._on_progress is not None  # noqa: S101  # only called then
        try:
            self._on_progress(self._collector.progress())
        except Exception:  # the load is followed to its end, whoever cannot hear of it
            log.exception("load %s: its progress cannot be told", self.name)
            self._on_progress = None

    def _look(self) -> None:
        """Take in the pods' states and start to follow those that run."""
        pods = self._cluster.pods(self.spec)
        gone = self._pods.keys() - pods.keys()
        self._pods = pods | {name: self._pods[name].ended() for name in gone}
        for pod in pods.values():
            if pod.refused:
                raise LoadError(f"load {self.name}: pod {pod.name} cannot start: {pod.refused}")
            if pod.started and pod.name not in self._followers:
                thread = threading.Thread(
                    target=self._follow, args=(pod.name,), name=f"log {pod.name}", daemon=True
                )
                self._followers[pod.name] = thread
                thread.start()

    def _follow(self, pod: str) -> None:
        try:
            follow(
                self._cluster.log(self.spec, pod),
                self._collector.feed,
                lambda: self._cluster.over(self.spec, pod),
                self._stop,
            )
        except MeshverdictError as error:
            self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _states(self) -> str:
        if not self._pods:
            return f"its Job made no pod (kubectl describe job -n {self.spec.namespace} {self.name})"
        return ", ".join(f"pod {pod.name} is {pod.phase}" for pod in self._pods.values())

    def _last_words(self) -> str:
        words = self._collector.last_words()
        return f" Last lines of its log:\n{words}" if words else ""


def start_load(
    client: Any,
    spec: LoadSpec,
    folder: Path,
    *,
    on_progress: Callable[[LoadProgress], None] | None = None,
    timeout: float = START_TIMEOUT_S,
) -> LoadHandle:
    """Start a load in the cluster; returns when it runs.

    Args:
        client: A ``kubernetes.client.ApiClient``.
        spec: The load.
        folder: Run folder; the record is its ``load.jsonl``.
        on_progress: Called about once a second, in a thread.
        timeout: Seconds until the first worker must make load.

    Raises:
        LoadError: It did not start; nothing of it is left in the cluster.
        UsageError: The locustfile cannot be read, or a load of that name runs already.
    """
    if spec.name in _LOADS:
        raise UsageError(f"load {spec.name}: it runs already; stop it first, or give this one another name")
    text = _locustfile(spec)
    cluster = LoadCluster(client)
    handle = LoadHandle(cluster, spec, folder / RECORD_FILE, on_progress)
    try:
        cluster.create(spec, text)
        _LOADS[spec.name] = handle
        handle.begin(timeout)
    except BaseException:
        handle.abandon()
        raise
    return handle


def find_load(name: str) -> LoadHandle:
    """The running load of this process whose Job has that name.

    Raises:
        UsageError: There is none.
    """
    try:
        return _LOADS[name]
    except KeyError as error:
        running = ", ".join(_LOADS) or "none"
        raise UsageError(f"load {name}: not started by this process (running: {running})") from error


def _locustfile(spec: LoadSpec) -> str:
    from meshverdict.model.paths import data_folder  # noqa: PLC0415

    path = Path(spec.locustfile) if spec.locustfile else data_folder("locustfiles") / "app.py"
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"locustfile {path}: {error}") from error
