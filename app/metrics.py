"""Why: overload shows in threads and queues before it shows in latency, so both are counted and published.

The metrics have a port and a thread of their own: they answer while every request thread is busy.

    app_threads                            threads that handle requests
    app_busy_threads                       of these, threads that hold a connection right now
    app_queued_connections{where}          "worker": connections (new ones, and kept ones with a new request)
                                           that wait for a thread; "kernel": established, not yet accepted
    app_request_duration_seconds{endpoint,status}
                                           histogram: time in the handler, without the time in the queue
    process_cpu_seconds_total              of the process that handles requests
    process_resident_memory_bytes          the same
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

disable_created_metrics()  # they would double the number of series and say nothing here
REGISTRY = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=REGISTRY)

# 0.5 ms to 16 s in steps of the square root of two.
BUCKETS_S = tuple(0.0005 * 2 ** (step / 2) for step in range(31))
DURATION = Histogram(
    "app_request_duration_seconds",
    "Time in the handler, without the time in the queue",
    ["endpoint", "status"],
    buckets=BUCKETS_S,
    registry=REGISTRY,
)

_TCP_LISTEN = "0A"


class Occupancy:
    """How many connections wait for a thread and how many have one; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0
        self._busy = 0

    def queued(self) -> None:
        """A connection begins to wait."""
        with self._lock:
            self._waiting += 1

    def started(self) -> None:
        """A thread takes a waiting connection."""
        with self._lock:
            self._waiting -= 1
            self._busy += 1

    def finished(self) -> None:
        """A thread is free again."""
        with self._lock:
            self._busy -= 1

    def abandoned(self) -> None:
        """A waiting connection was given up."""
        with self._lock:
            self._waiting -= 1

    def read(self) -> tuple[int, int]:
        """(waiting, busy) at one moment."""
        with self._lock:
            return self._waiting, self._busy


OCCUPANCY = Occupancy()


def accept_queue(port: int, table: str) -> int | None:
    """Connections that wait to be accepted on *port*, from the text of /proc/net/tcp.

    Of a listening socket, the kernel prints this length in place of the receive queue. None: nobody listens.
    """
    total: int | None = None
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[3] == _TCP_LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            total = (total or 0) + int(fields[4].rpartition(":")[2], 16)
    return total


class ThreadCollector:
    """Reads the gauges of threads and queues at the moment of a scrape.

    Args:
        threads: How many threads handle requests.
        port: Where the app listens.
    """

    def __init__(self, threads: int, port: int) -> None:
        self._threads = threads
        self._port = port

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called by the registry."""
        waiting, busy = OCCUPANCY.read()
        yield GaugeMetricFamily("app_threads", "Threads that handle requests", value=self._threads)
        yield GaugeMetricFamily("app_busy_threads", "Threads that hold a connection", value=busy)
        queue = GaugeMetricFamily(
            "app_queued_connections", "Connections that wait for a thread or to be accepted", labels=["where"]
        )
        queue.add_metric(["worker"], waiting)
        kernel = accept_queue(self._port, Path("/proc/net/tcp").read_text())
        if kernel is not None:
            queue.add_metric(["kernel"], kernel)
        yield queue


def serve(threads: int, port: int, metrics_port: int) -> None:
    """Publish the metrics; returns at once.

    Raises:
        OSError: The port is taken.
    """
    REGISTRY.register(ThreadCollector(threads, port))
    start_http_server(metrics_port, registry=REGISTRY)
