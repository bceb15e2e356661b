"""Why: how long a NetworkPolicy takes to bite, and to let go again, seen from a pod that keeps connecting.

A prober pod in the Apache namespace opens a new connection to Redis' HTTP port on a clock, and keeps one
connection to Redis itself open and talking. Each round creates the policy with one POST and deletes it again;
the times run from *sending* that request to the start of the first attempt that ends differently, so they
contain the API's own work. Case 2 through Apache is measured in rounds of its own, from outside.

    python benchmarks/bench_enforcement.py [--rounds 50] [--json FILE] [--established cut keep]
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from meshverdict.chaos.cluster import KubeAccess
from meshverdict.chaos.connections import Connection, Seen
from meshverdict.chaos.prober import probing
from meshverdict.model.paths import data_folder

NEW = Connection("b-apacherr", "redis-svc.d-redis:7379", treated="closed", every_ms=1)
OPEN = Connection("b-apacherr", "redis-svc.d-redis:6379", treated="closed", every_ms=10, talk="PING\r\n")
AIM_MS = 50.0
TREATED_S = 0.5
RESTED_S = 0.35
RESUMED_S = 5.0
PROXY_TIMEOUT_S = 2.5  # of the manifests' Apache, with some room
CASE_2_EVERY_S = 0.02


@dataclass(frozen=True)
class Round:
    """One policy, applied and deleted; milliseconds from sending the request.

    Attributes:
        api_ms: How long the POST took.
        denied_ms: Until the first denied new connection; None if none was.
        leaked: New connections that opened after the first denied one.
        allowed_ms: From sending DELETE until the first new connection that opened.
        talk: What became of the connection that was open: ``silent``, ``ended`` or ``answered``.
    """

    api_ms: float
    denied_ms: float | None
    leaked: int
    allowed_ms: float | None
    talk: str
    talk_ms: float | None


def main() -> int:
    """Measure, print, and answer 0 when every p99 is within the aim and nothing leaked."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the lab ends with us, as with Ctrl-C
    results = {mode: measure(mode, options.rounds) for mode in options.established}
    print(table(results))
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=2) + "\n")
    good = all(
        r["denied"]["p99"] <= AIM_MS
        and r["allowed"]["p99"] <= AIM_MS
        and r["leaked"] == 0
        and r["open_connection_as_set"] == r["rounds"]
        for r in results.values()
    )
    return 0 if good else 1


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="How fast a NetworkPolicy takes effect.")
    parser.add_argument("--rounds", type=int, default=50, help="per setting (default %(default)s)")
    parser.add_argument("--established", nargs="+", choices=("cut", "keep"), default=["cut", "keep"])
    parser.add_argument("--json", metavar="FILE", help="write all rounds here")
    return parser.parse_args()


def measure(established: str, rounds: int) -> dict[str, Any]:
    """All rounds of one setting, on a lab of their own."""
    with lab(established) as info:
        access = KubeAccess.open(Path(info["kubeconfig"]), kind="embedded")
        policy = yaml.safe_load((data_folder("manifests") / "policies" / "isolate-redis.yaml").read_text())
        port = info["ingress"]["port"]
        with probing(access, (NEW, OPEN)) as probers:
            time.sleep(1)
            # The client reads its models at its first call, which is not the cluster's time.
            namespace = policy["metadata"]["namespace"]
            access.json(access.networking.create_namespaced_network_policy, namespace, policy, dry_run="All")
            done = [one_round(access, policy, *probers.seen) for _ in range(rounds)]
        case_2 = [case_2_round(access, policy, port) for _ in range(max(1, rounds // 5))]
    return {
        "rounds": rounds,
        "api": spread([r.api_ms for r in done]),
        "denied": spread([r.denied_ms for r in done]),
        "allowed": spread([r.allowed_ms for r in done]),
        "open_connection": spread([r.talk_ms for r in done]) if established == "cut" else None,
        "open_connection_as_set": sum((r.talk == "answered") == (established == "keep") for r in done),
        "leaked": sum(r.leaked for r in done),
        "case_2_denied": spread(case_2),
        "each": [asdict(r) for r in done],
        "case_2_each": case_2,
    }


def one_round(access: KubeAccess, policy: dict[str, Any], new: Seen, kept: Seen) -> Round:
    """Apply, watch, delete, watch; a random pause keeps rounds from falling in step with anything."""
    wait_talking(kept)
    time.sleep(random.uniform(0, 0.05))
    applied = time.time()
    create(access, policy)
    answered = time.time()
    time.sleep(TREATED_S)
    removed = time.time()
    delete(access, policy)
    time.sleep(RESTED_S)
    found = new.measure(applied, removed)
    talk = kept.measure(applied, None)["open_connection"]
    changed = kept.talk and kept.talk[-1].t >= applied
    return Round(
        api_ms=(answered - applied) * 1000,
        denied_ms=found["apply_to_denied_ms"],
        leaked=found["opened_after_denial"],
        allowed_ms=found["remove_to_allowed_ms"],
        talk=(talk["ended_as"] or "answered") if changed else "answered",
        talk_ms=talk["after_ms"] if changed else None,
    )


def wait_talking(kept: Seen) -> None:
    """Until the open connection talks again: after a cut its packets come back only as TCP sends them anew."""
    until = time.monotonic() + RESUMED_S
    while kept.talk and kept.talk[-1].state != "answered" and time.monotonic() < until:
        time.sleep(0.02)


def case_2_round(access: KubeAccess, policy: dict[str, Any], port: int) -> float | None:
    """Milliseconds from sending the POST to the start of the first case 2 request that failed."""
    stop = threading.Event()
    outcomes: list[tuple[float, bool]] = []
    threads: list[threading.Thread] = []

    def ask() -> None:
        start = time.time()
        outcomes.append((start, answers(port)))

    def clock() -> None:
        while not stop.wait(CASE_2_EVERY_S):
            threads.append(threading.Thread(target=ask))
            threads[-1].start()

    ticking = threading.Thread(target=clock)
    ticking.start()
    time.sleep(0.2)
    applied = time.time()
    create(access, policy)
    time.sleep(0.3)
    stop.set()
    ticking.join()
    for thread in threads:
        thread.join()
    delete(access, policy)
    time.sleep(RESTED_S)
    failed = [start for start, good in sorted(outcomes) if start >= applied and not good]
    return (failed[0] - applied) * 1000 if failed else None


def answers(port: int) -> bool:
    """Whether one request of case 2 gets its 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2 * PROXY_TIMEOUT_S)
    try:
        connection.request("GET", "/redis/GET/time", headers={"Host": "pippo.lan"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def create(access: KubeAccess, policy: dict[str, Any]) -> None:
    """One POST."""
    namespace = policy["metadata"]["namespace"]
    access.json(access.networking.create_namespaced_network_policy, namespace, policy)


def delete(access: KubeAccess, policy: dict[str, Any]) -> None:
    """One DELETE."""
    name, namespace = policy["metadata"]["name"], policy["metadata"]["namespace"]
    access.json(access.networking.delete_namespaced_network_policy, name, namespace)


@contextmanager
def lab(established: str) -> Iterator[dict[str, Any]]:
    """A lab of this measurement's own."""
    name = f"bench-enforcement-{established}"
    command = [sys.executable, "-m", "meshverdict"]
    up = [*command, "up", "--name", name, "--established", established, "-o", "json"]
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.run(up, stdout=said, check=False)
        said.seek(0)
        if done.returncode != 0:
            sys.exit(f"no lab: {said.read()}")
        try:
            said.seek(0)
            yield json.load(said)
        finally:
            subprocess.run([*command, "down", "--name", name], stdout=subprocess.DEVNULL, check=True)


def spread(values: Sequence[float | None]) -> dict[str, float]:
    """Median, p99 (nearest rank) and the longest; a round without a change counts as endless."""
    ordered = sorted(float("inf") if v is None else v for v in values)
    rank = max(0, -(-99 * len(ordered) // 100) - 1)
    return {"p50": statistics.median(ordered), "p99": ordered[rank], "max": ordered[-1]}


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures for a person."""
    rows = (
        ("api", "POST answered"),
        ("denied", "apply -> first denied new connection"),
        ("allowed", "delete -> first new connection"),
        ("open_connection", "apply -> open connection silent"),
        ("case_2_denied", "apply -> first failed case 2 (through Apache)"),
    )
    lines = [f"{'milliseconds':<46} {'--established':<14} {'p50':>8} {'p99':>8} {'max':>8}"]
    for mode, result in results.items():
        for key, words in rows:
            if result[key]:
                numbers = " ".join(f"{result[key][k]:>8.1f}" for k in ("p50", "p99", "max"))
                lines.append(f"{words:<46} {mode:<14} {numbers}")
        fate = "cut" if mode == "cut" else "kept"
        lines.append(
            f"{mode}: {result['rounds']} rounds; new connections after the first denied one: {result['leaked']}; "
            f"open connections {fate}: {result['open_connection_as_set']} of {result['rounds']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
