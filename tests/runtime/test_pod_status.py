"""The status of a pod beside what a real API server showed for the same pods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from memory_objects import pod

from meshverdict.runtime.backoff import Backoff
from meshverdict.runtime.container_state import ContainerRecord, Running, Terminated, Waiting, records
from meshverdict.runtime.pod_status import PodFacts, pod_phase, pod_status, qos_class

NOW = 1_790_000_000.0
FACTS = PodFacts(pod_ip="10.244.1.2", host_ip="172.31.1.2", started=NOW, sandbox=True)
GOLDEN = Path(__file__).resolve().parents[2].parent / "shared/yardsticks/golden_api_open.jsonl"


def ended(code: int, reason: str) -> Terminated:
    return Terminated(code, reason, NOW, NOW, "process://1")


def golden(name: str) -> dict[str, Any]:
    """The status of a pod in the recordings, without what is volatile or a vendor's."""
    if not GOLDEN.exists():
        pytest.skip(f"the recordings are not here: {GOLDEN}")
    for line in GOLDEN.read_text().splitlines():
        record = json.loads(line)
        if record["id"] == name:
            return comparable(record["response"]["body"]["status"])
    raise AssertionError(f"no recording {name}")


def comparable(status: dict[str, Any]) -> dict[str, Any]:
    """Phase, conditions and states, without times and ids."""
    for volatile in ("startedAt", "finishedAt", "containerID"):
        for container in status["containerStatuses"]:
            for state in (*container["state"].values(), *container["lastState"].values()):
                state.pop(volatile, None)
    kept = ("name", "state", "lastState", "ready", "restartCount", "started")
    return {
        "phase": status["phase"],
        "conditions": [
            {k: c[k] for k in ("type", "status", "reason", "message", "observedGeneration") if k in c}
            for c in status["conditions"]
        ],
        "containers": [{k: c[k] for k in kept} for c in status["containerStatuses"]],
        "keys": sorted(status.keys() - {"resources", "allocatedResources", "startTime"}),
    }


CASES: dict[str, tuple[str, Any]] = {
    "failing-pods-02": (
        "Always",
        {"state": ended(3, "Error"), "last": ended(3, "Error"), "restarts": 2, "restarting": True},
    ),
    "failing-pods-05": (
        "Always",
        {"state": Waiting("CreateContainerConfigError", 'configmap "none" not found')},
    ),
    "failing-pods-06": ("Never", {"state": ended(0, "Completed")}),
    "failing-pods-07": ("Never", {"state": ended(1, "Error")}),
    "failing-pods-08": ("Always", {"state": Running(NOW), "started": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_status_is_that_of_a_real_server(name: str) -> None:
    """Crash loop, missing ConfigMap, completed, failed and not ready, against the recordings."""
    policy, values = CASES[name]
    manifest = pod("p", {"image": "registry.local/lab:1"}, restartPolicy=policy)
    manifest["metadata"]["generation"] = 1
    record = ContainerRecord("c", "app", {"image": "registry.local/lab:1"}, **values)
    facts = PodFacts("10.244.1.2", "172.31.1.2", NOW, sandbox=True)
    assert comparable(pod_status(manifest, [record], facts, NOW)) == golden(name)


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    """LastTransitionTime is the time of the change, not of the last look."""
    manifest = pod("p", {"image": "x"})
    record = ContainerRecord("c0", "app", {}, Running(NOW), started=True)
    first = pod_status(manifest, [record], FACTS, NOW)
    record.ready = True
    later = pod_status({**manifest, "status": first}, [record], FACTS, NOW + 60)
    times = {c["type"]: c["lastTransitionTime"] for c in later["conditions"]}
    assert times["Initialized"] == "2026-09-21T14:13:20Z"
    assert times["Ready"] == "2026-09-21T14:14:20Z"
    assert pod_status({**manifest, "status": later}, [record], FACTS, NOW + 99) == later


def record(kind: Any, state: Any, **values: Any) -> ContainerRecord:
    return ContainerRecord("c", kind, {}, state, **values)


@pytest.mark.parametrize(
    ("policy", "inits", "apps", "phase"),
    [
        ("Always", [], [record("app", Waiting("ContainerCreating"))], "Pending"),
        ("Always", [], [record("app", Running(NOW))], "Running"),
        ("Always", [], [record("app", ended(0, "Completed"), restarting=True)], "Running"),
        ("Always", [], [record("app", Waiting("CrashLoopBackOff"), last=ended(1, "Error"))], "Running"),
        ("OnFailure", [], [record("app", ended(0, "Completed"))], "Succeeded"),
        ("Never", [], [record("app", ended(0, "Completed")), record("app", ended(2, "Error"))], "Failed"),
        ("Never", [], [record("app", ended(0, "Completed")), record("app", Running(NOW))], "Running"),
        ("Never", [record("init", ended(1, "Error"))], [record("app", Waiting("PodInitializing"))], "Failed"),
        (
            "Always",
            [record("init", ended(1, "Error"), restarting=True)],
            [record("app", Waiting("PodInitializing"))],
            "Pending",
        ),
        ("Always", [record("sidecar", Running(NOW))], [record("app", Waiting("PodInitializing"))], "Pending"),
        (
            "Never",
            [record("sidecar", ended(0, "x"), begun=True)],
            [record("app", ended(0, "x"))],
            "Succeeded",
        ),
    ],
)
def test_phases(policy: str, inits: list[ContainerRecord], apps: list[ContainerRecord], phase: str) -> None:
    """The kubelet's rules, one row a rule."""
    assert pod_phase(policy, inits, apps, FACTS) == phase


def test_a_readiness_gate_holds_ready_back() -> None:
    """ContainersReady is True, Ready is not, until somebody sets the gate's condition."""
    manifest = pod("p", {"image": "x"}, readinessGates=[{"conditionType": "example.org/gate"}])
    one = ContainerRecord("c0", "app", {}, Running(NOW), started=True, ready=True)
    status = pod_status(manifest, [one], FACTS, NOW)
    found = {c["type"]: (c["status"], c.get("reason")) for c in status["conditions"]}
    assert found["ContainersReady"] == ("True", None)
    assert found["Ready"] == ("False", "ReadinessGatesNotReady")
    gate = {"type": "example.org/gate", "status": "True"}
    gated = {**manifest, "status": {**status, "conditions": [*status["conditions"], gate]}}
    after = pod_status(gated, [one], FACTS, NOW)
    assert {c["type"]: c["status"] for c in after["conditions"]}["Ready"] == "True"
    assert gate in after["conditions"]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        (
            {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
            "Burstable",
        ),
    ],
)
def test_quality_of_service(resources: dict[str, Any], expected: str) -> None:
    """From requests and limits, as Kubernetes classes them."""
    assert qos_class({"containers": [{"resources": resources}]}) == expected


def test_init_containers_come_first_and_the_app_waits_for_them() -> None:
    """PodInitializing, as kubectl shows it."""
    spec = {
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}],
    }
    found = records(spec)
    assert [(r.name, r.kind) for r in found] == [("i", "init"), ("s", "sidecar"), ("a", "app")]
    assert found[2].state == Waiting("PodInitializing")


def test_back_off_doubles_to_five_minutes_and_is_forgiven() -> None:
    """0, 10, 20, 40, 80, 160, 300, 300; after a run of ten minutes from the start."""
    series = Backoff()
    assert [series.delay(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert [series.delay(601), series.delay(1)] == [0, 10]
