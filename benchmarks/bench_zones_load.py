"""Up to which load the figures of sixteen pods with sidecars, over two zones, are the service's and not the cores'.

    python benchmarks/bench_zones_load.py [--rates 40,80,160,240,320] [--rounds 2] [--json FILE]

One lab with ten callers and six caches, each with a sidecar, and a millisecond between the zones; the rates in turn,
each round from the first again. A row is one rate: whether the product's own judge believes its runs, and why not, how
late the generator and the delay line were, how much of the time somebody waited for a core (the kernel's PSI: the run
queue), and what a request took. The rate above which that is no longer clean is printed; there is no bar to pass.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from meshverdict.analysis.load_table import OK
from meshverdict.model.histogram import Histogram
from meshverdict.report.files import read_run
from meshverdict.report.judge import could_not_measure

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENT = "experiments/az-affinity.json"
FOLDERS = ("manifests/04-load", "manifests/paperino", "manifests/pippo")
POLICY = "manifests/policies/pippo-in-mesh.yaml"
Row = dict[str, Any]


def command(*words: str, state: str, tie: int | None = None) -> subprocess.CompletedProcess[str]:
    """The product's own command, with a state folder of its own."""
    program = Path(sys.executable).parent / "meshverdict"
    environ = os.environ | {"XDG_STATE_HOME": state, "MESHVERDICT_QUIET": "1"}
    return subprocess.run(
        [program, *words],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        pass_fds=() if tie is None else (tie,),
    )


def measure(rate: float, state: str, reports: str) -> Row:
    """One run at a rate; what it says of itself."""
    variables = {"rate": f"{rate:g}", "apart_s": "10", "treated_s": "10"}
    given = [word for name, value in variables.items() for word in ("--var", f"{name}={value}")]
    done = command("run", EXPERIMENT, *given, "--reports", reports, "-o", "json", state=state)
    try:
        folder = Path(json.loads(done.stdout)["run"])
    except (ValueError, KeyError):
        return {"rate": rate, "reasons": [f"there was no run: {done.stderr.strip()[-300:]}"]}
    return {"rate": rate, **facts(folder)}


def facts(folder: Path) -> Row:
    """What a run folder tells of lateness, cores and latency."""
    contents = read_run(folder)
    found: Row = {"reasons": list(could_not_measure(contents))}
    table = contents.table
    if table is None or contents.load is None:
        return found
    lines = [json.loads(line) for line in (folder / "telemetry.jsonl").read_text().splitlines()]
    line = Histogram.merged(
        Histogram.from_json(one["delay_line"]["late"]) for one in lines if "delay_line" in one
    )
    p50, p99 = table.quantiles_ms(table.rows(outcomes=(OK,)), (0.5, 0.99))
    told = [second.pressure for second in contents.load.generator if second.pressure is not None]
    lag, late = contents.load.send_lag.quantile(0.99), line.quantile(0.99)
    return found | {
        "lag_p99_ms": None if lag is None else lag / 1e3,
        "line_p99_ms": None if late is None else late / 1e3,
        "pressure": statistics.fmean(told) if told else None,
        "p50_ms": p50,
        "p99_ms": p99,
    }


def middle(rows: list[Row], name: str) -> float | None:
    """The median of what the rows tell of it."""
    values = [row[name] for row in rows if row.get(name) is not None]
    return statistics.median(values) if values else None


def table_of(rows: list[Row]) -> tuple[str, float | None]:
    """A line for each rate, and the highest rate up to which every run was clean."""
    names = ("lag_p99_ms", "line_p99_ms", "pressure", "p50_ms", "p99_ms")
    text = [f"{'rate':>6} {'clean':>7} " + " ".join(f"{name:>12}" for name in names)]
    clean, still = None, True
    for rate in sorted({row["rate"] for row in rows}):
        same = [row for row in rows if row["rate"] == rate]
        good = sum(not row["reasons"] for row in same)
        still = still and good == len(same)
        clean = rate if still else clean
        figures = (middle(same, name) for name in names)
        shown = " ".join(f"{'-' if value is None else f'{value:.2f}':>12}" for value in figures)
        reasons = dict.fromkeys(reason for row in same for reason in row["reasons"])
        text.append(
            f"{rate:6g} {good:>3} of {len(same)} {shown}" + "".join(f"\n         {r}" for r in reasons)
        )
    return "\n".join(text), clean


def main() -> int:
    """Measure and print; 1 where nothing could be measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", default="40,80,160,240,320")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rates = [float(word) for word in options.rates.split(",")]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="meshverdict-zones-") as state:
        manifests = [word for name in (*FOLDERS, POLICY) for word in ("--manifests", name)]
        # However this program ends, its lab ends with it.
        tie, kept = os.pipe()
        words = ("up", "--zones", "2", "--zone-delay", "1", "--sidecars", "--tie", str(tie), *manifests)
        up = command(*words, state=state, tie=tie)
        os.close(tie)
        if up.returncode:
            print(up.stderr, file=sys.stderr)
            return 1
        try:
            for number in range(options.rounds):
                for rate in rates:
                    rows.append(measure(rate, state, f"{state}/reports"))
                    print(f"round {number + 1}, {rate:g}/s: {rows[-1]}", file=sys.stderr, flush=True)
        finally:
            command("down", state=state)
            os.close(kept)
    text, clean = table_of(rows)
    print(text)
    print("clean at none of them" if clean is None else f"clean up to {clean:g} requests a second")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0 if any("lag_p99_ms" in row for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
