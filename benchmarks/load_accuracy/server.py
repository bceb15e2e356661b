"""Compile, start and stop the server with known stalls."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent / "stallserver.c"


def binary() -> Path:
    """The compiled server; compiled on first use into the user's cache."""
    text = SOURCE.read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meshverdict"
    path = cache / f"stallserver-{hashlib.sha256(text).hexdigest()[:12]}"
    if path.exists():
        return path
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("load_accuracy needs a C compiler for its server: apt-get install gcc libc6-dev")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        new = Path(folder) / "stallserver"
        subprocess.run([compiler, "-O2", "-o", str(new), str(SOURCE)], check=True)
        new.rename(path)
    return path


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _as_real_time(argv: list[str]) -> list[str]:
    """With real-time priority where that is allowed: the server must not add stalls of its own."""
    probe = subprocess.run(["chrt", "-f", "1", "true"], capture_output=True, check=False)
    return ["chrt", "-f", "1", *argv] if probe.returncode == 0 else argv


@contextlib.contextmanager
def stalling(stall_ms: float, period_ms: float) -> Iterator[int]:
    """A running server on core 0; yields its port."""
    port = free_port()
    argv = ["taskset", "-c", "0", str(binary()), "serve", str(port), str(stall_ms), str(period_ms)]
    with subprocess.Popen(_as_real_time(argv)) as process:
        try:
            _await(port)
            yield port
        finally:
            process.terminate()
            process.wait(5)


def _await(port: int) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError("the stalling server does not answer")


def round_trip(port: int, rate: float, seconds: float = 1.0) -> float:
    """Median round trip in seconds, by a client in C that sends as often as the generators do."""
    count = max(100, int(min(rate, 400.0) * seconds))
    gap = str(1e6 / min(rate, 400.0))
    argv = _as_real_time(["taskset", "-c", "1", str(binary()), "probe", str(port), str(count), gap])
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout) / 1e6
