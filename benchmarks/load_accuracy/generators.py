"""The generators under comparison: how each is called, and how its report is read. Seconds everywhere."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from meshverdict.model.histogram import Histogram
from meshverdict.model.record_reader import LoadRecord, read_record

HERE = Path(__file__).parent
Reported = dict[float, float | None]
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Run:
    """What one generator is asked to do."""

    port: int
    rate: int
    duration: int
    folder: Path

    @property
    def url(self) -> str:
        """The server."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(slots=True)
class Result:
    """What a generator said.

    Attributes:
        due: When its requests were due, wall clock; None if it does not tell.
        lag: Quantiles 0.5 and 0.99 of its send lag; None if it does not tell.
    """

    requests: int
    reported: Reported
    cpu: float = 0.0
    due: array[float] | None = None
    lag: tuple[float, float] | None = None
    failures: int = 0
    record: LoadRecord | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Generator:
    """A program that makes load."""

    name: str
    program: str
    run: Callable[[Run], Result]

    @property
    def there(self) -> bool:
        """Whether it is installed."""
        return shutil.which(self.program) is not None


CONNECTIONS = 20


def execute(
    argv: list[str], run: Run, environment: dict[str, str] | None = None, core: int = 1
) -> tuple[str, float]:
    """Run a program pinned to a core; its standard output and its CPU seconds."""
    before = os.times()
    pinned = ["taskset", "-c", str(core % (os.cpu_count() or 1)), *argv]
    done = subprocess.run(
        pinned,
        env={**os.environ, **(environment or {})},
        cwd=run.folder,
        capture_output=True,
        text=True,
        timeout=run.duration + 60,
        check=False,
    )
    after = os.times()
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, cpu


def _locust(file: str, run: Run, *arguments: str, **environment: str) -> float:
    argv = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(HERE / file),
        "--headless",
        "-H",
        run.url,
        "--only-summary",
    ]
    argv += ["-t", f"{run.duration}s", "--loglevel", "ERROR", *arguments]
    return execute(argv, run, environment)[1]


def ours(run: Run) -> Result:
    """The open loop of this project; reported is its record."""
    due = run.folder / "due"
    arguments = ["--rate", str(run.rate), "--arrivals", "constant", "--record", "load.jsonl"]
    slow = {"DUE_FILE": str(due)} if run.rate <= 2000 else {}  # a listener for every request has its price
    cpu = _locust("locust_open.py", run, *arguments, **slow)
    record = read_record(run.folder / "load.jsonl")
    latency = Histogram.merged(second.latency for second in record.seconds)
    lag = Histogram.merged(second.lag for second in record.generator if second.lag is not None)
    times = array("d")
    if due.exists():
        times.frombytes(due.read_bytes())
    half, most = (value or 0.0 for value in lag.quantiles((0.5, 0.99)))
    return Result(
        requests=latency.n,
        reported={q: (latency.quantile(q) or 0.0) / 1e6 for q in (0.5, 0.95, 0.99, 0.999)},
        cpu=cpu,
        due=times or None,
        lag=(half / 1e6, most / 1e6),
        failures=sum(second.n for second in record.seconds if second.outcome != "ok"),
        record=record,
    )


def stock(kind: str) -> Callable[[Run], Result]:
    """Stock Locust with so many users of *kind* that they make the rate."""

    def go(run: Run) -> Result:
        users = str(CONNECTIONS)
        per_user = str(run.rate / CONNECTIONS)
        arguments = ["-u", users, "-r", users, "--csv", str(run.folder / "stock")]
        cpu = _locust("locust_closed.py", run, *arguments, KIND=kind, PER_USER=per_user)
        with (run.folder / "stock_stats.csv").open() as file:
            row = next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
        columns = {0.5: "50%", 0.95: "95%", 0.99: "99%", 0.999: "99.9%"}
        reported: Reported = {q: float(row[name]) / 1e3 for q, name in columns.items()}
        return Result(int(row["Request Count"]), reported, cpu, failures=int(row["Failure Count"]))

    return go


def wrk(run: Run) -> Result:
    """Wrk knows no rate: it goes as fast as answers come."""
    argv = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{run.duration}s", "--latency", f"{run.url}/"]
    text, cpu = execute(argv, run)
    found = {
        float(share) / 100: float(value) * _UNITS[unit]
        for share, value, unit in re.findall(r"^\s*([\d.]+)%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    }
    requests = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]  # wrk always says
    return Result(requests, {0.5: found.get(0.5), 0.99: found.get(0.99)}, cpu)


def hey(run: Run) -> Result:
    """Hey with a rate for each of its workers."""
    per_worker = max(1, run.rate // CONNECTIONS)
    argv = [
        "hey",
        "-cpus",
        "1",
        "-c",
        str(CONNECTIONS),
        "-q",
        str(per_worker),
        "-z",
        f"{run.duration}s",
        f"{run.url}/",
    ]
    text, cpu = execute(argv, run)
    found: Reported = {
        float(q) / 100: float(value) for q, value in re.findall(r"(\d+)% in ([\d.]+) secs", text)
    }
    requests = sum(int(n) for n in re.findall(r"\[200\]\s+(\d+) responses", text))
    return Result(requests, {q: found.get(q) for q in (0.5, 0.95, 0.99)}, cpu)


GENERATORS = (
    Generator("meshverdict", sys.executable, ours),
    Generator("locust HttpUser", sys.executable, stock("HttpUser")),
    Generator("locust FastHttpUser", sys.executable, stock("FastHttpUser")),
    Generator("wrk", "wrk", wrk),
    Generator("hey", "hey", hey),
)
