"""One container of one pod: found, started, probed, started again, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
_READ: Final = 1 << 16
_LAST_READS: Final = 2


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
        self._program: Program | None = None  # of the run that goes on, or the last

    # ---- running

    async def run(self) -> None:
        """Start the container, again and again as its restart policy says; returns when it has ended for good."""
        try:
            while not self._stopping:
                image = await self._pull()
                plan = None if image is None else await self._configured(image)
                if plan is None or not await self._attempt(plan):
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

    async def _attempt(self, plan: ContainerPlan) -> bool:
        """One run; True if there shall be another."""
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

    async def _configured(self, image: Image) -> ContainerPlan | None:
        """How to start it, once everything that it refers to is there; None if it shall not start any more."""
        while not self._stopping:
            try:
                return self._planner.plan(image)
            except (MissingReferenceError, ConfigError) as error:
                self.record.restarting = True
                self._backoff = Backoff()
                self._event("Warning", "Failed", f"Error: {error}")
                self._wait("CreateContainerConfigError", str(error))
                await self._sleep(_CONFIG_RETRY_S)
        return None

    # ---- starting

    async def _start(self, plan: ContainerPlan) -> None:
        record, pod = self.record, self._pod
        record.container_id = new_container_id()
        self._program = plan.program
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
                child = await self._services.spawner.exec(
                    process, self.exec_program(command), (null, writer, writer)
                )
            except SpawnError as error:
                return 127, str(error)
            finally:
                os.close(writer)
                os.close(null)
            with _beginning(reader) as output:
                try:
                    async with asyncio.timeout(timeout):
                        status = await child.wait()
                except TimeoutError:
                    await child.send_signal(signal.SIGKILL)
                    return 1, f"command {command!r} timed out after {timeout:g}s"
            return status, output.decode(errors="replace")
        finally:
            os.close(reader)  # also when the container is stopped in the middle of a probe

    def exec_program(self, command: Sequence[str]) -> Program:
        """What an exec in this container runs: with the environment that it was started with, its folder and user."""
        if self._program is None:
            raise SpawnError("the container is not running")
        return replace(self._program, argv=command)

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


@contextlib.contextmanager
def _beginning(reader: int) -> Iterator[bytearray]:
    """Read a pipe as long as the block lasts, so that nobody waits for room in it, and keep how it begins."""
    os.set_blocking(reader, False)
    loop = asyncio.get_running_loop()
    kept = bytearray()

    def read() -> bool:
        try:
            data = os.read(reader, _READ)
        except BlockingIOError:
            return False
        kept.extend(data[: _MAX_PROBE_OUTPUT - len(kept)])
        if not data:
            loop.remove_reader(reader)
        return bool(data)

    loop.add_reader(reader, read)
    try:
        yield kept
    finally:
        loop.remove_reader(reader)
        for _ in range(_LAST_READS):  # what it left; whom it started may write on for ever
            if not read():
                break
