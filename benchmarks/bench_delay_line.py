"""How exact the delay between zones is: round trips of 2,000 requests a second across two zones.

    python benchmarks/bench_delay_line.py [--delays 0.5,1,5] [--rate 2000] [--seconds 10]

Two networks of pods on two nodes, as in a lab, and nothing else: what is measured is the line. `icmp` is answered by
the other pod's kernel, and the arrival of its answer is the kernel's time stamp, so no program's wake-up is in it.
`tcp` asks a program in the other pod over eight connections: what an application sees on this machine. The row
with delay 0 is the direct link. A delay's nominal round trip is twice the delay plus that of the direct link.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from meshverdict.cluster.store import Store
from meshverdict.model.histogram import Histogram
from meshverdict.model.settings import LabSettings
from meshverdict.runtime import linux
from meshverdict.runtime.delay_report import DelayLineClient
from meshverdict.runtime.keeper import KeeperClient, KeeperOptions, WorldHandle, run_world
from meshverdict.runtime.logs import LogFile
from meshverdict.runtime.rootfs import HostView
from meshverdict.runtime.spawn_client import SpawnClient
from meshverdict.runtime.topology import WORLD_ADDRESS, link_requests, node_request, nodes, sandbox_request

ASKER, ANSWERER = "10.244.1.1", "10.244.2.1"
PORT, CONNECTIONS = 7000, 8
_STAMPS = 64  # SO_TIMESTAMPNS with 64-bit seconds
_ECHO_REQUEST = 8


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return int(~(total + (total >> 16)) & 0xFFFF)


def icmp(rate: float, seconds: float) -> list[float]:
    """Round trips in microseconds of echo requests, from just before the send to the answer's arrival in the kernel."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    sock.setsockopt(socket.SOL_SOCKET, _STAMPS, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.connect((ANSWERER, 0))
    sock.settimeout(2)
    found: list[float] = []
    count = int(rate * seconds)

    def receive() -> None:
        while len(found) < count:
            try:
                data, ancillary, _, _ = sock.recvmsg(256, 64)
            except TimeoutError:
                return
            whole, rest = struct.unpack("qq", ancillary[0][2])
            (sent,) = struct.unpack_from("q", data, 28)
            found.append((whole * 10**9 + rest - sent) / 1e3)

    reader = threading.Thread(target=receive)
    reader.start()
    start = time.monotonic()
    for number in range(count):
        _sleep_until(start + number / rate)
        body = struct.pack("!HH", 7, number & 0xFFFF) + struct.pack("q", time.time_ns())
        head = struct.pack("!BBH", _ECHO_REQUEST, 0, 0)
        sock.send(struct.pack("!BBH", _ECHO_REQUEST, 0, checksum(head + body)) + body)
    reader.join()
    sock.close()
    return found


def tcp(rate: float, seconds: float) -> list[float]:
    """Round trips in microseconds of requests to a program, sent when they are due, answers read by another thread."""
    sockets = [socket.create_connection((ANSWERER, PORT), 5) for _ in range(CONNECTIONS)]
    found: list[float] = []
    count = int(rate * seconds) // CONNECTIONS * CONNECTIONS

    def receive(sock: socket.socket) -> None:
        for _ in range(count // CONNECTIONS):
            data = sock.recv(64, socket.MSG_WAITALL)
            found.append((time.time_ns() - struct.unpack_from("q", data)[0]) / 1e3)

    readers = [threading.Thread(target=receive, args=(sock,)) for sock in sockets]
    for sock, reader in zip(sockets, readers, strict=True):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader.start()
    start = time.monotonic()
    for number in range(count):
        _sleep_until(start + number / rate)
        sockets[number % CONNECTIONS].sendall(struct.pack("q", time.time_ns()).ljust(64, b"."))
    for sock, reader in zip(sockets, readers, strict=True):
        reader.join()
        sock.close()
    return found


def _sleep_until(moment: float) -> None:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)


def answer() -> None:
    """The program in the other pod: sends back what comes, for ever."""
    server = socket.create_server((ANSWERER, PORT), backlog=64)

    def serve(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := sock.recv(4096):
            sock.sendall(data)
        sock.close()

    while True:
        sock, _ = server.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


def in_pod(network: int, work: Callable[[], object]) -> tuple[int, int]:
    """Fork a process into a pod's network; its result comes as JSON from the pipe."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            linux.setns(network, linux.CLONE_NEWNET)
            with os.fdopen(writer, "w") as stream:
                json.dump(work(), stream)
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader


async def measure(world: WorldHandle, options: argparse.Namespace, delay_ms: float) -> dict[str, object]:
    """One delay: the line's own lateness, and round trips of both kinds."""
    spawner = SpawnClient(world.spawner, lambda: sys.exit("the spawner or the line has ended"))
    await spawner.configure(HostView((), ()), WORLD_ADDRESS)
    both = nodes(2)
    for node in both:
        await spawner.network(node_request(node))
    line = None
    log = LogFile(world.scratch / "delay.log")
    if delay_ms:
        settings = LabSettings(zones=2, zone_delay_ms=delay_ms)
        line = await DelayLineClient.start(
            spawner, link_requests(both), settings, Store(), lambda: sys.exit("the line has ended")
        )
        KeeperClient(world.keeper).want_fifo(line.process.pidfd)
    else:
        for request in link_requests(both):
            await spawner.call(request)
    asker, answerer = [
        await spawner.network(sandbox_request(f"pod-{n.number}", "pod", n, a))
        for n, a in zip(both, (ASKER, ANSWERER), strict=True)
    ]
    server, _ = in_pod(answerer, answer)
    await asyncio.sleep(0.5)
    rows: dict[str, object] = {}
    for name, ask in (("icmp", icmp), ("tcp", tcp)):
        if line is not None:
            line.write_to(log)
        pid, reader = in_pod(asker, lambda ask=ask: ask(options.rate, options.seconds))  # type: ignore[misc]
        with os.fdopen(reader) as stream:
            text = await asyncio.to_thread(stream.read)
        await asyncio.to_thread(os.waitpid, pid, 0)
        rows[name] = sorted(json.loads(text))
    os.kill(server, 9)
    await asyncio.to_thread(os.waitpid, server, 0)
    if line is not None:
        line.stop()
    log.close()
    said = [json.loads(x.split(b" ", 3)[3]) for x in log.path.read_bytes().splitlines()]
    rows["line"] = [x["delay_line"] for x in said]
    spawner.close()
    return rows


def one(options: argparse.Namespace, delay_ms: float) -> dict[str, object]:
    """A world of its own for one delay."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows"
        scratch = Path(folder) / "world"
        scratch.mkdir()

        def main(world: WorldHandle) -> int:
            out.write_text(json.dumps(asyncio.run(measure(world, options, delay_ms))))
            return 0

        status = run_world(main, KeeperOptions(scratch=scratch))
        if status:
            sys.exit(f"the world ended with status {status}")
        rows: dict[str, object] = json.loads(out.read_text())
        return rows


def within(nominal: float, p50: float, p99: float) -> bool:
    """Whether round trips are what the line promises: the median within 2 % or 0.05 ms, p99 within 15 % or 0.3 ms."""
    return abs(p50 - nominal) <= max(0.02 * nominal, 0.05) and p99 - nominal <= max(0.15 * nominal, 0.3)


def quantile(values: list[float], share: float) -> float:
    """A quantile of sorted microseconds, in milliseconds."""
    return values[min(len(values) - 1, int(share * len(values)))] / 1e3


def main() -> int:
    """Measure and print a table; exit 1 when a figure is outside its tolerance."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--delays", default="0.5,1,5", help="one-way, milliseconds")
    parser.add_argument("--rate", type=float, default=2000)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    print(
        f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores, {options.rate:g} requests a second"
    )
    print(
        f"{'delay':>6} {'kind':>5} {'n':>7} {'nominal':>8} {'p50':>7} {'p99':>7}  held over the delay p99, dropped, CPU"
    )
    base: dict[str, tuple[float, float]] = {}
    outside = 0
    for delay in [0.0, *map(float, options.delays.split(","))]:
        rows = one(options, delay)
        for kind in ("icmp", "tcp"):
            values: list[float] = rows[kind]  # type: ignore[assignment]
            p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
            base.setdefault(kind, (p50, p99))
            nominal = 2 * delay + base[kind][0]
            good = kind != "icmp" or within(nominal, p50, p99)
            outside += not good
            note = "" if good else "  OUTSIDE"
            print(
                f"{delay:6g} {kind:>5} {len(values):7d} {nominal:8.3f} {p50:7.3f} {p99:7.3f}  {_line(rows)}{note}"
            )
    return 1 if outside else 0


def _line(rows: dict[str, object]) -> str:
    seconds: list[dict[str, object]] = rows["line"]  # type: ignore[assignment]
    if not seconds:
        return ""
    late = Histogram.merged(Histogram.from_json(s["late"]) for s in seconds)
    dropped = sum(s["dropped"] for s in seconds)  # type: ignore[misc]
    cpu = max(s["cpu"] for s in seconds)  # type: ignore[type-var]
    return f"{(late.quantile(0.99) or 0) / 1e3:.3f} ms, {dropped}, {cpu:.0%}, {seconds[-1]['priority']}"


if __name__ == "__main__":
    sys.exit(main())
