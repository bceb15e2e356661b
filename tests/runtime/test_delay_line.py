"""The delay line between zones: packets are held for as long as was said, and what it did is told."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from labs import lab, wait_until
from memory_objects import is_ready, pod
from two_zones import round_trips, two_zones
from worlds import in_world, plain_user_world

from meshverdict.cluster.store import Store
from meshverdict.model.histogram import Histogram
from meshverdict.model.settings import LabSettings
from meshverdict.runtime.delay_line import COMPENSATION_NS, WATCHED, DelayLine, Delays
from meshverdict.runtime.delay_report import telemetry_line
from meshverdict.runtime.flows import PodNames
from meshverdict.runtime.keeper import WorldHandle
from meshverdict.runtime.runtime import delay_pod

pytestmark = pytest.mark.root


@pytest.mark.parametrize("world", [in_world, plain_user_world])
def test_packets_across_zones_are_held_and_others_are_not(world: Any, tmp_path: Path) -> None:
    """Two times the one-way delay, never less; a megabyte arrives whole; who talked to whom is in the log."""

    async def body(handle: WorldHandle) -> None:
        async with lab(handle, handle.scratch, zones=2, zone_delay_ms=3.0) as running:
            running.objects.create("pods", delay_pod(running.runtime.nodes[0]))
            await running.objects.until("meshverdict-system", "delay-line", is_ready)
            address = await two_zones(running)
            shortest, median = await round_trips(running, "far", address)
            assert 5.9 <= shortest <= 7.0
            assert median < 9.0
            _, near = await round_trips(running, "near", address)
            assert near < 3.0
            await asyncio.sleep(1.7)
            log = await running.log("meshverdict-system", "delay-line", "delay")
            seconds = [json.loads(line) for line in log.splitlines()]
            told = [pair for second in seconds for pair in second["pairs"]]
            pairs = {(p["from"], p["to"], p["from_node"], p["to_node"]) for p in told}
            assert pairs == {
                ("test/far", "test/server", "node-a", "node-b"),
                ("test/server", "test/far", "node-b", "node-a"),
            }
            assert sum(p["bytes"] for p in told if p["from"] == "test/far") > 1 << 20
            lines = [second["delay_line"] for second in seconds]
            late = Histogram.merged(Histogram.from_json(line["late"]) for line in lines)
            assert late.n == sum(line["packets"] for line in lines) == sum(p["packets"] for p in told)
            assert [line["dropped"] for line in lines if line["dropped"]] == []

    world(body, tmp_path)


def test_each_way_has_its_own_delay_and_jitter_adds_to_it(tmp_path: Path) -> None:
    """1 ms there and 4 ms back are 5 together, up to 3 more by jitter; a megabyte still arrives whole and in order."""

    async def body(handle: WorldHandle) -> None:
        wanted = {"zone_delay_ms": 1.0, "zone_delay_back_ms": 4.0, "zone_jitter_ms": 1.5}
        async with lab(handle, handle.scratch, zones=2, **wanted) as running:
            address = await two_zones(running)
            shortest, median = await round_trips(running, "far", address)
            assert 4.9 <= shortest <= 6.9
            assert 5.5 <= median <= 10.0

    in_world(body, tmp_path)


def test_jitter_never_changes_the_order_within_a_direction() -> None:
    """A packet behind a slow one waits with it, one in the other direction does not; a stamp from the future counts for nothing."""
    near, far = socket.socketpair()
    with near, far:
        delays = Delays(there_ns=1_000_000, back_ns=2_000_000, jitter_ns=500_000)
        there, back = (delays.direction(near, far, back=way) for way in (False, True))
        held = 1_000_000 - COMPENSATION_NS
        now = 50_000_000
        dues = [delays.due_ns(there, now - 1000 + i, now, extra) for i, extra in enumerate((500_000, 0, 10))]
        assert dues == [now - 1000 + held + 500_000] * 3
        assert delays.due_ns(there, now + 900_000, now, 0) == dues[0]
        assert delays.due_ns(back, now, now, 0) == now + held + 1_000_000
        assert there.early_ns == back.early_ns == COMPENSATION_NS


def test_without_a_delay_there_is_no_process_in_the_way(tmp_path: Path) -> None:
    """Zones without a delay are joined directly."""

    async def body(handle: WorldHandle) -> None:
        async with lab(handle, handle.scratch, zones=2) as running:
            assert running.runtime.delay_line is None
            address = await two_zones(running)
            _, median = await round_trips(running, "far", address)
            assert median < 3.0

    in_world(body, tmp_path)


def test_the_end_of_the_line_is_the_end_of_the_lab(tmp_path: Path) -> None:
    """A dead line is a partition that nobody asked for: it is told, not survived."""

    async def body(handle: WorldHandle) -> None:
        async with lab(handle, handle.scratch, zones=3, zone_delay_ms=0.5) as running:
            line = running.runtime.delay_line
            assert line is not None
            os.kill(line.process.pid, signal.SIGKILL)
            await wait_until(lambda: bool(running.lost))

    in_world(body, tmp_path)


def test_a_report_that_nobody_reads_is_told_later_and_whole() -> None:
    """A pipe that is full takes a part of a line; the rest follows, and what happened meanwhile is in the next one."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        line = DelayLine([], Delays(0, 0), writer)

        def second(packets: int) -> None:
            line._counts.packets += packets
            line._counts.late_us |= dict.fromkeys(range(1000), 1)  # 10 kB of report
            line._report_at = 0
            line._tell_in_a_quiet_moment()

        for _ in range(20):
            second(1)
        told = b""
        for _ in range(3):
            told += os.read(reader, 1 << 20)
            second(1)
        *lines, rest = (told + os.read(reader, 1 << 20)).split(b"\n")
        found = [json.loads(text) for text in lines]
        assert rest == b""
        assert sum(report["packets"] for report in found) == 23
        assert sum(report["unreported"] for report in found) == 23 - len(found) > 0
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(("packets", "awake"), [(0, True), (WATCHED, True), (WATCHED + 1, False)])
def test_the_line_stays_awake_for_few_packets_and_sleeps_between_many(
    packets: int,
    awake: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With few packets the last moments before one is due are spent awake; with many the processor is the others'."""
    reader, writer = os.pipe()
    source, sink = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        line = DelayLine([], Delays(0, 0), writer)
        line._counts.packets = packets
        line._report_at = 0
        line._tell_in_a_quiet_moment()
        direction = Delays(1_000_000, 1_000_000).direction(source, source, back=False)
        direction.waiting = 1
        now = time.monotonic_ns()
        due = now + 60_000
        clock = itertools.count(now, 1000)  # every look takes a microsecond, however busy the machine is
        monkeypatch.setattr(time, "monotonic_ns", clock.__next__)
        line._queue.append((due, 1, direction, b"packet"))
        line._release()
        sink.setblocking(False)
        if awake:
            assert sink.recv(100) == b"packet"
            assert next(clock) > due
        else:
            with pytest.raises(BlockingIOError):
                sink.recv(100)
            assert line._queue
    finally:
        for end in (reader, writer):
            os.close(end)
        source.close()
        sink.close()


def test_addresses_become_pods_and_microseconds_a_histogram() -> None:
    """An address that no pod has stays an address."""
    store = Store()
    made = pod("client", {"image": "x"}, nodeName="node-a")
    store.create("pods", {**made, "status": {"podIP": "10.244.1.2"}})
    report = {
        "t": 1_790_000_000.1234,
        "packets": 3,
        "bytes": 300,
        "dropped": 1,
        "queued": 0,
        "cpu": 0.01,
        "priority": "fifo",
        "unreported": 0,
        "late_us": {"0": 2, "50": 1},
        "pairs": {struct.pack("8B", 10, 244, 1, 2, 10, 244, 2, 7).hex(): [3, 300]},
    }
    line = telemetry_line(report, LabSettings(zones=2, zone_delay_ms=1.0), PodNames(store))
    late = line["delay_line"].pop("late")
    assert line == {
        "t": 1_790_000_000.123,
        "delay_line": {
            "delay_ms": 1.0,
            "delay_back_ms": 1.0,
            "jitter_ms": 0.0,
            **{k: report[k] for k in ("packets", "bytes", "dropped", "queued")},
        }
        | {"cpu": 0.01, "priority": "fifo", "unreported": 0},
        "pairs": [
            {
                "from": "test/client",
                "to": "10.244.2.7",
                "from_node": "node-a",
                "to_node": None,
                "packets": 3,
                "bytes": 300,
            }
        ],
    }
    assert Histogram.from_json(late).n == 3
