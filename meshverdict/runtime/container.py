"""One container of one pod: found, started, probed, started again, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from meshverdict.runtime.backoff import Backoff
from meshverdict.runtime.container_plan import ConfigError, ContainerPlan, ContainerPlanner
from meshverdict.runtime.container_probes import ContainerProbes
from meshverdict.runtime.container_state import (
    ContainerRecord,
    Running,
    Terminated,
    Waiting,
    new_container_id,
)
from meshverdict.runtime.environment import MissingReferenceError
from meshverdict.runtime.images import Image, ImageError
from meshverdict.runtime.logs import LogFile, PipeLogger
from meshverdict.runtime.spawn_client import Process, SpawnError

if TYPE_CHECKING:
    from meshverdict.runtime.pod import PodWorker
    from meshverdict.runtime.process import Program

PRIORITY_ANNOTATION: Final = "meshverdict.io/priority"
_LOG_PATIENCE_S: Final = 2.0
_CONFIG_RETRY_S: Final = 2.0
_START_ERROR: Final = 128
_MAX_PROBE_OUTPUT: Final = 10 << 10


class ContainerWorker:
    """Runs one container until it has ended for good, or until it is stopped."""

    def __init__(self, pod: PodWorker, record: ContainerRecord) -> None:
        self.record = record
        self.process: Process | None = None
        self.log: LogFile | None = None
        self.previous_log: LogFile | None = None
        self.finished = asyncio.Event()
        self._pod = pod
        self._services = pod.services
        self._stopping = False
        self._backoff = Backoff()
        self._planner = ContainerPlanner(pod, record)
        self._probes = ContainerProbes(pod, record, self.execute, self._kill, self._event)
        self._wake = asyncio.Event()
        self._logger: PipeLogger | None = None

    # ---- running

    async def run(self) -> None:
        """Start the container, again and again as its restart policy says; returns when it has ended for good."""
        try:
            while not self._stopping:
                image = await self._pull()
                if image is None or not await self._attempt(image):
                    return
                delay = self._backoff.delay(self._last_run_s())
                if delay:
                    await self._wait_out(delay)
                if not self._stopping:
                    self.record.restarts += 1
        finally:
            if self.process is not None:  # cancelled while it ran
                await self.process.send_signal(signal.SIGKILL)
                await self.process.wait()
            self.finished.set()

    async def _attempt(self, image: Image) -> bool:
        """One run; True if there shall be another."""
        try:
            plan = self._planner.plan(image)
        except (MissingReferenceError, ConfigError) as error:
            await self._configuration_wait("CreateContainerConfigError", error)
            return not self._stopping
        started = time.time()
        try:
            await self._start(plan)
        except SpawnError as error:
            self._end_attempt(_START_ERROR, "StartError", started, str(error))
            self._event("Warning", "Failed", f"Error: failed to start container: {error}")
        else:
            await self._until_exit(started)
        self.record.restarting = not self._stopping and self._restarts()
        self._pod.changed()
        return self.record.restarting

    async def _until_exit(self, started: float) -> None:
        process = self._running()
        if self._stopping:  # stopped while it was being made
            await process.send_signal(signal.SIGKILL)
        if isinstance(self.record.state, Terminated):
            self.record.last = self.record.state
        self.record.state = Running(started)
        self.record.restarting = False
        self._probes.begin()
        self._pod.changed()
        status = await process.wait()
        self._probes.end()
        logger, self._logger = self._logger, None
        if logger:
            await logger.finish(_LOG_PATIENCE_S)
        code = status if status >= 0 else 128 - status
        self._end_attempt(
            code,
            "Completed" if code == 0 else "Error",
            started,
            self._planner.termination_message(code, self.log),
        )

    def _end_attempt(self, code: int, reason: str, started: float, message: str) -> None:
        record = self.record
        record.ready = record.started = False
        ended = Terminated(code, reason, started, time.time(), record.container_id, message)
        if isinstance(record.state, Terminated):
            record.last = record.state
        record.state = ended
        self.process = None
        if self.log:
            self.log.close()

    def _restarts(self) -> bool:
        record = self.record
        if record.kind == "sidecar":
            return True
        policy = self._pod.manifest["spec"].get("restartPolicy", "Always")
        code = record.state.exit_code if isinstance(record.state, Terminated) else 0
        if record.kind == "init":
            return code != 0 and policy != "Never"
        return bool(policy == "Always" or (policy == "OnFailure" and code != 0))

    def _last_run_s(self) -> float:
        state = self.record.state
        return state.finished - state.started if isinstance(state, Terminated) else 0.0

    async def _wait_out(self, delay: float) -> None:
        pod = self._pod
        where = f"{pod.name}_{pod.namespace}({pod.uid})"
        self._event(
            "Warning", "BackOff", f"Back-off restarting failed container {self.record.name} in pod {where}"
        )
        self._wait(
            "CrashLoopBackOff",
            f"back-off {_go_duration(delay)} restarting failed container={self.record.name} pod={where}",
        )
        await self._sleep(delay)

    def _wait(self, reason: str, message: str = "") -> None:
        if isinstance(self.record.state, Terminated):
            self.record.last = self.record.state
        self.record.state = Waiting(reason, message)
        self._pod.changed()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but wake up when the container is stopped or what it waits for may have come."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def poke(self) -> None:
        """Something that the container may wait for has changed."""
        if (
            isinstance(self.record.state, Waiting)
            and self.record.state.reason == "CreateContainerConfigError"
        ):
            self._wake.set()

    # ---- image and configuration

    async def _pull(self) -> Image | None:
        reference = self.record.spec.get("image") or ""
        backoff = Backoff()
        backoff.delay(0)
        while not self._stopping:
            try:
                image = self._services.images.find(reference)
                self._services.machine.check(reference, image)
            except ImageError as error:
                await self._pull_failed(reference, str(error), backoff.delay(0))
            else:
                self.record.pulled = True
                self._event(
                    "Normal",
                    "Pulled",
                    f'Container image "{reference}" already present on machine and can be accessed by the pod',
                )
                return image
        return None

    async def _pull_failed(self, reference: str, message: str, delay: float) -> None:
        self._event("Normal", "Pulling", f'Pulling image "{reference}"')
        self._event("Warning", "Failed", f'Failed to pull image "{reference}": {message}')
        self._event("Warning", "Failed", "Error: ErrImagePull")
        self._wait("ErrImagePull", message)
        await self._sleep(min(1.0, delay))
        if self._stopping:
            return
        self._event("Normal", "BackOff", f'Back-off pulling image "{reference}"')
        self._event("Warning", "Failed", "Error: ImagePullBackOff")
        self._wait("ImagePullBackOff", f'Back-off pulling image "{reference}": ErrImagePull: {message}')
        await self._sleep(delay)

    async def _configuration_wait(self, reason: str, error: Exception) -> None:
        self.record.restarting = True
        self.record.restarts -= 1  # this was no run
        self._backoff = Backoff()
        self._event("Warning", "Failed", f"Error: {error}")
        self._wait(reason, str(error))
        await self._sleep(_CONFIG_RETRY_S)

    # ---- starting

    async def _start(self, plan: ContainerPlan) -> None:
        record, pod = self.record, self._pod
        record.container_id = new_container_id()
        if self.previous_log is not None:
            self.previous_log.delete()
        self.previous_log = self.log
        self.log = LogFile(pod.log_folder / record.name / f"{record.restarts}.log")
        self._event("Normal", "Created", "Container created")
        with _pipes() as (stdin, out, err, readers):
            self.process = await self._services.spawner.start(
                pod.uid,
                plan.program,
                (stdin, out, err),
                etc=str(pod.etc),
                volumes=plan.mounts,
                folders=plan.folders,
                readonly=plan.readonly,
            )
            self._logger = PipeLogger(self.log, *readers)
            readers.clear()
        if (pod.manifest["metadata"].get("annotations") or {}).get(PRIORITY_ANNOTATION) == "fifo":
            self._services.want_fifo(self.process.pidfd)
        self._event("Normal", "Started", "Container started")

    def _running(self) -> Process:
        if self.process is None:
            raise SpawnError("the container is not running")
        return self.process

    async def execute(self, command: list[str], timeout: float) -> tuple[int, str]:  # noqa: ASYNC109
        """Run a command in the container; returns its status and the beginning of what it printed."""
        process = self.process
        if process is None:
            return 1, "the container is not running"
        reader, writer = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try:
                program = self._planner.exec_program(command)
                child = await self._services.spawner.exec(process, program, (null, writer, writer))
            except SpawnError as error:
                return 127, str(error)
            finally:
                os.close(writer)
                os.close(null)
            try:
                async with asyncio.timeout(timeout):
                    status = await child.wait()
            except TimeoutError:
                await child.send_signal(signal.SIGKILL)
                return 1, f"command {command!r} timed out after {timeout:g}s"
            os.set_blocking(reader, False)
            try:
                output = os.read(reader, _MAX_PROBE_OUTPUT)
            except BlockingIOError:
                output = b""
            return status, output.decode(errors="replace")
        finally:
            os.close(reader)  # also when the container is stopped in the middle of a probe

    def exec_program(self, command: Sequence[str]) -> Program:
        """What an exec in this container runs: with its environment, folder and user."""
        return self._planner.exec_program(command)

    @property
    def up(self) -> asyncio.Event:
        """Set when the container has started, by its startup probe if it has one."""
        return self._probes.up

    # ---- stopping

    async def stop(self, grace: float) -> None:
        """End the container: preStop, SIGTERM, and SIGKILL when *grace* seconds have passed."""
        self._stopping = True
        self.record.restarting = False
        self._wake.set()
        self._probes.end()
        if self.process is not None:
            self._event("Normal", "Killing", f"Stopping container {self.record.name}")
            await self._kill(grace)
        await self.finished.wait()

    def forbid_restart(self) -> None:
        """The container ends with its pod: whatever happens from now on, it is not started again."""
        self._stopping = True
        self._wake.set()

    async def shorten(self, grace: float) -> None:
        """The grace period has been made shorter while the container was ending."""
        process = self.process
        if process is not None:
            await asyncio.sleep(grace)
            await process.send_signal(signal.SIGKILL)

    async def _kill(self, grace: float) -> None:
        process = self.process
        if process is None:
            return
        deadline = time.monotonic() + grace
        hook = (self.record.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0:
            failure = await self._probes.hook(hook, grace)
            if failure:
                self._event("Warning", "FailedPreStopHook", f"PreStopHook failed: {failure}")
        left = deadline - time.monotonic()
        if left > 0 or grace > 0:
            await process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(left, 0.0)):
                    await process.wait()
                    return
        await process.send_signal(signal.SIGKILL)
        await process.wait()

    def _event(self, kind: str, reason: str, message: str) -> None:
        field = "initContainers" if self.record.kind != "app" else "containers"
        self._pod.event(kind, reason, message, f"spec.{field}{{{self.record.name}}}")


def _go_duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


@contextlib.contextmanager
def _pipes() -> Iterator[tuple[int, int, int, list[int]]]:
    """An empty stdin, two pipes to write to, and their read ends (closed unless the taker clears the list)."""
    stdin = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    out_reader, out_writer = os.pipe()
    err_reader, err_writer = os.pipe()
    readers = [out_reader, err_reader]
    try:
        yield stdin, out_writer, err_writer, readers
    finally:
        for descriptor in (stdin, out_writer, err_writer, *readers):
            os.close(descriptor)
