"""What the delay line says of itself, as the log of the pod ``delay-line``: lateness, and who talked across zones.

The line's process knows addresses and microseconds; here they become pods and a histogram, one line a second
in the form of telemetry (see docs/formats.md), so that a run can keep it and be judged by it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Self

from meshverdict.model.histogram import Histogram
from meshverdict.runtime.flows import PodNames

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meshverdict.cluster.store import Store
    from meshverdict.model.settings import LabSettings
    from meshverdict.runtime.frames import Message
    from meshverdict.runtime.logs import LogFile
    from meshverdict.runtime.spawn_client import Process, SpawnClient

_READ: Final = 1 << 16
_KEPT: Final = ("packets", "bytes", "dropped", "queued", "cpu", "priority", "unreported")
log = logging.getLogger(__name__)


class DelayLineClient:
    """The supervisor's side of the delay line: reads its reports, and notices its end.

    Make it with :meth:`start`. Reports are read for as long as it runs, and kept in the log that
    :meth:`write_to` names.
    """

    def __init__(self, process: Process, reader: int, names: PodNames, settings: LabSettings) -> None:
        self.process = process
        self._reader = reader
        self._names = names
        self._settings = settings
        self._rest = b""
        self._log: LogFile | None = None
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(reader, self._receive)
        self._closing = False

    @classmethod
    async def start(
        cls,
        spawner: SpawnClient,
        links: Sequence[Message],
        settings: LabSettings,
        store: Store,
        on_lost: Callable[[], None],
    ) -> Self:
        """Join nodes by links (see ``topology.link_requests``) with the delays of these settings.

        Raises:
            SpawnError: The kernel refused a link.
        """
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        try:
            delays = [round(ms * 1e6) for ms in (*settings.delays_ms, settings.zone_jitter_ms)]
            process = await spawner.delay_line(links, delays, writer)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        client = cls(process, reader, PodNames(store), settings)
        process.exited.add_done_callback(lambda _: client._ended(on_lost))
        return client

    def write_to(self, log: LogFile | None) -> None:
        """From now on reports go to this log."""
        self._log = log

    async def close(self) -> None:
        """The log is closed; the line goes on."""
        self._log = None

    def stop(self) -> None:
        """Read no more: the lab ends."""
        self._closing = True
        self._let_go()

    def _ended(self, on_lost: Callable[[], None]) -> None:
        if not self._closing:
            log.error("the delay line between the zones has ended: nothing crosses any more")
            self._let_go()
            on_lost()

    def _let_go(self) -> None:
        if self._reader >= 0:
            self._loop.remove_reader(self._reader)
            os.close(self._reader)
            self._reader = -1
            self._names.stop()

    def _receive(self) -> None:
        data = os.read(self._reader, _READ)
        if not data:
            self._loop.remove_reader(self._reader)
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._log is None:
            return
        for line in lines:
            told = telemetry_line(json.loads(line), self._settings, self._names)
            self._log.write("stdout", json.dumps(told, separators=(",", ":")).encode(), time.time_ns())
        self._log.flush()


def telemetry_line(report: Mapping[str, Any], settings: LabSettings, names: PodNames) -> dict[str, Any]:
    """One second of the delay line as a line of telemetry, from what its process wrote."""
    late = Histogram()
    for microseconds, count in report["late_us"].items():
        late.add(int(microseconds), count)
    return {
        "t": round(report["t"], 3),
        "delay_line": {
            "delay_ms": settings.delays_ms[0],
            "delay_back_ms": settings.delays_ms[1],
            "jitter_ms": settings.zone_jitter_ms,
            **{key: report[key] for key in _KEPT},
            "late": late.as_json(),
        },
        "pairs": [_pair(bytes.fromhex(key), counts, names) for key, counts in report["pairs"].items()],
    }


def _pair(key: bytes, counts: Sequence[int], names: PodNames) -> dict[str, Any]:
    source, destination = socket.inet_ntoa(key[:4]), socket.inet_ntoa(key[4:])
    packets, size = counts
    return {
        "from": names.name(source),
        "to": names.name(destination),
        "from_node": names.node(source),
        "to_node": names.node(destination),
        "packets": packets,
        "bytes": size,
    }
