"""One pod's sidecar: its folder of configuration, replaced in a safe order, and whether its Envoy serves it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any, Final

from meshverdict.mesh.convergence import STATS_PATH, pending, rejections, warming
from meshverdict.mesh.files import ResourceFile, Step, replacement
from meshverdict.runtime.sidecar_admin import ask_admin
from meshverdict.runtime.sidecar_injection import BOOTSTRAP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PATIENCE_S: Final = 10.0
_POLL_S: Final = 0.003
_DRAIN: Final = "/drain_listeners?inboundonly&graceful&skip_exit"


class SidecarError(Exception):
    """Envoy did not take a configuration; the text is for the resource's status."""


class RefusedError(SidecarError):
    """Envoy says no: trying the same again is no use."""


class Sidecar:
    """The configuration of one Envoy.

    Args:
        name: ``namespace/name`` of the pod.
        folder: Where the folder of its files is, as the supervisor sees it.
        network: Descriptor of the pod's network namespace; becomes the sidecar's own.
        owner: User who may read the private key, as the supervisor sees it.
    """

    def __init__(self, name: str, folder: Path, network: int, owner: int) -> None:
        self.name = name
        self._folder = folder
        self._network = os.dup(network)
        self._owner = owner
        self._disk: dict[str, ResourceFile] = {}
        self._rejected: dict[str, int] = {}
        self._taken: tuple[ResourceFile, ...] = ()

    def close(self) -> None:
        """Forget it; its files go with the pod."""
        os.close(self._network)
        self._network = -1

    # ---- files

    def begin(
        self, bootstrap: dict[str, Any], secrets: Sequence[ResourceFile], files: Sequence[ResourceFile]
    ) -> None:
        """Write everything that Envoy starts from."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.replace_secrets(secrets)
        for file in files:
            self._apply(Step(file.path, file))
        self._taken = tuple(files)
        self._write(BOOTSTRAP.rpartition("/")[2], json.dumps(bootstrap))

    def replace_secrets(self, secrets: Sequence[ResourceFile]) -> None:
        """New certificates; Envoy takes them up for new connections."""
        for file in secrets:
            self._write(file.name, file.text, mode=0o400)

    def _apply(self, step: Step) -> None:
        name = step.path.rpartition("/")[2]
        if step.file is None:
            (self._folder / name).unlink(missing_ok=True)
            self._disk.pop(step.path, None)
        else:
            self._write(name, step.file.text)
            self._disk[step.path] = step.file

    def _write(self, name: str, text: str, mode: int = 0o444) -> None:
        """Put a file in place by rename, which is all that Envoy looks for."""
        new = self._folder / f".{name}.new"
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            os.fchown(stream.fileno(), self._owner, self._owner)
            os.fchmod(stream.fileno(), mode)
        new.rename(self._folder / name)

    async def drain(self) -> None:
        """The pod is about to end: callers are asked to take their connections elsewhere; whoever still comes is served."""
        if self._network >= 0:
            with contextlib.suppress(OSError, TimeoutError):  # Envoy has ended already
                await ask_admin(self._network, _DRAIN, method="POST")

    # ---- publishing

    async def publish(self, files: Sequence[ResourceFile]) -> bool:
        """Replace the configuration, each part once those that it needs are live; True if Envoy serves it all.

        False: Envoy is not running now, and will start from these files.

        Raises:
            RefusedError: Envoy refuses it; the files are again those of before, from which it would also start.
            SidecarError: It does not take it up in time.
        """
        try:
            served = await self._replace(files)
        except RefusedError:
            for stage in replacement(self._disk.values(), self._taken):
                for step in stage:
                    self._apply(step)
            raise
        self._taken = tuple(files)
        return served

    async def _replace(self, files: Sequence[ResourceFile]) -> bool:
        stages = replacement(self._disk.values(), files)
        for number, stage in enumerate(stages):
            for step in stage:
                self._apply(step)
            if number + 1 < len(stages):
                await self._settle([step.file for step in stage if step.file is not None])
        return await self._settle(list(files))

    async def _settle(self, files: list[ResourceFile]) -> bool:
        deadline = time.monotonic() + _PATIENCE_S
        await asyncio.sleep(
            _POLL_S
        )  # Envoy needs that long to read a file: asked sooner, it would be asked twice
        while True:
            missing: Sequence[str] = ()
            try:
                stats = await ask_admin(self._network, STATS_PATH) if self._network >= 0 else None
            except TimeoutError:  # it runs, and is too busy to answer
                missing = ("its admin interface in time",)
            except OSError:
                stats = None
            if not missing:
                if stats is None:
                    self._rejected = {}
                    return False
                missing = pending(files, stats)
                if not missing and not warming(stats):
                    self._rejected = rejections(stats)
                    return True
                self._refuse(stats)
            if time.monotonic() > deadline:
                raise SidecarError(
                    f"the sidecar of {self.name} does not serve {', '.join(missing[:3]) or 'what is warming'}"
                )
            await asyncio.sleep(_POLL_S)

    def _refuse(self, stats: str) -> None:
        now = rejections(stats)
        new = [name for name, count in now.items() if count > self._rejected.get(name, 0)]
        if new:
            self._rejected = now
            raise RefusedError(
                f"the sidecar of {self.name} refuses {', '.join(new)}: see its log (container istio-proxy)"
            )
