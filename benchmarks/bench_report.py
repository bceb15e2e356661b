"""Why: a report must stay quick and small when a run was long: ten million requests are an afternoon of load.

A run folder is made up from the example's: the same phases stretched over 2,000 s, with 5,000 made-up latencies
a second. `meshverdict report` builds its page, whose time, peak memory and size are measured beside the example's
own; with Chromium on PATH also the time until the browser has loaded each page, beside an empty one.

    python benchmarks/bench_report.py [--requests 10000000] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

EXAMPLE = Path(__file__).resolve().parents[1] / "reports" / "example" / "isolate-redis"
SECONDS = 2000
RATIO = 1.005
PHASES = (("baseline", 0, 800), ("treated", 800, 1600), ("restored", 1600, 2000))
AIM_S, AIM_MB, AIM_PAGE_MB, AIM_BROWSER_S = 2.0, 400.0, 2.0, 1.0


def main() -> int:
    """Measure in turn and print; 0 when all is within the aims."""
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="meshverdict-report-") as name:
        folder = Path(name)
        pages = {"example": copy(folder / "example"), "long": make_up(folder / "long", options.requests)}
        (folder / "empty.html").write_text("<!doctype html><title>empty</title>")
        rows: dict[str, list[dict[str, float]]] = {page: [] for page in pages}
        for _ in range(options.rounds):
            for page, run in pages.items():
                rows[page].append(build(run))
            empty = load(folder / "empty.html")
            for page, run in pages.items():
                rows[page][-1]["browser_s"] = load(run / "report.html") - empty
        size = {page: (run / "report.html").stat().st_size / 1e6 for page, run in pages.items()}
    medians: dict[str, dict[str, float]] = {
        page: {key: statistics.median(row[key] for row in found) for key in found[0]}
        | {"page_mb": size[page]}
        for page, found in rows.items()
    }
    print(
        f"{'':8s} {'build s':>8s} {'peak MB':>8s} {'page MB':>8s} {'browser s':>10s}   (medians of {options.rounds})"
    )
    for page, row in medians.items():
        print(
            f"{page:8s} {row['build_s']:8.2f} {row['peak_mb']:8.0f} {row['page_mb']:8.2f} {row['browser_s']:10.2f}"
        )
    if options.json:
        Path(options.json).write_text(
            json.dumps({"requests": options.requests, "rounds": rows}, indent=2) + "\n"
        )
    it = medians["long"]
    good = it["build_s"] <= AIM_S and it["peak_mb"] <= AIM_MB and it["page_mb"] <= AIM_PAGE_MB
    return 0 if good and not it["browser_s"] > AIM_BROWSER_S else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What a report of a long run costs.")
    parser.add_argument("--requests", type=int, default=10_000_000, help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default %(default)s")
    parser.add_argument("--json", metavar="FILE", help="write every round here")
    return parser.parse_args()


def copy(target: Path) -> Path:
    """The example's run folder."""
    shutil.copytree(EXAMPLE, target)
    return target


def make_up(target: Path, requests: int) -> Path:
    """A run folder like the example's with *requests* requests over SECONDS."""
    copy(target)
    run: dict[str, Any] = json.loads((target / "run.json").read_text())
    start = int(run["started"] if isinstance(run["started"], int | float) else run["phases"][0]["start"])
    run["phases"] = [{"name": n, "start": start + a, "end": start + b} for n, a, b in PHASES]
    run["treatment"] = {"applied": start + 800.0, "in_effect": start + 800.01, "removed": start + 1600.0}
    run["treatment"]["restored"] = start + 1600.01
    (target / "run.json").write_text(json.dumps(run))
    header = json.loads((target / "load.jsonl").read_text().splitlines()[0])
    lines = [header | {"start": float(start), "ratio": RATIO, "rate": requests / SECONDS, "rates": None}]
    random = np.random.default_rng(1)
    for second in range(start, start + SECONDS):
        lines += one_second(random, second, requests // SECONDS)
    lines.append({"end": float(start + SECONDS), "reason": "done", "lines": len(lines) + 1})
    (target / "load.jsonl").write_text(
        "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    )
    return target


def one_second(random: np.random.Generator, t: int, count: int) -> list[dict[str, Any]]:
    """The lines of one second: three endpoints, and how the generator did."""
    lines: list[dict[str, Any]] = []
    left = count
    for name, share in (("/count/get", 0.65), ("/count/set", 0.32), ("/redis/GET/time", 1.0)):
        n = left if share == 1.0 else int(count * share)
        left -= n
        latency = histogram(random.lognormal(7.6, 0.5, n))
        line = {"t": t, "w": 0, "name": name, "outcome": "ok", "status": 200, "n": n, "latency": latency}
        lines.append(line)
    did: dict[str, Any] = {
        "scheduled": count,
        "sent": count,
        "dropped": 0,
        "in_flight": 3,
        "connections": 20,
        "cpu": 0.4,
    }
    did |= {
        "lag": histogram(random.lognormal(3.0, 0.6, count)),
        "priority": "fifo",
        "opened": 0,
        "pressure": 0.01,
    }
    return [*lines, {"t": t, "w": 0, "generator": did | {"steal_ms": 0.0, "clock_step_ms": 0.0}}]


def histogram(microseconds: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, list[int]]:
    """Buckets of the record: bucket i holds [RATIO^i, RATIO^(i+1)) microseconds."""
    index, counts = np.unique((np.log(microseconds) / np.log(RATIO)).astype(int), return_counts=True)
    return {"i": index.tolist(), "c": counts.tolist()}


# A process of its own: a child's peak begins at the memory of whoever forked it.
MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=False).returncode
took = time.perf_counter() - began
print(code, took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def build(run: Path) -> dict[str, float]:
    """Seconds and peak memory of `meshverdict report`, the interpreter's start included."""
    command = [sys.executable, "-c", MEASURE, sys.executable, "-m", "meshverdict", "report", str(run)]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    code, took, peak = said.stdout.split()
    if code != "0":
        sys.exit(f"no report: {said.stderr}")
    return {"build_s": float(took), "peak_mb": float(peak)}


def load(page: Path) -> float:
    """Seconds until Chromium has loaded and laid out the page; not a number without Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return float("nan")
    with tempfile.TemporaryDirectory() as profile:
        began = time.perf_counter()
        subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                f"--user-data-dir={profile}",
                "--dump-dom",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
