"""Run folders as the lab would write them, made from a seed: realistic enough to judge a report by eye.

The defaults are the isolate-redis experiment: 20 s baseline, 20 s with the policy, 15 s after its removal,
case 1 at 60 requests/s through the app and case 2 at 5 requests/s past it. With the policy in effect case 2
times out at Apache (ProxyTimeout 2 s) and answers 503.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

START = 1_790_000_000
CLAIM = (
    "Only the application may reach redis. With a NetworkPolicy around redis, case 1 (/count/get, through the"
    " app) keeps working and case 2 (/redis/GET/time, past the app) fails."
)


@dataclass
class Shape:
    """What the synthetic run was like."""

    start: int = START
    seed: int = 1
    rate_1: float = 60.0
    rate_2: float = 5.0
    speed: float = 1.0
    treated: bool = True
    enforced: bool = True
    arrivals: str = "poisson"
    valid: bool = True
    reasons: list[str] = field(default_factory=list)
    baseline_s: int = 20
    policy_s: int = 20
    after_s: int = 15
    lag_us: float = 60.0
    arm: str | None = None
    pair: int | None = None
    title: str = "Only the application may reach redis"
    denied: str = "drop"


def histogram(latencies_us: list[float]) -> dict[str, list[int]]:
    """The formats' histogram of some latencies."""
    counts: dict[int, int] = {}
    for value in latencies_us:
        bucket = int(math.log(max(value, 1.0)) / math.log(1.01))
        counts[bucket] = counts.get(bucket, 0) + 1
    return {"i": sorted(counts), "c": [counts[i] for i in sorted(counts)]}


def write_run(folder: Path, shape: Shape | None = None) -> Path:
    """Write all the files of a run folder except report.html."""
    shape = shape or Shape()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "load.jsonl").write_text("".join(json.dumps(line) + "\n" for line in load_lines(shape)))
    (folder / "flows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in flow_lines(shape)))
    (folder / "run.json").write_text(json.dumps(run_json(shape), indent=2))
    (folder / "journal.json").write_text(json.dumps(journal(shape), indent=2))
    return folder


def moments(shape: Shape) -> dict[str, float | None]:
    """When the policy came and went."""
    applied = shape.start + 3 + shape.baseline_s
    removed = applied + shape.policy_s
    if not shape.treated:
        return {"applied": None, "in_effect": None, "removed": None, "restored": None}
    seen = shape.enforced
    return {
        "applied": applied + 0.2131,
        "in_effect": applied + 0.2165 if seen else None,
        "removed": removed + 0.1022,
        "restored": removed + 0.1057 if seen else None,
    }


def load_lines(shape: Shape) -> list[dict[str, Any]]:
    """A load record."""
    rng = random.Random(shape.seed)
    when = moments(shape)
    seconds = 3 + shape.baseline_s + shape.policy_s + shape.after_s
    lines: list[dict[str, Any]] = [
        {
            "format": "load/1", "start": shape.start,
            "seed": None if shape.arrivals == "closed" else shape.seed,
            "arrivals": shape.arrivals,
            "rate": None if shape.arrivals == "closed" else shape.rate_1 + shape.rate_2,
            "deadline_ms": 1000, "ratio": 1.01, "workers": 1, "locustfile": "app.py",
            "host": "http://127.0.0.1:8081",
        }
    ]  # fmt: skip
    for second in range(seconds):
        t = shape.start + second
        total = 0
        for name, rate in (("/count/get", shape.rate_1 * 0.8), ("/count/set", shape.rate_1 * 0.2)):
            n = _poisson(rng, rate)
            warm = 1 + 2.5 * math.exp(-second / 1.2)
            latencies = [
                _latency(rng, 2300 if name.endswith("set") else 2050, shape.speed * warm) for _ in range(n)
            ]
            total += n
            if n:
                lines.append(_second(t, name, "ok", 200, latencies))
        n = _poisson(rng, shape.rate_2)
        total += n
        blocked = shape.treated and shape.enforced and _inside(t, when)
        if n and blocked:
            wait = 2_000_000 if shape.denied == "drop" else 1200
            lines.append(
                _second(t, "/redis/GET/time", "http", 503, [wait + _latency(rng, 1500, 1) for _ in range(n)])
            )
        elif n:
            lines.append(
                _second(t, "/redis/GET/time", "ok", 200, [_latency(rng, 1600, shape.speed) for _ in range(n)])
            )
        lag = [rng.lognormvariate(math.log(shape.lag_us), 0.5) for _ in range(total)]
        lines.append(
            {"t": t, "w": 0, "generator": {
                "scheduled": total, "sent": total, "dropped": 0, "in_flight": 10 * blocked, "connections": 12,
                "lag": None if shape.arrivals == "closed" else histogram(lag), "cpu": 0.08,
                "priority": "fifo",
            }}
        )  # fmt: skip
    lines.append({"end": shape.start + seconds, "reason": "done", "lines": len(lines) + 1})
    return lines


def flow_lines(shape: Shape) -> list[dict[str, Any]]:
    """Hubble-like flows: the four hops, and who was dropped."""
    when = moments(shape)
    hops = [
        ("load", "load-0-bcdfg", "a-ingress-traefik", "traefik-ingress-controller-jkppg", 8000, 60),
        (
            "a-ingress-traefik",
            "traefik-ingress-controller-jkppg",
            "b-apacherr",
            "apacherr-8b786b45d-g9vcl",
            80,
            60,
        ),
        ("b-apacherr", "apacherr-8b786b45d-g9vcl", "c-app-count", "pythonapp-555d6d88cd-slhfb", 5000, 55),
        ("c-app-count", "pythonapp-555d6d88cd-slhfb", "d-redis", "redis-b869b89d-pf6ms", 6379, 55),
    ]
    lines = []
    for second in range(1, 3 + shape.baseline_s + shape.policy_s + shape.after_s):
        t = shape.start + second
        lines += [_flow(t + 0.01, *hop[:5], verdict="FORWARDED", count=hop[5]) for hop in hops]
        blocked = shape.treated and shape.enforced and when["in_effect"] <= t + 0.02 < when["restored"]
        verdict = "DROPPED" if blocked else "FORWARDED"
        lines.append(
            _flow(t + 0.02, *hops[2][:2], "d-redis", "redis-b869b89d-pf6ms", 7379, verdict=verdict, count=5)
        )
    if shape.treated and shape.enforced:
        lines.append(
            _flow(
                when["in_effect"],
                *hops[2][:2],
                "d-redis",
                "redis-b869b89d-pf6ms",
                7379,
                verdict="DROPPED",
                count=1,
            )
        )
    return sorted(lines, key=lambda line: line["time"])


def run_json(shape: Shape) -> dict[str, Any]:
    """The run's description."""
    applied = shape.start + 3 + shape.baseline_s
    removed = applied + shape.policy_s
    on, off = "Enabled", "Disabled"
    return {
        "format": "run/1",
        "experiment": {"title": shape.title, "file": "isolate-redis.json", "sha256": "9f2c" * 16},
        "variables": {"baseline_s": shape.baseline_s, "policy_s": shape.policy_s},
        "arm": shape.arm,
        "pair": shape.pair,
        "seed": shape.seed,
        "cluster": {"kind": "embedded", "context": "default", "version": "v1.36.2"},
        "settings": {
            "denied": shape.denied, "established": "cut", "zones": 1, "zone_delay_ms": 0, "sidecars": False,
            "istio_defaults": "today",
        },
        "software": {
            "meshverdict": "0.1.0", "python": "3.11.7", "chaostoolkit": "1.19.0", "chaosk8s": "0.39.0",
            "locust": "2.47.0", "traefik": "3.7.1", "apache": "2.4.62", "redis": "7.0.15", "webdis": "0.1.21",
        },
        "machine": {
            "kernel": "Linux 6.18.44 x86_64", "cores": 2, "memory_gib": 24.0, "os": "Debian GNU/Linux 12",
        },
        "phases": [
            {"name": "baseline", "start": shape.start + 0.0, "end": applied + 0.2},
            {"name": "policy", "start": applied + 0.2, "end": removed + 0.1},
            {"name": "removed", "start": removed + 0.1, "end": removed + shape.after_s},
        ],
        "treatment": moments(shape),
        "measures": {
            "endpoints": {
                "before": endpoints(off),
                "during": endpoints(on if shape.treated else off),
            },
            "connections": connections(shape),
        },
        "validity": {"valid": shape.valid, "reasons": shape.reasons},
    }  # fmt: skip


def connections(shape: Shape) -> list[dict[str, Any]]:
    """What probers saw: apache is turned away, the app is not."""
    cut = shape.treated and shape.enforced
    return [
        {
            "from": "b-apacherr", "to": "redis-svc.d-redis:7379", "attempts": {"open": 7400, "closed": 3800 * cut},
            "resolution_ms": 5.0, "apply_to_denied_ms": 3.4 if cut else None,
            "denied_as": "timeout" if cut else None, "opened_after_denial": 0,
            "remove_to_allowed_ms": 3.5 if cut else None,
            "open_connection": {"ended_as": "silent" if cut else None, "after_ms": 12.0 if cut else None},
        },
        {
            "from": "c-app-count", "to": "redis-svc.d-redis:6379", "attempts": {"open": 2800, "closed": 0},
            "resolution_ms": 20.0, "apply_to_denied_ms": None, "denied_as": None, "opened_after_denial": 0,
            "remove_to_allowed_ms": None, "open_connection": {"ended_as": None, "after_ms": None},
        },
    ]  # fmt: skip


def endpoints(redis: str) -> list[dict[str, Any]]:
    """The seed's endpoint table."""
    pods = [
        (201, "d-redis/redis-b869b89d-pf6ms", "redis", "10.244.1.7", redis),
        (
            1257,
            "a-ingress-traefik/traefik-ingress-controller-jkppg",
            "traefik-ingress",
            "10.244.1.3",
            "Disabled",
        ),
        (1663, "b-apacherr/apacherr-8b786b45d-g9vcl", "apacherr", "10.244.1.5", "Disabled"),
        (3167, "c-app-count/pythonapp-555d6d88cd-slhfb", "pythonapp", "10.244.1.6", "Disabled"),
    ]
    return [
        {"id": number, "pod": pod, "labels": {"app": app}, "ipv4": address, "ingress": mode, "egress": mode}
        for number, pod, app, address, mode in pods
    ]


def journal(shape: Shape) -> dict[str, Any]:
    """Chaos Toolkit's journal of the run."""
    when = moments(shape)
    deviated = not (shape.treated and shape.enforced) and shape.arm != "control"
    probes = [
        (
            "Case 1 answers within its deadline",
            {"type": "range", "range": [0.99, 1.0]},
            (1.0, 1.0),
            (True, True),
        ),
        ("Case 1 keeps its latency (p99, ms)", {"type": "range", "range": [0, 50]}, (6.4, 6.6), (True, True)),
        (
            "Case 2 answers before the policy and fails after it",
            True,
            (True, not deviated),
            (True, not deviated),
        ),
    ]
    activities = ["apply the NetworkPolicy", "load with the policy in place", "remove the NetworkPolicy"]
    end = shape.start + 3 + shape.baseline_s + shape.policy_s + shape.after_s + 2
    applied = when["applied"] or shape.start + 3 + shape.baseline_s
    return {
        "chaoslib-version": "1.44.0",
        "platform": "Linux-6.18.44-x86_64-with-glibc2.36",
        "node": "lab",
        "experiment": {
            "version": "1.0.0",
            "title": shape.title,
            "description": CLAIM,
            "extensions": [{"name": "meshverdict", "treatment": activities[:1]}],
            "steady-state-hypothesis": {
                "title": "case 1 works, case 2 as the policy says",
                "probes": [
                    {"type": "probe", "name": n, "tolerance": t, "provider": {}} for n, t, _, _ in probes
                ],
            },
            "method": [
                {"type": "action", "name": name, "provider": {"type": "python"}} for name in activities
            ],
            "rollbacks": [{"type": "action", "name": "remove the NetworkPolicy, always", "provider": {}}],
        },
        "start": _iso(shape.start - 2),
        "status": "completed",
        "deviated": deviated,
        "steady_states": {
            "before": _state(probes, 0, applied - 1),
            "after": _state(probes, 1, end - shape.after_s - 3),
            "during": [],
        },
        "run": [_done("action", name, applied + i) for i, name in enumerate(activities)],
        "rollbacks": [_done("action", "remove the NetworkPolicy, always", end - 1)],
        "end": _iso(end),
        "duration": end - shape.start + 2.0,
    }


def _state(probes: list[Any], at: int, when: float) -> dict[str, Any]:
    return {
        "steady_state_met": all(met[at] for *_, met in probes),
        "probes": [
            {
                **_done("probe", name, when),
                "activity": {
                    "type": "probe",
                    "name": name,
                    "tolerance": tolerance,
                    "provider": {"type": "python"},
                },
                "output": output[at],
                "tolerance_met": met[at],
            }
            for name, tolerance, output, met in probes
        ],
    }


def _done(kind: str, name: str, when: float) -> dict[str, Any]:
    return {
        "activity": {"type": kind, "name": name, "provider": {"type": "python"}},
        "output": None, "start": _iso(when), "end": _iso(when + 0.02), "status": "succeeded",
        "duration": 0.02,
    }  # fmt: skip


def _second(t: int, name: str, outcome: str, status: int, latencies: list[float]) -> dict[str, Any]:
    return {
        "t": t, "w": 0, "name": name, "outcome": outcome, "status": status, "n": len(latencies),
        "latency": histogram(latencies),
    }  # fmt: skip


def _flow(
    time: float, from_ns: str, from_pod: str, to_ns: str, to_pod: str, port: int, *, verdict: str, count: int
):
    return {
        "time": _iso(time), "verdict": verdict, "traffic_direction": "INGRESS", "count": count,
        "source": {"namespace": from_ns, "pod_name": from_pod, "labels": _labels(from_pod)},
        "destination": {"namespace": to_ns, "pod_name": to_pod, "labels": _labels(to_pod)},
        "l4": {"TCP": {"source_port": 40000, "destination_port": port}},
        **({"drop_reason_desc": "POLICY_DENIED"} if verdict == "DROPPED" else {}),
    }  # fmt: skip


def _labels(pod: str) -> list[str]:
    return [f"k8s:app={pod.partition('-')[0]}"]


def _latency(rng: random.Random, typical_us: float, speed: float) -> float:
    value = typical_us * speed * rng.lognormvariate(0, 0.28)
    return value * rng.uniform(2, 9) if rng.random() < 0.012 else value


def _poisson(rng: random.Random, mean: float) -> int:
    n, left = 0, math.exp(-mean)
    product = rng.random()
    while product > left:
        n += 1
        product *= rng.random()
    return n


def _inside(t: int, when: dict[str, float | None]) -> bool:
    return when["applied"] is not None and when["applied"] <= t + 0.5 < when["removed"]


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
