"""Run the comparison: ``python -m benchmarks.load_accuracy [--quick] [--json FILE] [--plot FILE]``.

Four parts, generators interleaved: latencies under a 200 ms stall every 2 s; the highest rate at which one core
stays clean; send lag on a loaded machine; how often the validity check is right. What is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.load_accuracy import plot, server, truth
from benchmarks.load_accuracy.generators import GENERATORS, Generator, Run, ours
from meshverdict.model.histogram import Histogram
from meshverdict.model.validity import check_load

STALL_S, PERIOD_S, RATE = 0.2, 2.0, 400
CLEAN_P99_MS = 2.0
# Every stall holds the same due times, on a grid of 1/RATE. Where a quantile's rank lies on the border of two of its
# positions, one request more or less is a step of 2.5 ms, which says nothing of a generator: after whole periods p95 and
# p99 always do, after 17 s in 4 of 100 positions of the first stall.
DURATION_S = 17


def measure_stall(generator: Generator, port: int, duration: int) -> dict[str, Any]:
    """One run under stalls: reported, true, and the errors."""
    base = server.round_trip(port, RATE)
    with tempfile.TemporaryDirectory() as folder:
        offset = time.time() - time.monotonic()
        result = generator.run(Run(port, RATE, duration, Path(folder)))
    base = min(base, server.round_trip(port, RATE))
    due = [when - offset for when in result.due] if result.due is not None else truth.even(RATE, duration)
    true = truth.true_quantiles(due, STALL_S, PERIOD_S, base)
    p50_error, tail = truth.errors(result.reported, true)
    return {
        "requests": result.requests,
        "reported_ms": {str(q): v and v * 1e3 for q, v in result.reported.items()},
        "true_ms": {str(q): v * 1e3 for q, v in true.items()},
        "p50_error_ms": p50_error,
        "worst_tail_error": tail,
        "lag_us": [value * 1e6 for value in result.lag] if result.lag else None,
        "valid": None if result.record is None else list(check_load(result.record).reasons),
        "cpu_s": result.cpu,
    }


def measure_rates(rates: list[int], duration: int) -> list[dict[str, Any]]:
    """Our highest clean rate: every arrival sent, p99 below 2 ms."""
    rows = []
    with server.stalling(0, 1000) as port:
        for rate in rates:
            with tempfile.TemporaryDirectory() as folder:
                result = ours(Run(port, rate, duration, Path(folder)))
            assert result.record is not None  # noqa: S101  # ours always has one
            scheduled = sum(second.scheduled for second in result.record.generator)
            sent = sum(second.sent for second in result.record.generator)
            p99 = (result.reported[0.99] or math.inf) * 1e3
            clean = p99 < CLEAN_P99_MS and sent == scheduled == rate * duration
            rows.append(
                {
                    "rate": rate,
                    "sent": sent,
                    "scheduled": scheduled,
                    "p50_ms": (result.reported[0.5] or 0) * 1e3,
                }
            )
            rows[-1] |= {"p99_ms": p99, "clean": clean, "lag_p99_us": (result.lag or (0, 0))[1] * 1e6}
            print(
                f"  {rate:6d}/s  sent {sent}/{scheduled}  p99 {p99:8.3f} ms  {'clean' if clean else 'NOT clean'}"
            )
    return rows


@contextlib.contextmanager
def busy(loops: int) -> Iterator[None]:
    """Busy loops, so that nobody has a core alone."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure_lag(duration: int) -> list[dict[str, Any]]:
    """Our send lag on a loaded machine, with and without real-time priority, and what the validity check says."""
    rows = []
    cores = os.cpu_count() or 1
    for name, loops in (("quiet", 0), ("loaded", 2 * cores)):
        for priority in ("fifo", "normal"):
            with server.stalling(0, 1000) as port, busy(loops), tempfile.TemporaryDirectory() as folder:
                os.environ["MESHVERDICT_PRIORITY"] = priority
                result = ours(Run(port, RATE, duration, Path(folder)))
                del os.environ["MESHVERDICT_PRIORITY"]
            assert result.record is not None  # noqa: S101  # ours always has one
            reasons = check_load(result.record).reasons
            got = {second.priority for second in result.record.generator}
            lag = [value * 1e6 for value in result.lag or ()]
            rows.append(
                {"machine": name, "asked": priority, "got": sorted(got), "lag_us": lag, "reasons": reasons}
            )
            verdict = "invalid: " + "; ".join(reasons) if reasons else "valid"
            print(f"  {name:7s} {priority:6s}  lag p50 {lag[0]:7.1f} us  p99 {lag[1]:9.1f} us  {verdict}")
    return rows


def measure_validity(repeats: int, duration: int) -> dict[str, int]:
    """How often a healthy run is believed, and how often one without a core to itself is not."""
    found = {"repeats": repeats, "healthy_valid": 0, "starved_invalid": 0}
    loops = 2 * (os.cpu_count() or 1)
    for _ in range(repeats):
        for name, others in (("healthy_valid", 0), ("starved_invalid", loops)):
            with server.stalling(0, 1000) as port, busy(others), tempfile.TemporaryDirectory() as folder:
                result = ours(Run(port, RATE, duration, Path(folder)))
            assert result.record is not None  # noqa: S101  # ours always has one
            found[name] += bool(check_load(result.record).reasons) == bool(others)
    return found


def recorder_cost(samples: int = 1_000_000) -> float:
    """Nanoseconds that the histogram takes for one sample."""
    histogram = Histogram()
    values = [100.0 + n % 10_000 for n in range(samples)]
    began = time.perf_counter()
    for value in values:
        histogram.add(value)
    return (time.perf_counter() - began) / samples * 1e9


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and the worst of several runs of one generator."""
    medians = [run["p50_error_ms"] for run in runs]
    tails = [run["worst_tail_error"] for run in runs]
    return {
        "p50_error_ms": statistics.median(medians),
        "p50_error_ms_worst": max(medians),
        "worst_tail_error": max(tails),
        "requests": statistics.median(run["requests"] for run in runs),
        "per_cpu_second": statistics.median(run["requests"] / max(run["cpu_s"], 0.01) for run in runs),
        "runs": runs,
    }


def table(generators: dict[str, Any]) -> str:
    """The comparison as text."""
    lines = [
        f"{'generator':22s} {'p50 err ms':>10s} {'tail err':>9s}   reported p50/p95/p99/p99.9 ms (last run)"
    ]
    for name, row in generators.items():
        reported = row["runs"][-1]["reported_ms"]
        cells = "/".join("-" if (v := reported.get(str(q))) is None else f"{v:.2f}" for q in truth.SHARES)
        lines.append(f"{name:22s} {row['p50_error_ms']:10.3f} {row['worst_tail_error']:9.2%}   {cells}")
    true = next(iter(generators.values()))["runs"][-1]["true_ms"]
    lines.append(f"{'truth':22s} {'':10s} {'':9s}   " + "/".join(f"{true[str(q)]:.2f}" for q in truth.SHARES))
    return "\n".join(lines)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load_accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, shorter runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the errors as an SVG picture")
    parser.add_argument("--only", choices=["stall", "rate", "lag", "validity"], help="one part")
    options = parser.parse_args()
    repeats = 2 if options.quick else 5
    found: dict[str, Any] = {
        "format": "load-accuracy/1",
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
    }
    found |= {"time": time.time(), "rate": RATE, "stall_ms": STALL_S * 1e3, "period_ms": PERIOD_S * 1e3}
    if options.only in {None, "stall"}:
        found |= _stall_part(repeats, DURATION_S)
    if options.only in {None, "rate"}:
        print("highest clean rate on one core:")
        rates = [5000, 20000] if options.quick else [5000, 10000, 20000, 25000, 30000, 40000]
        found["rates"] = measure_rates(rates, 4 if options.quick else 8)
    if options.only in {None, "lag"}:
        print("send lag:")
        found["lag"] = measure_lag(4 if options.quick else 8)
        found["recorder_ns"] = recorder_cost()
        print(f"  recorder: {found['recorder_ns']:.0f} ns a sample")
    if options.only in {None, "validity"}:
        counts = found["validity"] = measure_validity(2 if options.quick else 10, 5)
        of = counts["repeats"]
        print(
            f"validity: healthy runs believed {counts['healthy_valid']} of {of},"
            f" starved ones not {counts['starved_invalid']} of {of}"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.plot and "generators" in found:
        options.plot.write_text(plot.errors(found["generators"]))
    return 0


def _stall_part(repeats: int, duration: int) -> dict[str, Any]:
    there = [generator for generator in GENERATORS if generator.there]
    absent = [generator.name for generator in GENERATORS if not generator.there]
    if absent:
        print(f"not installed, left out: {', '.join(absent)}")
    runs: dict[str, list[dict[str, Any]]] = {generator.name: [] for generator in there}
    with server.stalling(STALL_S * 1e3, PERIOD_S * 1e3) as port:
        for repeat in range(repeats):
            for generator in there:
                row = measure_stall(generator, port, duration)
                runs[generator.name].append(row)
                print(
                    f"  {repeat + 1}/{repeats} {generator.name:22s} p50 error {row['p50_error_ms']:.3f} ms,"
                    f" worst tail error {row['worst_tail_error']:.2%}",
                    flush=True,
                )
    generators = {name: summary(rows) for name, rows in runs.items()}
    print(table(generators))
    return {"generators": generators, "absent": absent}


if __name__ == "__main__":
    raise SystemExit(main())
