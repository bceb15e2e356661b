"""Why: what the lab's API bears: creates with watchers, reads, many pods, and memory after much coming and going.

Starts a lab of its own without any tiers, measures through the HTTPS that every client uses, and takes the lab
down. Watch latency is from the start of the POST to the event's arrival at each of 20 watchers, all in this
process, so its own work is in it.

    python benchmarks/bench_api.py [--pods 16 64 240] [--churn SECONDS] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
WATCHERS = 20
FLAT = 0.05  # of the memory, between the second quarter and the last


@dataclass
class Api:
    """The lab's API, as its administrator."""

    session: aiohttp.ClientSession
    url: str

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One request that has to work."""
        async with self.session.request(method, self.url + path, json=body) as response:
            answer: dict[str, Any] = await response.json()
            if response.status >= 400:
                raise SystemExit(f"{method} {path}: {response.status} {answer.get('message')}")
            return answer


@dataclass
class Watchers:
    """Twenty watches of ConfigMaps, and when each of their events arrived."""

    sent: dict[str, float] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    seen: int = 0

    async def follow(self, api: Api) -> None:
        """One watch."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with api.session.get(f"{api.url}{CONFIG_MAPS}?watch=1", timeout=timeout) as response:
            buffer = b""
            async for chunk in response.content.iter_any():
                now = time.perf_counter()
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    start = line.find(b'"name":"b-')
                    name = line[start + 8 : line.find(b'"', start + 8)].decode()
                    if name in self.sent and b'"ADDED"' in line[:20]:
                        self.latencies.append(now - self.sent[name])
                        self.seen += 1

    def figures(self) -> dict[str, float]:
        """Percentiles in milliseconds."""
        cuts = statistics.quantiles(self.latencies, n=100)
        return {"p50_ms": round(cuts[49] * 1e3, 1), "p99_ms": round(cuts[98] * 1e3, 1)}


@contextlib.asynccontextmanager
async def watching(api: Api, count: int) -> AsyncIterator[Watchers]:
    """Watchers that have all begun."""
    watchers = Watchers()
    tasks = [asyncio.create_task(watchers.follow(api)) for _ in range(count)]
    await asyncio.sleep(0.5)
    yield watchers
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def creates(
    api: Api, *, seconds: float, workers: int, watchers: int, rate: float = 0.0
) -> dict[str, Any]:
    """ConfigMaps as fast as they go, or at a rate; with watchers.

    Returns:
        Creates a second, and the watch latency.
    """
    prefix = f"b-{time.time_ns()}"
    count = 0
    async with watching(api, watchers) as seen:
        begin = time.perf_counter()
        end = begin + seconds

        async def work(number: int) -> None:
            nonlocal count
            step = 0
            while (now := time.perf_counter()) < end:
                name = f"{prefix}-{number}-{step}"
                seen.sent[name] = now
                await api.call("POST", CONFIG_MAPS, {"metadata": {"name": name}, "data": {"a": "b"}})
                count += 1
                step += 1
                if rate:
                    await asyncio.sleep(max(begin + step * workers / rate - time.perf_counter(), 0))

        await asyncio.gather(*(work(number) for number in range(workers)))
        took = time.perf_counter() - begin
        deadline = time.monotonic() + 5
        while seen.seen < count * watchers and time.monotonic() < deadline:  # noqa: ASYNC110 - a count tells nobody
            await asyncio.sleep(0.02)
        found: dict[str, Any] = {"per_second": round(count / took), "watchers": watchers}
        if watchers:
            found |= {**seen.figures(), "events": seen.seen, "of": count * watchers}
    await api.call("DELETE", CONFIG_MAPS + "?labelSelector=!keep")
    return found


async def gets(api: Api, *, seconds: float, workers: int) -> int:
    """GETs of one object a second."""
    await api.call("POST", CONFIG_MAPS, {"metadata": {"name": "one"}, "data": {"a": "b"}})
    count = 0
    end = time.perf_counter() + seconds

    async def work() -> None:
        nonlocal count
        while time.perf_counter() < end:
            await api.call("GET", f"{CONFIG_MAPS}/one")
            count += 1

    await asyncio.gather(*(work() for _ in range(workers)))
    await api.call("DELETE", f"{CONFIG_MAPS}/one")
    return round(count / seconds)


def deployment(name: str, replicas: int) -> dict[str, Any]:
    """Pods that sleep."""
    container = {"name": "c", "image": "busybox", "command": ["sleep", "infinity"]}
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


async def pods_up(api: Api, count: int, memory: Memory) -> dict[str, Any]:
    """A Deployment of *count* pods: seconds until all are available, and until all are gone again."""
    name = f"many-{count}"
    begin = time.perf_counter()
    await api.call("POST", DEPLOYMENTS, deployment(name, count))
    while True:
        status = (await api.call("GET", f"{DEPLOYMENTS}/{name}")).get("status") or {}
        if status.get("availableReplicas", 0) == count:
            break
        if time.perf_counter() - begin > 180:
            raise SystemExit(f"{count} pods: {status} after 180 s")
        await asyncio.sleep(0.05)
    up, own = time.perf_counter() - begin, memory.megabytes()
    begin = time.perf_counter()
    await api.call("DELETE", f"{DEPLOYMENTS}/{name}")
    while (await api.call("GET", PODS))["items"]:  # noqa: ASYNC110 - it is asked, as any client would
        await asyncio.sleep(0.05)
    return {
        "pods": count,
        "up_s": round(up, 2),
        "gone_s": round(time.perf_counter() - begin, 2),
        "own_mb": own,
    }


@dataclass
class Memory:
    """What the lab's own processes take: the keeper, the supervisor and the two beside it, not the pods' programs."""

    keeper: int

    def megabytes(self) -> float:
        """Proportional set size of all of them, in MB."""
        return round(sum(_pss(pid) for pid in self._own()) / 1024, 1)

    def _own(self) -> list[int]:
        supervisor = _children(self.keeper)
        return [self.keeper, *supervisor, *(c for pid in supervisor for c in _children(pid))]


def _children(pid: int) -> list[int]:
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _pss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def churn(api: Api, seconds: float, memory: Memory) -> dict[str, Any]:
    """Objects, policies and pods come and go; memory is looked at once a period.

    Returns:
        What was done, and the memory in the second quarter and in the last, whose ratio says whether it is flat:
        in the first the caches and the log of changes fill.
    """
    done = dict.fromkeys(("configmaps", "policies", "pods", "rollouts"), 0)
    samples: list[tuple[float, float]] = []
    begin = time.monotonic()
    await api.call("POST", DEPLOYMENTS, deployment("churn", 4))
    spec = {"podSelector": {"matchLabels": {"app": "churn"}}, "policyTypes": ["Ingress"]}
    step = 0
    while (now := time.monotonic() - begin) < seconds:
        step += 1
        for number in range(20):
            name = f"c-{step}-{number}"
            await api.call("POST", CONFIG_MAPS, {"metadata": {"name": name}, "data": {"a": "b" * 500}})
            await api.call(
                "PUT", f"{CONFIG_MAPS}/{name}", {"metadata": {"name": name}, "data": {"a": "c" * 500}}
            )
            await api.call("DELETE", f"{CONFIG_MAPS}/{name}")
            done["configmaps"] += 1
        await api.call("POST", POLICIES, {"metadata": {"name": f"p-{step}"}, "spec": spec})
        pod = deployment(f"p-{step}", 1)["spec"]["template"]
        pod["metadata"]["name"] = f"p-{step}"
        await api.call("POST", PODS, pod)
        await api.call("DELETE", f"{POLICIES}/p-{step}")
        done["policies"] += 1
        done["pods"] += 1
        await asyncio.sleep(0.3)
        await api.call("DELETE", f"{PODS}/p-{step}")
        if step % 20 == 0:
            changed = deployment("churn", 4)
            changed["spec"]["template"]["metadata"]["annotations"] = {"step": str(step)}
            await api.call("PUT", f"{DEPLOYMENTS}/churn", changed)
            done["rollouts"] += 1
        if not samples or now - samples[-1][0] >= seconds / 40:
            samples.append((round(now, 1), memory.megabytes()))
    await api.call("DELETE", f"{DEPLOYMENTS}/churn")
    quarter = max(len(samples) // 4, 1)
    early = statistics.median(mb for _, mb in samples[quarter : 2 * quarter] or samples)
    late = statistics.median(mb for _, mb in samples[-quarter:])
    growth = late / early - 1
    return {
        "seconds": round(seconds),
        **done,
        "second_quarter_mb": early,
        "last_quarter_mb": late,
        "growth": round(growth, 3),
        "flat": growth <= FLAT,
        "samples": samples,
    }


@contextlib.contextmanager
def lab(state: str) -> Any:
    """A lab without tiers; what `up` said."""
    environment = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "MESHVERDICT_CONTEXT")}
    environment["XDG_STATE_HOME"] = state
    command = [sys.executable, "-m", "meshverdict"]
    Path(state, "nothing.yaml").write_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: bench}\n")
    words = [*command, "up", "-o", "json", "--manifests", str(Path(state, "nothing.yaml"))]
    begin = time.perf_counter()
    up = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if up.returncode:
        raise SystemExit(up.stdout + up.stderr)
    try:
        yield {**json.loads(up.stdout), "command_s": round(time.perf_counter() - begin, 2)}
    finally:
        subprocess.run([*command, "down"], env=environment, capture_output=True, check=True)


async def measure(info: dict[str, Any], token: str, options: argparse.Namespace) -> dict[str, Any]:
    """All that was asked for."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the lab on loopback
    headers = {"Authorization": f"Bearer {token}"}
    memory = Memory(info["pid"])
    found: dict[str, Any] = {
        "start_s": info["command_s"],
        "ready_s": info["ready_s"],
        "idle_mb": memory.megabytes(),
    }
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        api = Api(session, info["api"])
        if not options.only_churn:
            found["creates"] = await creates(api, seconds=5, workers=8, watchers=0)
            found["creates_watched"] = await creates(api, seconds=5, workers=8, watchers=WATCHERS)
            found["creates_paced"] = await creates(api, seconds=5, workers=1, watchers=WATCHERS, rate=20)
            found["gets_1"] = await gets(api, seconds=3, workers=1)
            found["gets_4"] = await gets(api, seconds=3, workers=4)
            found["many"] = [await pods_up(api, count, memory) for count in options.pods]
        if options.churn:
            found["churn"] = await churn(api, options.churn, memory)
    found["end_mb"] = memory.megabytes()
    return found


def show(found: dict[str, Any]) -> None:
    """The figures, a line each."""
    for key, value in found.items():
        if isinstance(value, list):
            for item in value:
                print(f"{key:16}", " ".join(f"{k}={v}" for k, v in item.items()))
        elif isinstance(value, dict):
            print(f"{key:16}", " ".join(f"{k}={v}" for k, v in value.items() if k != "samples"))
        else:
            print(f"{key:16}", value)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print; 1 when memory was not flat."""
    words = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    words.add_argument("--pods", type=int, nargs="*", default=[16, 64])
    words.add_argument("--churn", type=float, default=0.0, metavar="SECONDS")
    words.add_argument("--only-churn", action="store_true")
    words.add_argument("--json", type=Path)
    options = words.parse_args(arguments)
    if options.only_churn and not options.churn:
        words.error("--only-churn needs --churn SECONDS")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the lab ends with us, as with Ctrl-C
    with tempfile.TemporaryDirectory() as state, lab(state) as info:
        config = yaml.safe_load(Path(info["kubeconfig"]).read_text())
        found = asyncio.run(measure(info, config["users"][0]["user"]["token"], options))
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if found.get("churn", {}).get("flat", True) else 1


if __name__ == "__main__":
    sys.exit(main())
