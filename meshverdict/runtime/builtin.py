"""A container whose program is part of the supervisor: DNS and the flow log.

It is a container of an ordinary pod all the same, with an address, a log and a status, so that policies
apply to it and people find it where they would look.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from meshverdict.runtime.container_state import (
    ContainerRecord,
    Running,
    Terminated,
    Waiting,
    new_container_id,
)
from meshverdict.runtime.logs import LogFile

if TYPE_CHECKING:
    from meshverdict.runtime.node_services import StartBuiltin
    from meshverdict.runtime.pod import PodWorker
    from meshverdict.runtime.spawn_client import Process

log = logging.getLogger(__name__)


class BuiltinWorker:
    """Runs a built-in part until it is stopped."""

    def __init__(self, pod: PodWorker, record: ContainerRecord, start: StartBuiltin) -> None:
        self.record = record
        self.process: Process | None = None
        self.log: LogFile | None = None
        self.previous_log: LogFile | None = None
        self._pod = pod
        self._start = start
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self.up = asyncio.Event()

    async def run(self) -> None:
        """Start the part and wait for its end."""
        record, pod = self.record, self._pod
        started = time.time()
        self.log = LogFile(pod.log_folder / record.name / "0.log")
        try:
            try:
                part = await self._start(pod.manifest, pod.network, self.log)
            except Exception as error:
                log.exception("pod %s/%s: the built-in part did not start", pod.namespace, pod.name)
                record.state = Waiting("RunContainerError", str(error))
                return
            record.pulled = record.started = record.ready = True
            record.container_id = new_container_id()
            record.state = Running(started)
            self.up.set()
            pod.changed()
            try:
                await self._stop.wait()
            finally:
                record.state = Terminated(0, "Completed", started, time.time(), record.container_id)
                await part.close()
        finally:
            record.ready = record.started = False
            self.log.close()
            self._ended.set()
            pod.changed()

    async def stop(self, _grace: float) -> None:
        """End it."""
        self._stop.set()
        await self._ended.wait()

    async def shorten(self, _grace: float) -> None:
        """It ends at once anyway."""

    def forbid_restart(self) -> None:
        """It is never started again."""

    def poke(self) -> None:
        """It waits for nothing."""
