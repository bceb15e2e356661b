"""Why: a mesh that loses requests whenever its configuration changes cannot be experimented with.

A client with a sidecar asks a Service on a clock, 500 times a second for 60 seconds. Meanwhile, every second: the route's
weights change, a subset comes or goes, and a Deployment behind the Service gets a pod more or less. Everything that is
not a 200 is lost.

    python benchmarks/bench_mesh_churn.py [--rate 500] [--seconds 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.mesh.lab import GROUPS, NAMESPACE, Api, client, lab, programs, server, service, wait_done

EVERY_S = 1.0
SETTLE_S = 1.0


@dataclass
class Result:
    """What became of the requests.

    Attributes:
        outcomes: Count by version that answered, or by what went wrong.
        changes: How many rounds of changes there were while the client asked.
    """

    requests: int
    outcomes: dict[str, int]
    changes: int
    p50_ms: float
    p99_ms: float

    @property
    def lost(self) -> int:
        """Requests without a 200."""
        return sum(n for outcome, n in self.outcomes.items() if outcome.startswith("lost"))


def main() -> int:
    """Measure and print; 0 when nothing was lost."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the lab ends with us, as with Ctrl-C
    with lab("bench-mesh-churn") as api:
        result = churn(api, options.rate, options.seconds)
    print(
        f"{result.requests} requests at {options.rate:g}/s, {result.changes} rounds of changes of weights, subsets and"
        f" endpoints: {result.lost} lost; p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f} ms"
    )
    for outcome, n in sorted(result.outcomes.items()):
        print(f"  {outcome:<60} {n:>8,}")
    if options.json:
        Path(options.json).write_text(json.dumps(asdict(result) | {"lost": result.lost}, indent=2) + "\n")
    asked = int(options.rate * options.seconds)
    if result.requests != asked:
        print(f"{asked - result.requests} of {asked} requests were not told of")
    return 0 if not result.lost and result.requests == asked else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Requests lost while the mesh's configuration changes.")
    parser.add_argument("--rate", type=float, default=500, help="requests a second (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="how long (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the result here")
    return parser.parse_args()


def churn(api: Api, rate: float, seconds: float) -> Result:
    """Ask and change at once, in a lab's empty namespace."""
    for manifest in (programs(), service(), server("v1", 2), server("v2", 2), *rules(0)):
        path = api.apply(manifest)
    api.wait_ready(4)
    api.wait_condition(path)
    api.apply(client(rate, seconds))
    changes = 0
    deadline = time.monotonic() + seconds + SETTLE_S
    while time.monotonic() < deadline:
        changes += 1
        for manifest in (*rules(changes), server("v2", 2 + changes % 2), server("v1", 1 + changes // 2 % 2)):
            api.apply(manifest)
        time.sleep(EVERY_S)
    lines = [line for line in wait_done(api) if "outcomes" in line]
    outcomes: Counter[str] = Counter()
    for line in lines:
        outcomes.update(line["outcomes"])
    late = sorted(us for line in lines for us in line["us"])
    api.delete(f"{GROUPS['Pod'].format(NAMESPACE)}/client")
    return Result(
        sum(outcomes.values()), dict(outcomes), changes, _quantile(late, 0.5), _quantile(late, 0.99)
    )


def rules(turn: int) -> list[dict[str, Any]]:
    """Subsets and weights of one round: the DestinationRule first when a subset comes, last when it goes."""
    with_third = turn % 4 in {1, 2}
    names = ("v1", "v2", "any") if with_third else ("v1", "v2")
    share = 10 + 20 * (turn % 5)
    weights = {"v1": share - (10 if with_third else 0), "v2": 100 - share, "any": 10}
    labels = {"any": {"app": "server"}}
    subsets = [{"name": name, "labels": labels.get(name, {"version": name})} for name in names]
    to = [{"destination": {"host": "server", "subset": name}, "weight": weights[name]} for name in names]
    rule = _istio("DestinationRule", {"host": "server", "subsets": subsets})
    route = _istio("VirtualService", {"hosts": ["server"], "http": [{"route": to}]})
    return [rule, route] if with_third else [route, rule]


def _istio(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": "server"},
        "spec": spec,
    }


def _quantile(ordered: list[int], q: float) -> float:
    """Milliseconds, nearest rank."""
    return ordered[max(0, -int(-q * len(ordered) // 1) - 1)] / 1000 if ordered else 0.0


if __name__ == "__main__":
    sys.exit(main())
