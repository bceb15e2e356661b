"""What zone affinity saved, beside the formula: several runs of an experiment, each with and without it.

    python benchmarks/bench_zones.py experiments/az-affinity-plain.json --runs 6 --var connection=fresh --var zone_delay_ms=5
    python benchmarks/bench_zones.py --read reports/az-affinity-plain

Each run measures the mean latency of the same load before and after affinity, the share of packets that crossed, counted
by the kernel, and the round trip between the zones; the formula is round trips x (share before - after) x round trip. A
row is one combination of form, kind of connection and delay; the interval is Student's, 95 %. Runs that were not valid
are counted and left out. Needs the lab that the experiment needs, or none: each run then starts its own. Exit 1 when a
row is further than 10 % from its formula.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from meshverdict.analysis.zones import share_of_request

# 97.5 % quantiles of Student's t by degrees of freedom.
STUDENT = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
    10: 2.228,
    11: 2.201,
    15: 2.131,
    20: 2.086,
    30: 2.042,
}
TOLERANCE = 0.1
Row = dict[str, Any]


def run(experiment: str, variables: list[str]) -> Path | None:
    """One run; its folder, None when there is none."""
    with tempfile.TemporaryDirectory() as scratch:
        tell = Path(scratch) / "tell"
        given = [part for value in variables for part in ("--var", value)]
        chaos = Path(sys.executable).parent / "chaos"
        argv: list[str | Path] = [chaos, "--no-version-check", "--log-file", os.devnull, "run", *given]
        argv += ["--journal-path", Path(scratch) / "journal.json", experiment]
        environ = os.environ | {"MESHVERDICT_TELL": str(tell), "MESHVERDICT_QUIET": "1"}
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
        if not tell.is_file():
            print("a run that never was:", *done.stderr.splitlines()[-5:], sep="\n  ", file=sys.stderr)
            return None
        return Path(tell.read_text().strip())


def invalid(folder: Path) -> bool:
    """Whether the product's own judge refuses the run."""
    argv: list[str | Path] = [
        Path(sys.executable).parent / "meshverdict",
        "report",
        str(folder),
        "--check",
        "-o",
        "json",
    ]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 3


def rows(folders: list[Path]) -> tuple[dict[tuple[Any, ...], list[Row]], int]:
    """What the runs saved, by form, connection and delay; and how many could not be used."""
    found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    left_out = 0
    for folder in folders:
        told = json.loads((folder / "run.json").read_text())
        saving = (told["measures"].get("zones") or {}).get("saving")
        if told["arm"] == "control":
            continue
        if saving is None or invalid(folder):
            left_out += 1
            continue
        values = told["variables"]
        found[values.get("form"), saving["connection"], values.get("zone_delay_ms")].append(saving)
    return found, left_out


def line(key: tuple[Any, ...], runs: list[Row]) -> tuple[str, bool]:
    """One row of the table, and whether it agrees with the formula."""
    saved = np.array([r["saved_ms"] for r in runs])
    formula = np.array([r["formula_ms"] for r in runs])
    off = float((saved - formula).mean())
    half = 0.0
    if len(runs) > 1:
        spread = float((saved - formula).std(ddof=1)) / len(runs) ** 0.5
        half = STUDENT[max(df for df in STUDENT if df < len(runs))] * spread  # the next lower row: wider
    mean = {k: float(np.mean([r[k]["mean_ms"] for r in runs])) for k in ("with", "without")}
    crossing = {k: float(np.mean([r[k]["crossing"] for r in runs])) for k in ("with", "without")}
    ratio = float(saved.mean() / formula.mean())
    form, connection, delay = key
    text = (
        f"{form!s:12} {connection:8} {delay!s:>5} {len(runs):3d} {mean['without']:8.2f} {mean['with']:7.2f}"
        f" {crossing['without']:8.3f} {crossing['with']:7.4f} {saved.mean():7.2f} {formula.mean():8.2f} {ratio:6.3f}"
        f"  {off:+.2f} +-{half:.2f} ms  {share_of_request(float(saved.mean()), mean['without']):4.0%}"
    )
    return text, abs(ratio - 1) <= TOLERANCE


def main() -> int:
    """Run, or read what was run, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", nargs="?")
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--var", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--read", action="append", default=[], metavar="FOLDER", type=Path)
    options = parser.parse_args()
    folders = [run.parent for folder in options.read for run in sorted(folder.glob("*/run.json"))]
    if not options.experiment and not folders:
        parser.error("name an experiment to run, or with --read a folder of its runs")
    made = [run(options.experiment, options.var) for _ in range(options.runs)] if options.experiment else []
    found, left_out = rows(folders + [folder for folder in made if folder is not None])
    left_out += made.count(None)
    print(
        f"{'form':12} {'redis':8} {'delay':>5} {'n':>3} {'without':>8} {'with':>7} {'crossing':>8} {'':>7}"
        f" {'saved':>7} {'formula':>8} {'ratio':>6}  difference         of the request"
    )
    agree = True
    for key in sorted(found, key=str):
        text, good = line(key, found[key])
        agree &= good
        print(text + ("" if good else "  OUTSIDE 10 %"))
    print(f"{left_out} runs left out: not valid, or ended before they had measured")
    return 0 if agree and found else 1


if __name__ == "__main__":
    sys.exit(main())
