"""What is executed in a container, as whom, with which environment and mounts: from its manifest and its image."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.model.paths import PACKAGE
from meshverdict.runtime.environment import container_environment, expand, service_variables
from meshverdict.runtime.image_rows import PROGRAMS
from meshverdict.runtime.images import Image, ImageError
from meshverdict.runtime.process import Program
from meshverdict.runtime.rootfs import HOME, Mount
from meshverdict.runtime.volumes import VolumeError

if TYPE_CHECKING:
    from meshverdict.cluster.store import Manifest
    from meshverdict.runtime.container_state import ContainerRecord
    from meshverdict.runtime.logs import LogFile
    from meshverdict.runtime.pod import PodWorker

_MAX_UID: Final = 65_535
_MAX_MESSAGE: Final = 4096
_MESSAGE_LINES, _MESSAGE_BYTES = 80, 2048


class ConfigError(Exception):
    """The container cannot be made as its manifest says; the text is its waiting message."""


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """One start of a container; *folders* are those that it may write to."""

    program: Program
    mounts: Sequence[Mount]
    folders: Sequence[str]
    readonly: bool


class ContainerPlanner:
    """Makes the plans of one container of one pod."""

    def __init__(self, pod: PodWorker, record: ContainerRecord) -> None:
        self._pod = pod
        self._record = record
        self._services = pod.services

    def plan(self, image: Image) -> ContainerPlan:
        """The plan for a start now.

        Raises:
            ConfigError: The manifest asks for something that cannot be had.
            MissingReferenceError: A ConfigMap, Secret or key is missing.
        """
        spec = self._record.spec
        env = self.environment(image)
        command = [expand(part, env) for part in spec.get("command") or ()]
        args = [expand(part, env) for part in spec.get("args") or ()]
        argv = image.argv(command, args)
        if not argv:
            raise ConfigError(f'no command specified for image "{spec.get("image")}"')
        program = self._program(image, argv, env)
        try:
            mounts = self._services.machine.mounts(spec.get("image") or "", image)
            mounts += self._pod.volumes.mounts(spec, lambda text: expand(text, env))
        except (ImageError, VolumeError) as error:
            raise ConfigError(str(error)) from error
        mounts += self._program_mounts(image)
        mounts.append(self._termination_mount())
        security = spec.get("securityContext") or {}
        readonly = bool(security.get("readOnlyRootFilesystem"))
        return ContainerPlan(program, mounts, [*image.folders, program.cwd], readonly)

    def environment(self, image: Image) -> dict[str, str]:
        """The container's environment."""
        pod, services = self._pod.manifest, self._services
        base = {"HOME": HOME, **services.machine.env(), **image.env, "HOSTNAME": self._pod.hostname}
        if image.programs:
            base["PATH"] = f"{PROGRAMS}:{base['PATH']}"
        known = services.objects.list("services", self._pod.namespace)
        if kubernetes := services.objects.get("services", "default", "kubernetes"):
            known = [kubernetes, *known]
        links = pod["spec"].get("enableServiceLinks", True)
        base |= service_variables(known, self._pod.namespace, links=links)
        return container_environment(pod, self._record.spec, base, self._pod.lookup, services.capacity)

    def termination_message(self, code: int, log: LogFile | None) -> str:
        """What the container left in its termination file, or the end of its log if it asks for that."""
        path = self._pod.folder / "termination" / self._record.name
        try:
            with path.open("rb") as file:
                message: bytes = file.read(_MAX_MESSAGE)
        except FileNotFoundError:
            return ""
        policy = self._record.spec.get("terminationMessagePolicy")
        if not message and policy == "FallbackToLogsOnError" and code != 0 and log:
            message = log.tail(_MESSAGE_LINES, _MESSAGE_BYTES)
        return message.decode(errors="replace")

    def _program(self, image: Image, argv: Sequence[str], env: dict[str, str]) -> Program:
        spec = self._record.spec
        uid, gid = user_ids(self._pod.manifest, spec, image.user)
        return Program(argv, env, spec.get("workingDir") or image.workdir, uid, gid)

    def _program_mounts(self, image: Image) -> list[Mount]:
        """The lab's own programs, each as a file that starts it with the Python in use."""
        folder = self._pod.folder / "programs"
        mounts = []
        for name, targets in image.programs.items():
            path = folder / name
            if not path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                path.write_text(launcher(name))
                path.chmod(0o755)
            mounts += [Mount(str(path), target) for target in targets]
        return mounts

    def _termination_mount(self) -> Mount:
        path = self._pod.folder / "termination" / self._record.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        path.chmod(0o666)
        target = self._record.spec.get("terminationMessagePath") or "/dev/termination-log"
        return Mount(str(path), str(target), readonly=False)


def launcher(name: str) -> str:
    """A script that is the program *name* of `runtime.programs`; without site packages it starts in 20 ms."""
    module = f"meshverdict.runtime.programs.{name}"
    return f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(PACKAGE.parent))} exec python3 -S -m {module} "$@"\n'


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
                f"securityContext.{name}: {value} is not possible in the embedded lab, where no container is "
                f"root; use 1 to {_MAX_UID}, or leave it out"
            )
    return uid, gid
