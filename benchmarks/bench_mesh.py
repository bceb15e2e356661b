"""Why: what a sidecar costs here, so that nobody takes the lab's price for the mesh's.

Three measures: how long the four-tier lab takes from nothing to the first answer, with sidecars and without; the memory of
a sidecar (PSS: shared pages are divided among those who share them); and for a client and a server with no sidecar or both
with one, latency and Envoy's processor time a request.

    python benchmarks/bench_mesh.py [--starts 5] [--rate 200] [--seconds 10] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.mesh.lab import (
    GROUPS,
    NAMESPACE,
    Api,
    client,
    lab,
    programs,
    server,
    service,
    sidecars_of,
    wait_done,
)

AIM_START_S = 6.0
AIM_PSS_MB = 30.0
NAME = "bench-mesh"
INJECT = "sidecar.istio.io/inject"


def main() -> int:
    """Measure and print; 0 when start and memory are within their aims."""
    parser = argparse.ArgumentParser(description="What sidecars cost in the lab.")
    parser.add_argument("--starts", type=int, default=5, help="with and without (default %(default)s)")
    parser.add_argument("--rate", type=float, default=200, help="requests a second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="of each load (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the results here")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the lab ends with us, as with Ctrl-C
    starts: dict[str, list[float]] = {"without": [], "with sidecars": []}
    pss: list[float] = []
    for _ in range(options.starts):  # interleaved, so that both meet the same machine
        starts["without"].append(start()[0])
        took, found = start("--sidecars")
        starts["with sidecars"].append(took)
        pss += found
    for name, times in starts.items():
        print(
            f"nothing -> four tiers Ready and answering, {name:<14} median {statistics.median(times):.2f} s, max {max(times):.2f} s"
        )
    print(
        f"PSS of a sidecar: median {statistics.median(pss):.1f} MB, max {max(pss):.1f} MB ({len(pss)} Envoys)"
    )
    with lab(NAME) as api:
        costs = {inject: cost(api, options.rate, options.seconds, inject=inject) for inject in (False, True)}
    for inject, figures in costs.items():
        print(
            f"client and server {'with sidecars and mTLS' if inject else 'without sidecars':<24} at {options.rate:g}/s:"
            f" p50 {figures['p50_ms']:.2f} ms, p99 {figures['p99_ms']:.2f} ms,"
            f" Envoys {figures['envoy_us']:.0f} us of processor a request (both together)"
        )
    if options.json:
        Path(options.json).write_text(
            json.dumps({"starts": starts, "pss_mb": pss, "costs": costs}, indent=2) + "\n"
        )
    return 0 if max(starts["with sidecars"]) <= AIM_START_S and max(pss) <= AIM_PSS_MB else 1


def start(*options: str) -> tuple[float, list[float]]:
    """Seconds until everything is Ready and the ingress answers; PSS of the sidecars in MB."""
    command = [sys.executable, "-m", "meshverdict"]
    up = [*command, "up", "--name", NAME, "--port", "8281", "-o", "json", *options]
    done = subprocess.run(up, stdout=subprocess.PIPE, check=False, text=True)
    if done.returncode != 0:
        sys.exit(f"no lab: {done.stdout}")
    info = json.loads(done.stdout)
    try:
        return info["ready_s"], [pss_mb(pid) for pid in sidecars_of(info["pid"])]
    finally:
        subprocess.run([*command, "down", "--name", NAME], stdout=subprocess.DEVNULL, check=True)


def pss_mb(pid: int) -> float:
    """Proportional set size of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def cost(api: Api, rate: float, seconds: float, *, inject: bool) -> dict[str, float]:
    """Latency and Envoy's time a request."""
    name = "mesh" if inject else "plain"
    deployment = server(name, 1)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    labels[INJECT] = str(inject).lower()
    for manifest in (programs(), service(), deployment):
        path = api.apply(manifest)
    api.wait_ready(1)
    pod: dict[str, Any] = client(rate, seconds, name=f"client-{name}")
    pod["metadata"]["labels"][INJECT] = str(inject).lower()
    before = _cpu_s(api)
    api.apply(pod)
    lines = [line for line in wait_done(api, f"client-{name}") if "us" in line]
    # The first second has the start of everything in it.
    late = sorted(us for line in lines[1:] for us in line["us"])
    requests = sum(len(line["us"]) for line in lines)
    lost = sum(n for line in lines for outcome, n in line["outcomes"].items() if outcome.startswith("lost"))
    if lost or not requests:
        sys.exit(
            f"{lost} of {requests} requests were lost {'with' if inject else 'without'} sidecars: no price"
        )
    spent = _cpu_s(api) - before
    for one in (f"{GROUPS['Pod'].format(NAMESPACE)}/client-{name}", path):
        api.delete(one)
    return {
        "requests": requests,
        "p50_ms": late[len(late) // 2] / 1000,
        "p99_ms": late[len(late) * 99 // 100] / 1000,
        "envoy_us": spent / requests * 1e6,
    }


def _cpu_s(api: Api) -> float:
    """Processor time of all sidecars that run."""
    ticks = 0
    for pid in sidecars_of(api.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
