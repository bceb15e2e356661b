"""Hold packets between zones for a time: the process that carries every delayed link.

The kernel's own delay (netem) is not everywhere, and what it really did is not told. Here each packet
waits from its arrival in the kernel (its time stamp, so our own wake-up is not added) until it is due,
and how late it then left is counted and reported every second: a line that was late has measured itself.

The process is forked by the spawner, which makes the packet sockets; it reads nothing but addresses.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

from meshverdict.runtime import linux

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_QUEUED: Final = 20_000  # packets that wait at once in one direction, 30 MB of full ones
# From the release of a packet to its arrival at the node, and from a deadline to our wake-up: measured.
COMPENSATION_NS: Final = 35_000
# A sleeper is woken late by whatever the kernel is in the middle of, so with few packets the line is awake before they
# are due. Up to so many a second: more are seldom waited for, and the others' processor is not ours.
WATCHED: Final = 1_000
_WATCH_NS: Final = 100_000
_WAKE_NS: Final = 20_000  # the part of the compensation that is our wake-up
_BATCH: Final = 64
_LARGEST: Final = 2048
_QUIET_NS: Final = 300_000
_SECOND_NS: Final = 1_000_000_000
_ADDRESSES: Final = slice(26, 34)  # source and destination of IPv4 in an Ethernet frame
_IPV4: Final = b"\x08\x00"
_ETHERTYPE: Final = slice(12, 14)

_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_PACKET_QDISC_BYPASS: Final = 20
_PACKET_IGNORE_OUTGOING: Final = 23
_SO_TIMESTAMPNS: Final = 64  # the form with 64-bit seconds on every machine
_ETH_P_ALL: Final = 3
_RECEIVE_BUFFER: Final = 16 << 20
_PR_SET_TIMERSLACK: Final = 29
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
_SLICE_NS: Final = 100_000
_stamp = struct.Struct("qq")


def packet_socket(interface: str) -> socket.socket:
    """A socket for whole frames of *interface*, which is in the caller's network namespace, with arrival times."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        sock.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.bind((interface, _ETH_P_ALL))
    except OSError:
        sock.close()
        raise
    return sock


@dataclass(slots=True)
class Direction:
    """One direction of a link: what arrives at *source* leaves at *sink*.

    Attributes:
        hold_ns: How long each packet is held at least, nanoseconds.
        early_ns: How much less that is than the delay: what the way from here on takes.
        newest_ns: When the newest packet is due: none may overtake another.
        waiting: Packets that have arrived and not left.
        dropped: Packets that had no room, since the last report.
    """

    source: socket.socket
    sink: socket.socket
    hold_ns: int
    early_ns: int
    newest_ns: int = 0
    waiting: int = 0
    dropped: int = 0


@dataclass(slots=True)
class Counts:
    """What happened since the last report.

    Attributes:
        late_us: Packets by how many microseconds longer than they were meant to be they were held.
        pairs: Packets and bytes by the eight bytes of source and destination address.
    """

    late_us: dict[int, int] = field(default_factory=dict)
    pairs: dict[bytes, list[int]] = field(default_factory=dict)
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Delays:
    """How long packets take.

    Attributes:
        there_ns: From the first end of a link to the second, nanoseconds.
        back_ns: The other way.
        jitter_ns: Up to so much longer, drawn for each packet with the same chance for every value.
    """

    there_ns: int
    back_ns: int
    jitter_ns: int = 0

    def direction(self, source: socket.socket, sink: socket.socket, *, back: bool) -> Direction:
        """One direction of a link with its delay."""
        delay = self.back_ns if back else self.there_ns
        hold = max(0, delay - COMPENSATION_NS)
        return Direction(source, sink, hold, delay - hold)

    def due_ns(self, direction: Direction, arrived: int, now: int, extra: int) -> int:
        """When a packet leaves: after its own delay, and not before the one that came before it.

        So a packet behind a slow one waits with it: jitter never changes the order within a direction, and the delay
        stays between the least and the least with all of the jitter.

        Args:
            direction: Where it goes.
            arrived: Its time stamp, on the clock of *now*.
            now: Nanoseconds; a stamp from later than that is not believed.
            extra: What was drawn for it, 0 to the jitter.
        """
        due = max(min(arrived, now) + direction.hold_ns + extra, direction.newest_ns)
        direction.newest_ns = due
        return due


class DelayLine:
    """Carries all links with their delays.

    Args:
        links: The two sockets of each link.
        delays: How long packets take.
        report: Non-blocking pipe that gets one JSON line a second.
    """

    def __init__(
        self, links: Iterable[tuple[socket.socket, socket.socket]], delays: Delays, report: int
    ) -> None:
        self._directions = [
            delays.direction(*(pair[::-1] if back else pair), back=back)
            for pair in links
            for back in (False, True)
        ]
        self._delays = delays
        self._report = report
        self._queue: list[tuple[int, int, Direction, bytes]] = []
        self._order = 0
        self._counts = Counts()
        self._report_at = time.monotonic_ns() + _SECOND_NS
        self._cpu = time.process_time()
        self._unreported = 0  # seconds without a line of their own before this one
        self._pending = b""
        self._watch_ns, self._wake_ns = _WATCH_NS, _WAKE_NS

    def run(self) -> NoReturn:
        """Carry packets until the process is killed."""
        by_socket = {d.source: d for d in self._directions}
        sockets = list(by_socket)
        while True:
            ready, _, _ = select.select(sockets, (), (), self._timeout_s())
            for source in ready:
                self._receive(by_socket[source])
            self._release()
            self._tell_in_a_quiet_moment()

    def _timeout_s(self) -> float:
        due = self._queue[0][0] + self._wake_ns - self._watch_ns if self._queue else self._report_at
        return max(0, min(due, self._report_at) - time.monotonic_ns()) / 1e9

    def _receive(self, direction: Direction) -> None:
        """Take what has arrived; each packet is due its delay after its own arrival."""
        receive, push, queue = direction.source.recvmsg, heapq.heappush, self._queue
        counts, pairs = self._counts, self._counts.pairs
        now = time.monotonic_ns()
        offset = now - time.time_ns()  # stamps are wall clock time, and the wall clock may be set
        delays, jitter, draw = self._delays, self._delays.jitter_ns, random.random
        for _ in range(_BATCH):
            try:
                frame, ancillary, _, _ = receive(_LARGEST, 64)
            except BlockingIOError:
                break
            except OSError:
                direction.dropped += 1  # the link was taken down under it
                break
            seconds, nanoseconds = _stamp.unpack_from(ancillary[0][2])
            if direction.waiting >= MAX_QUEUED:
                direction.dropped += 1
                continue
            extra = int(draw() * jitter) if jitter else 0
            due = delays.due_ns(direction, seconds * _SECOND_NS + nanoseconds + offset, now, extra)
            direction.waiting += 1
            self._order += 1
            push(queue, (due, self._order, direction, frame))
            counts.packets += 1
            counts.bytes += len(frame)
            if frame[_ETHERTYPE] == _IPV4:
                pair = pairs.setdefault(frame[_ADDRESSES], [0, 0])
                pair[0] += 1
                pair[1] += len(frame)

    def _release(self) -> None:
        """Send what is due."""
        queue, late, clock = self._queue, self._counts.late_us, time.monotonic_ns
        wake, watch = self._wake_ns, self._watch_ns
        now = clock()
        while queue and queue[0][0] + wake <= now + watch:
            due, _, direction, frame = heapq.heappop(queue)
            while now < due + wake:
                now = clock()
            direction.waiting -= 1
            try:
                direction.sink.send(frame)
            except OSError:
                direction.dropped += 1
            microseconds = max(0, now - due - direction.early_ns) // 1000
            late[microseconds] = late.get(microseconds, 0) + 1
            now = clock()

    def _tell_in_a_quiet_moment(self) -> None:
        """Report once a second, when no packet is due soon: a report must not make one late."""
        now = time.monotonic_ns()
        if now < self._report_at:
            return
        busy = self._queue and self._queue[0][0] - now < _QUIET_NS
        if busy and now < self._report_at + _SECOND_NS // 2:
            return
        self._report_at += _SECOND_NS
        if self._report_at < now:  # the whole machine slept
            self._report_at = now + _SECOND_NS
        if self._untold():
            # A supervisor that reads nothing must not stop the packets; the next line tells of this second, too.
            self._unreported += 1
            return
        self._pending = json.dumps(self._summary()).encode() + b"\n"
        self._unreported = 0
        self._untold()

    def _untold(self) -> bool:
        """Write what is left of the last line, as much as there is room for; True if some is left still."""
        try:
            self._pending = self._pending[os.write(self._report, self._pending) :] if self._pending else b""
        except BlockingIOError:
            return True
        return bool(self._pending)

    def _summary(self) -> dict[str, Any]:
        counts, self._counts = self._counts, Counts()
        few = counts.packets <= WATCHED * (1 + self._unreported)
        self._watch_ns, self._wake_ns = (_WATCH_NS, _WAKE_NS) if few else (0, 0)
        cpu, self._cpu = self._cpu, time.process_time()
        dropped = sum(d.dropped + _kernel_drops(d.source) for d in self._directions)
        for direction in self._directions:
            direction.dropped = 0
        return {
            "t": time.time(),
            "packets": counts.packets,
            "bytes": counts.bytes,
            "dropped": dropped,
            "late_us": counts.late_us,
            "pairs": {key.hex(): value for key, value in counts.pairs.items()},
            "queued": len(self._queue),
            "cpu": round(self._cpu - cpu, 4),
            "priority": "fifo" if os.sched_getscheduler(0) == os.SCHED_FIFO else "normal",
            "unreported": self._unreported,
        }


def _kernel_drops(sock: socket.socket) -> int:
    """Packets that found the socket's buffer full since the last call."""
    _, drops = struct.unpack("II", sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    return int(drops)


def run_child(links: Sequence[tuple[socket.socket, socket.socket]], delays: Delays, report: int) -> NoReturn:
    """In the spawner's forked child: keep these descriptors alone, and carry packets until the end."""
    try:
        linux.set_parent_death_signal(signal.SIGKILL)
        linux.set_process_name("mv-delay")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.set_blocking(report, False)
        gc.freeze()
        gc.disable()
        _tune()
        # Says that it runs, so last: real-time priority is then given, and tuning would take it away.
        _keep_only([report, *(s.fileno() for pair in links for s in pair)])
        DelayLine(links, delays, report).run()
    except BaseException:  # noqa: BLE001 - a forked copy of the spawner may not go on as one
        traceback.print_exc()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
    os._exit(1)


def _keep_only(descriptors: Iterable[int]) -> None:
    low = 3
    for descriptor in sorted(descriptors):
        os.closerange(low, descriptor)
        low = descriptor + 1
    linux.close_from(low)


def _tune() -> None:
    """Exact timers, and where there is no real-time priority at least a short slice (Linux 6.12; else ignored)."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)
    number = _SCHED_SETATTR.get(os.uname().machine)
    if number is not None:
        attributes = struct.pack("IIQiIQQQII", 56, 0, 0, 0, 0, _SLICE_NS, 0, 0, 0, 0)
        libc.syscall(ctypes.c_long(number), ctypes.c_int(0), attributes, ctypes.c_uint(0))
