"""One container of one pod: found, started, probed, started again, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any, Final

from meshverdict.runtime import probes
from meshverdict.runtime.backoff import Backoff
from meshverdict.runtime.container_state import (
    ContainerRecord,
    Running,
    Terminated,
    Waiting,
    new_container_id,
)
from meshverdict.runtime.environment import (
    MissingReferenceError,
    container_environment,
    expand,
    service_variables,
)
from meshverdict.runtime.images import Image, ImageError
from meshverdict.runtime.logs import LogFile, PipeLogger
from meshverdict.runtime.process import Program
from meshverdict.runtime.rootfs import HOME, Mount
from meshverdict.runtime.spawn_client import Process, SpawnError
from meshverdict.runtime.volumes import VolumeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from meshverdict.cluster.store import Manifest
    from meshverdict.runtime.pod import PodWorker

PRIORITY_ANNOTATION: Final = "meshverdict.io/priority"
_LOG_PATIENCE_S: Final = 2.0
_CONFIG_RETRY_S: Final = 2.0
_MAX_MESSAGE: Final = 4096
_MAX_UID: Final = 65_535
_START_ERROR: Final = 128
_MAX_PROBE_OUTPUT: Final = 10 << 10


class ConfigError(Exception):
    """The container cannot be made as its manifest says; the text is its waiting message."""


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
        self._probes: list[asyncio.Task[None]] = []
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
            program, mounts, folders = self._prepare(image)
        except (MissingReferenceError, ConfigError) as error:
            await self._configuration_wait("CreateContainerConfigError", error)
            return not self._stopping
        started = time.time()
        try:
            await self._start(program, mounts, folders)
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
        self._begin_probes()
        self._pod.changed()
        status = await process.wait()
        self._end_probes()
        logger, self._logger = self._logger, None
        if logger:
            await logger.finish(_LOG_PATIENCE_S)
        code = status if status >= 0 else 128 - status
        self._end_attempt(
            code, "Completed" if code == 0 else "Error", started, self._termination_message(code)
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

    def _prepare(self, image: Image) -> tuple[Program, list[Mount], list[str]]:
        """Program, mounts and writable folders.

        Raises:
            ConfigError: Or MissingReferenceError.
        """
        pod, spec = self._pod.manifest, self.record.spec
        env = self.environment(image)
        command = [expand(part, env) for part in spec.get("command") or ()]
        args = [expand(part, env) for part in spec.get("args") or ()]
        argv = image.argv(command, args)
        if not argv:
            raise ConfigError(f'no command specified for image "{spec.get("image")}"')
        uid, gid = user_ids(pod, spec, image.user)
        cwd = spec.get("workingDir") or image.workdir
        try:
            mounts = self._services.machine.mounts(spec.get("image") or "", image)
            mounts += self._pod.volumes.mounts(spec, lambda text: expand(text, env))
        except (ImageError, VolumeError) as error:
            raise ConfigError(str(error)) from error
        mounts.append(Mount(self._termination_file(), self._termination_path(), readonly=False))
        return Program(argv, env, cwd, uid, gid), mounts, [*image.folders, cwd]

    def environment(self, image: Image) -> dict[str, str]:
        """The container's environment."""
        pod, services = self._pod.manifest, self._services
        base = {"HOME": HOME, **services.machine.env(), **image.env, "HOSTNAME": self._pod.hostname}
        namespaced = services.objects.list("services", self._pod.namespace)
        if kubernetes := services.objects.get("services", "default", "kubernetes"):
            namespaced = [kubernetes, *namespaced]
        links = pod["spec"].get("enableServiceLinks", True)
        base |= service_variables(namespaced, self._pod.namespace, links=links)
        return container_environment(pod, self.record.spec, base, self._pod.lookup, services.capacity)

    # ---- starting

    async def _start(self, program: Program, mounts: Sequence[Mount], folders: Sequence[str]) -> None:
        record, pod = self.record, self._pod
        record.container_id = new_container_id()
        self.previous_log = self.log
        self.log = LogFile(pod.log_folder / record.name / f"{record.restarts}.log")
        self._event("Normal", "Created", "Container created")
        security = record.spec.get("securityContext") or {}
        with _pipes() as (stdin, out, err, readers):
            self.process = await self._services.spawner.start(
                pod.uid,
                program,
                (stdin, out, err),
                etc=str(pod.etc),
                volumes=mounts,
                folders=folders,
                readonly=bool(security.get("readOnlyRootFilesystem")),
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

    # ---- probes and hooks

    def _begin_probes(self) -> None:
        spec, record = self.record.spec, self.record
        startup = spec.get("startupProbe")
        record.started = startup is None
        record.ready = record.started and not spec.get("readinessProbe")
        if startup:
            self._probe("Startup", startup, self._startup_verdict, None)
        else:
            self._begin_regular_probes()
        if (spec.get("lifecycle") or {}).get("postStart"):
            self._probes.append(asyncio.create_task(self._post_start(spec["lifecycle"]["postStart"])))

    def _begin_regular_probes(self) -> None:
        spec = self.record.spec
        if probe := spec.get("readinessProbe"):
            self._probe("Readiness", probe, self._readiness_verdict, False)
        if probe := spec.get("livenessProbe"):
            self._probe("Liveness", probe, self._liveness_verdict, True)

    def _probe(
        self,
        kind: str,
        probe: Mapping[str, Any],
        verdict: Callable[[bool, Mapping[str, Any]], None],
        initial: bool | None,  # noqa: FBT001
    ) -> None:
        def failed(message: str) -> None:
            self._event("Warning", "Unhealthy", f"{kind} probe failed: {message}")

        def ask() -> Awaitable[probes.Outcome]:
            return probes.ask(probe, self.record.spec, self._pod.address, self._pod.dial, self.execute)

        watch = probes.Watch(ask, lambda ok: verdict(ok, probe), failed, eager=kind != "Liveness")
        self._probes.append(asyncio.create_task(probes.watch(probes.Settings.of(probe), watch, initial)))

    def _startup_verdict(self, ok: bool, probe: Mapping[str, Any]) -> None:  # noqa: FBT001
        if not ok:
            self._unhealthy("startup", probe)
            return
        self.record.started = True
        self.record.ready = not self.record.spec.get("readinessProbe")
        self._probes.pop(0).cancel()
        self._begin_regular_probes()
        self._pod.changed()

    def _readiness_verdict(self, ok: bool, _probe: Mapping[str, Any]) -> None:  # noqa: FBT001
        self.record.ready = ok
        self._pod.changed()

    def _liveness_verdict(self, ok: bool, probe: Mapping[str, Any]) -> None:  # noqa: FBT001
        if not ok:
            self._unhealthy("liveness", probe)

    def _unhealthy(self, kind: str, probe: Mapping[str, Any]) -> None:
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is None:
            grace = self._pod.manifest["spec"].get("terminationGracePeriodSeconds", 30)
        restart = ", will be restarted" if self._restarts_after_kill() else ""
        self._event("Normal", "Killing", f"Container {self.record.name} failed {kind} probe{restart}")
        self._pod.background(self._kill(float(grace)))

    def _restarts_after_kill(self) -> bool:
        return bool(self._pod.manifest["spec"].get("restartPolicy", "Always") != "Never")

    def _end_probes(self) -> None:
        for task in self._probes:
            task.cancel()
        self._probes.clear()

    async def execute(self, command: list[str], timeout: float) -> tuple[int, str]:  # noqa: ASYNC109
        """Run a command in the container; returns its status and the beginning of what it printed."""
        process = self.process
        if process is None:
            return 1, "the container is not running"
        reader, writer = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            program = await self.exec_program(command)
            child = await self._services.spawner.exec(process, program, (null, writer, writer))
        except SpawnError as error:
            os.close(reader)
            return 127, str(error)
        finally:
            os.close(writer)
            os.close(null)
        try:
            async with asyncio.timeout(timeout):
                status = await child.wait()
        except TimeoutError:
            await child.send_signal(signal.SIGKILL)
            os.close(reader)
            return 1, f"command {command!r} timed out after {timeout:g}s"
        os.set_blocking(reader, False)
        try:
            output = os.read(reader, _MAX_PROBE_OUTPUT)
        except BlockingIOError:
            output = b""
        finally:
            os.close(reader)
        return status, output.decode(errors="replace")

    async def exec_program(self, command: Sequence[str]) -> Program:
        """What an exec in this container runs: its environment, folder and user."""
        spec = self.record.spec
        image = self._services.images.find(spec.get("image") or "")
        uid, gid = user_ids(self._pod.manifest, spec, image.user)
        cwd = spec.get("workingDir") or image.workdir
        return Program(list(command), self.environment(image), cwd, uid, gid)

    async def _hook(self, handler: Mapping[str, Any], timeout: float) -> str:  # noqa: ASYNC109
        """Run a lifecycle hook; returns what went wrong, or nothing."""
        if "sleep" in handler:
            await asyncio.sleep(min(float(handler["sleep"]["seconds"]), timeout))
            return ""
        asked = {**handler, "timeoutSeconds": timeout}
        outcome = await probes.ask(asked, self.record.spec, self._pod.address, self._pod.dial, self.execute)
        return "" if outcome.ok else outcome.message

    async def _post_start(self, handler: Mapping[str, Any]) -> None:
        failure = await self._hook(handler, 3600.0)
        if failure:
            self._event("Warning", "FailedPostStartHook", f"PostStartHook failed: {failure}")
            self._pod.background(
                self._kill(float(self._pod.manifest["spec"].get("terminationGracePeriodSeconds", 30)))
            )

    # ---- stopping

    async def stop(self, grace: float) -> None:
        """End the container: preStop, SIGTERM, and SIGKILL when *grace* seconds have passed."""
        self._stopping = True
        self.record.restarting = False
        self._wake.set()
        for task in self._probes:
            task.cancel()
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
            failure = await self._hook(hook, grace)
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

    # ---- small things

    def _termination_path(self) -> str:
        return str(self.record.spec.get("terminationMessagePath") or "/dev/termination-log")

    def _termination_file(self) -> str:
        path = self._pod.folder / "termination" / self.record.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        path.chmod(0o666)
        return str(path)

    def _termination_message(self, code: int) -> str:
        path = self._pod.folder / "termination" / self.record.name
        try:
            with path.open("rb") as file:
                message = file.read(_MAX_MESSAGE)
        except FileNotFoundError:
            return ""
        policy = self.record.spec.get("terminationMessagePolicy")
        if not message and policy == "FallbackToLogsOnError" and code != 0 and self.log:
            message = self.log.tail(80, 2048)
        return message.decode(errors="replace")

    def _event(self, kind: str, reason: str, message: str) -> None:
        field = "initContainers" if self.record.kind != "app" else "containers"
        self._pod.event(kind, reason, message, f"spec.{field}{{{self.record.name}}}")


def user_ids(pod: Manifest, spec: Mapping[str, Any], default: int) -> tuple[int, int]:
    """User and group of a container.

    Raises:
        ConfigError: The manifest wants root or an id that cannot be had.
    """
    contexts = (spec.get("securityContext") or {}, pod["spec"].get("securityContext") or {})
    uid = next((c["runAsUser"] for c in contexts if c.get("runAsUser") is not None), default)
    gid = next((c["runAsGroup"] for c in contexts if c.get("runAsGroup") is not None), uid)
    for name, value in (("runAsUser", uid), ("runAsGroup", gid)):
        if not 1 <= value <= _MAX_UID:
            raise ConfigError(
                f"securityContext.{name}: {value} is not possible in the embedded lab, where no container is root; "
                f"use 1 to {_MAX_UID}, or leave it out"
            )
    return uid, gid


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
