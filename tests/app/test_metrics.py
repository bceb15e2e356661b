"""What the metrics say while the app works, is overloaded and is idle."""

from __future__ import annotations

import importlib.util
import threading
import time
from pathlib import Path

APP = Path(__file__).resolve().parents[2] / "app"


def test_overload_is_visible(start_app, redis_server):
    """With 2 threads and 6 slow requests: 2 threads busy, 4 connections in the queue, then all idle again."""
    app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port, THREADS=2, WORK_MS=700)
    callers = [threading.Thread(target=app.get, args=("/get",)) for _ in range(6)]
    for caller in callers:
        caller.start()
    time.sleep(0.35)
    assert app.metric("app_threads") == 2
    assert app.metric("app_busy_threads") == 2
    queued = [app.metric(f'app_queued_connections{{where="{where}"}}') for where in ("worker", "kernel")]
    assert sum(queued) == 4
    for caller in callers:
        caller.join(10)
    assert app.metric("app_busy_threads") == 0
    assert app.metric('app_queued_connections{where="worker"}') == 0


def test_latency_by_endpoint(start_app, redis_server):
    """Every request is counted once, by endpoint and status; unknown paths share one name."""
    app = start_app(REDIS_ENDPOINT="127.0.0.1", REDIS_PORT=redis_server.port, WORK_MS=20)
    for path in ("/get", "/get", "/set", "/a", "/b"):
        app.get(path)
    name = "app_request_duration_seconds"
    assert app.metric(f'{name}_count{{endpoint="/get",status="200"}}') == 2
    assert app.metric(f'{name}_count{{endpoint="/set",status="200"}}') == 1
    assert app.metric(f'{name}_count{{endpoint="other",status="404"}}') == 2
    assert app.metric(f'{name}_sum{{endpoint="/get",status="200"}}') >= 0.04
    assert app.metric(f'{name}_bucket{{endpoint="/get",le="0.016",status="200"}}') == 0
    assert app.metric("process_cpu_seconds_total") > 0
    assert app.metric("process_resident_memory_bytes") > 1_000_000


def test_accept_queue():
    """The accept queue is the receive queue of the listening socket; others on the port do not count."""
    spec = importlib.util.spec_from_file_location("app_metrics_under_test", APP / "metrics.py")
    assert spec
    assert spec.loader
    metrics = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(metrics)
    sockets = (
        "0: 00000000:1388 00000000:0000 0A 00000000:00000011 00:00000000 00000000 1000 0 1",
        "1: 0100007F:1388 0100007F:C350 01 00000000:00000099 00:00000000 00000000 1000 0 2",
        "2: 00000000:238E 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 3",
    )
    table = "\n".join(
        ("sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid", *sockets)
    )
    assert metrics.accept_queue(5000, table) == 17
    assert metrics.accept_queue(9102, table) == 0
    assert metrics.accept_queue(6000, table) is None
