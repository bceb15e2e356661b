"""The probes and lifecycle hooks of one running container, and what their verdicts lead to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from meshverdict.runtime import probes

if TYPE_CHECKING:
    from meshverdict.runtime.container_state import ContainerRecord
    from meshverdict.runtime.pod import PodWorker

Kill = Callable[[float], Coroutine[Any, Any, None]]
Tell = Callable[[str, str, str], None]  # type, reason and message of an event about the container
_NO_LIMIT_S = 3600.0
log = logging.getLogger(__name__)


class ContainerProbes:
    """Runs the probes from the container's start to its end.

    Args:
        execute: Runs a command in the container.
        kill: Ends the container's process within a grace period, so that its restart policy applies.
        tell: Writes an event.
    """

    def __init__(
        self, pod: PodWorker, record: ContainerRecord, execute: probes.Execute, kill: Kill, tell: Tell
    ) -> None:
        self._pod = pod
        self._record = record
        self._execute = execute
        self._kill = kill
        self._tell = tell
        self._tasks: list[asyncio.Task[None]] = []
        self._startup: asyncio.Task[None] | None = None
        self.up = asyncio.Event()  # started, by its startup probe if it has one

    def begin(self) -> None:
        """The container's process has started."""
        spec, record = self._record.spec, self._record
        if probe := spec.get("startupProbe"):
            record.started = record.ready = False
            self._startup = self._watch("Startup", probe, self._startup_verdict, initial=None)
        else:
            self._has_started()
        if hook := (spec.get("lifecycle") or {}).get("postStart"):
            self._tasks.append(asyncio.create_task(self._post_start(hook)))

    def end(self) -> None:
        """The process has ended, or is about to."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def hook(self, handler: Mapping[str, Any], timeout: float) -> str:  # noqa: ASYNC109 - it kills the command
        """Run a lifecycle hook; returns what went wrong, or nothing."""
        if "sleep" in handler:
            await asyncio.sleep(min(float(handler["sleep"]["seconds"]), timeout))
            return ""
        outcome = await self._ask({**handler, "timeoutSeconds": timeout})
        return "" if outcome.ok else outcome.message

    def _has_started(self) -> None:
        spec, record = self._record.spec, self._record
        record.started = record.begun = True
        record.ready = not spec.get("readinessProbe")
        if probe := spec.get("readinessProbe"):
            self._watch("Readiness", probe, self._readiness_verdict, initial=False)
        if probe := spec.get("livenessProbe"):
            self._watch("Liveness", probe, self._liveness_verdict, initial=True)
        self.up.set()
        self._pod.changed()

    def _watch(
        self,
        kind: str,
        probe: Mapping[str, Any],
        verdict: Callable[[bool, Mapping[str, Any]], None],
        *,
        initial: bool | None,
    ) -> asyncio.Task[None]:
        watch = probes.Watch(
            ask=lambda: self._ask(probe),
            verdict=lambda ok: verdict(ok, probe),
            failed=lambda message: self._tell("Warning", "Unhealthy", f"{kind} probe failed: {message}"),
            eager=kind != "Liveness",
        )
        task = asyncio.create_task(probes.watch(probes.Settings.of(probe), watch, initial=initial))
        self._tasks.append(task)
        return task

    async def _ask(self, probe: Mapping[str, Any]) -> probes.Outcome:
        pod = self._pod
        try:
            return await probes.ask(probe, self._record.spec, pod.address, pod.dial_probe, self._execute)
        except Exception as error:  # a probe that asks no more would leave its last verdict for ever
            log.exception("pod %s/%s, container %s: probe", pod.namespace, pod.name, self._record.name)
            return probes.Outcome(ok=False, message=f"{error!r}")

    def _startup_verdict(self, ok: bool, probe: Mapping[str, Any]) -> None:  # noqa: FBT001 - the answer itself
        if ok:
            if self._startup is not None:
                self._startup.cancel()
            self._has_started()
        else:
            self._unhealthy("startup", probe)

    def _readiness_verdict(self, ok: bool, _probe: Mapping[str, Any]) -> None:  # noqa: FBT001 - the answer itself
        self._record.ready = ok
        self._pod.changed()

    def _liveness_verdict(self, ok: bool, probe: Mapping[str, Any]) -> None:  # noqa: FBT001 - the answer itself
        if not ok:
            self._unhealthy("liveness", probe)

    def _unhealthy(self, kind: str, probe: Mapping[str, Any]) -> None:
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is None:
            grace = self._pod.manifest["spec"].get("terminationGracePeriodSeconds", 30)
        policy = self._pod.manifest["spec"].get("restartPolicy", "Always")
        restart = "" if policy == "Never" else ", will be restarted"
        self._tell("Normal", "Killing", f"Container {self._record.name} failed {kind} probe{restart}")
        self._pod.background(self._kill(float(grace)))

    async def _post_start(self, handler: Mapping[str, Any]) -> None:
        failure = await self.hook(handler, _NO_LIMIT_S)
        if failure:
            self._tell("Warning", "FailedPostStartHook", f"PostStartHook failed: {failure}")
            grace = self._pod.manifest["spec"].get("terminationGracePeriodSeconds", 30)
            self._pod.background(self._kill(float(grace)))
