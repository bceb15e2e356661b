"""Why: a judge that never says "differs" is useless, and simulated latencies may flatter it.

Two Deployments of the lab's app stand behind the same ingress and the same Redis; one of them works a tenth
of the median latency longer per request. Campaigns of 8 pairs, in the random order that `meshverdict run
--pairs` would take, ask them in turn and are judged by the same functions. With ``--shift 0`` both apps are
the same, and whatever is found is a false alarm.

    python benchmarks/judge/power.py [--campaigns 20] [--shift 0.1] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from kubernetes.client import AppsV1Api

from meshverdict.analysis.campaign import TREATMENT, plan
from meshverdict.analysis.load_table import load_table
from meshverdict.analysis.pairs import P50, measures
from meshverdict.analysis.validity import invalid_reasons
from meshverdict.analysis.verdict import judge
from meshverdict.analysis.windows import Window
from meshverdict.chaos.cluster import KubeAccess
from meshverdict.model.paths import data_folder
from meshverdict.model.record_reader import read_record

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
NAMESPACE = "b-apacherr"  # the one whose Ingress objects the ingress controller may read
ARMS = ("control", "treatment")
WORK_MS = 10.0
PAIRS = 8
SLOT_S = 4.0
SETTLE_S = 1.0
RATE = 100
LEAD_S = 5.0
CALIBRATION = 500


def main() -> int:
    """Measure and print; 0 when enough campaigns found what is there, or few enough what is not."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the lab ends with us, as with Ctrl-C
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="meshverdict-power-") as folder, lab(Path(folder)) as info:
        shift_ms = calibrate(info, options.shift)
        for number in range(options.campaigns):
            found.append(campaign(info, Path(folder), options.seed + number))
            print(f"{number + 1:3d}  {found[-1]['verdict']:40s} ratio {found[-1]['ratio']:.4f}", flush=True)
    differs = sum(f["word"] == "differs" for f in found)
    judged = sum(f["word"] != "invalid" for f in found)
    ratio = statistics.median(f["ratio"] for f in found)
    print(
        f"{options.shift:.0%} asked ({shift_ms:.2f} ms), {ratio - 1:+.1%} measured (median of the campaigns)"
    )
    print(f"differs in {differs} of {judged} campaigns of {PAIRS} pairs that could be judged")
    if options.json:
        document = {"shift": options.shift, "shift_ms": shift_ms, "pairs": PAIRS, "campaigns": found}
        Path(options.json).write_text(json.dumps(document, indent=2) + "\n")
    enough, few = 0.85 * options.campaigns, max(1, 0.1 * options.campaigns)
    good = differs >= enough if options.shift else differs <= few
    return 0 if good and judged >= enough else 1  # what could not be judged proves neither


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="How often a real shift of the median is found.")
    parser.add_argument("--campaigns", type=int, default=20, help="default %(default)s")
    parser.add_argument("--shift", type=float, default=0.1, help="of p50, as a share (default %(default)s)")
    parser.add_argument("--seed", type=int, default=20261123, help="of the orders and arrivals")
    parser.add_argument("--json", metavar="FILE", help="write every campaign here")
    return parser.parse_args()


@contextmanager
def lab(folder: Path) -> Iterator[dict[str, Any]]:
    """A lab with both apps, of which nothing stays."""
    extra = folder / "two-apps.yaml"
    extra.write_text(yaml.safe_dump_all(two_apps()))
    env = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    command: list[str | Path] = [BIN / "meshverdict", "up", "--name", "power", "-o", "json"]
    for path in (*sorted(data_folder("manifests").glob("0*")), extra):
        command += ["--manifests", str(path)]
    up = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    if up.returncode != 0:
        sys.exit(f"no lab: {up.stdout}{up.stderr}")
    info = json.loads(up.stdout)
    try:
        yield info
    finally:
        subprocess.run(
            [BIN / "meshverdict", "down", "--name", "power"], env=env, check=True, capture_output=True
        )


def two_apps() -> list[dict[str, Any]]:
    """Deployment, Service and Ingress of each arm, made from the lab's own app."""
    app = data_folder("manifests") / "03-app"
    deployment = yaml.safe_load((app / "C-02-app-dpl.yaml").read_text())
    service = yaml.safe_load((app / "C-01-app-svc.yaml").read_text())
    made = []
    for arm in ARMS:
        one, front = copy.deepcopy(deployment), copy.deepcopy(service)
        one["metadata"]["name"] = front["metadata"]["name"] = arm
        one["metadata"]["namespace"] = front["metadata"]["namespace"] = NAMESPACE
        front["spec"]["selector"] = one["spec"]["selector"]["matchLabels"] = {"app": arm}
        one["spec"]["template"]["metadata"]["labels"] = {"app": arm}
        container = one["spec"]["template"]["spec"]["containers"][0]
        container["env"].append({"name": "WORK_MS", "value": str(WORK_MS)})
        backend = {"service": {"name": arm, "port": {"name": "http"}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        rule = {"host": f"{arm}.lan", "http": {"paths": [path]}}
        ingress = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": arm, "namespace": NAMESPACE},
            "spec": {"ingressClassName": "traefik-lab", "rules": [rule]},
        }
        made += [one, front, ingress]
    return made


def calibrate(info: dict[str, Any], shift: float) -> float:
    """Make the treatment's app slower by *shift* of the control's median; returns the milliseconds."""
    port = info["ingress"]["port"]
    for arm in ARMS:
        wait_served(port, arm)
    median = statistics.median(ask(port, "control") for _ in range(CALIBRATION))
    extra = shift * median * 1000
    access = KubeAccess.open(Path(info["kubeconfig"]), kind="embedded")
    apps = AppsV1Api(access.api)
    env = [{"name": "WORK_MS", "value": f"{WORK_MS + extra:.3f}"}]
    change = {"spec": {"template": {"spec": {"containers": [{"name": "pythonapp", "env": env}]}}}}
    access.json(apps.patch_namespaced_deployment, "treatment", NAMESPACE, change)
    deadline = time.monotonic() + 60
    while True:
        there = access.json(apps.read_namespaced_deployment, "treatment", NAMESPACE)
        status = there["status"]
        if (
            status.get("observedGeneration") == there["metadata"]["generation"]
            and status.get("replicas") == 1
        ) and status.get("updatedReplicas") == status.get("availableReplicas") == 1:
            break
        if time.monotonic() > deadline:
            raise SystemExit("the slower app did not become available within 60 s")
        time.sleep(0.2)
    time.sleep(2)
    asked: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(CALIBRATION):
        for arm in ARMS:
            asked[arm].append(ask(port, arm) * 1000)
    medians = ", ".join(f"{arm} {statistics.median(times):.2f} ms" for arm, times in asked.items())
    print(f"asked one by one, in turn: {medians}", flush=True)
    return extra


def wait_served(port: int, arm: str) -> None:
    """Until the ingress knows the arm."""
    deadline = time.monotonic() + 30
    while True:
        try:
            ask(port, arm)
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def ask(port: int, arm: str) -> float:
    """Seconds of one request; raises HTTPException for anything but 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    start = time.perf_counter()
    try:
        connection.request("GET", "/get", headers={"Host": f"{arm}.lan"})
        response = connection.getresponse()
        response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"{arm} answers {response.status}")
        return time.perf_counter() - start
    finally:
        connection.close()


def campaign(info: dict[str, Any], folder: Path, seed: int) -> dict[str, Any]:
    """One campaign: load in random turns, cut into runs, paired and judged."""
    slots = plan(PAIRS, seed)
    start = float(int(time.time() + LEAD_S))
    record = folder / f"{seed}.jsonl"
    order = "".join("t" if slot.arm == TREATMENT else "c" for slot in slots)
    duration = start - time.time() + SLOT_S * len(slots) + 1
    command: list[str | Path] = [
        BIN / "locust",
        "-f",
        str(HERE / "two_apps.py"),
        "--headless",
        "--only-summary",
        "--rate",
        str(RATE),
    ]
    command += ["--seed", str(seed), "-t", f"{duration:.0f}s", "--record", str(record)]
    command += ["--host", f"http://127.0.0.1:{info['ingress']['port']}"]
    env = {**os.environ, "START": str(start), "SLOT_S": str(SLOT_S), "ORDER": order}
    subprocess.run(command, env=env, check=False, capture_output=True)
    whole = read_record(record)
    table = load_table(whole.seconds, ratio=whole.header.ratio)
    p50: dict[tuple[int, str], float] = {}
    for number, slot in enumerate(slots):
        begins = int(start + number * SLOT_S)
        window = Window(slot.arm, "during", begins + int(SETTLE_S), begins + int(SLOT_S))
        arm = "treatment" if slot.arm == TREATMENT else "control"
        p50[slot.pair, arm] = measures(table, [window])[f"{arm} {P50}"]
    numbers = sorted({pair for pair, _ in p50})
    differences = {P50: [p50[n, "treatment"] - p50[n, "control"] for n in numbers]}
    effect = judge(differences, primary=P50, invalid="; ".join(invalid_reasons(whole)))[0]
    return {
        "seed": seed,
        "order": order,
        "word": effect.word,
        "verdict": effect.verdict,
        "reason": effect.reason,
        "ratio": effect.ratio,
        "low": effect.low,
        "high": effect.high,
        "p": effect.p,
    }


if __name__ == "__main__":
    sys.exit(main())
