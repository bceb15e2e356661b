"""The statuses that a real API server 1.36 showed, against those of the controllers."""

import json
import re
from pathlib import Path

import pytest
from pretend_cluster import Cluster, deployment, template

RECORDINGS = Path(__file__).parents[3] / "shared" / "yardsticks" / "golden_api_open.jsonl"
_TIMES = {"lastTransitionTime", "lastUpdateTime", "lastProbeTime", "startTime", "completionTime"}


@pytest.fixture(scope="module")
def recorded():
    """Response body, or list of watch events, by the record's id."""
    if not RECORDINGS.exists():
        pytest.skip(f"the recordings are not at {RECORDINGS}")
    with RECORDINGS.open() as lines:
        records = map(json.loads, lines)
        return {r["id"]: r["response"].get("body") or r["response"].get("events") for r in records}


def plain(value):
    """Without times and template hashes."""
    if isinstance(value, dict):
        return {k: "<time>" if k in _TIMES else plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return re.sub(r"\b(web|ss)-[a-z0-9]{7,10}\b", r"\1-HASH", value) if isinstance(value, str) else value


def workload(kind, name, **spec):
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "x"},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template({"app": name}), **spec},
    }


async def test_rollout_has_the_recorded_phases_and_end(recorded):
    """The reasons of Progressing in order and the last status; the ReplicaSet's annotations and status."""
    reasons, sets = [], []

    def watch(event):
        if event.resource == "replicasets.apps":
            sets.append(event.obj)
        elif event.resource == "deployments.apps":
            reasons.append(phases(event.obj))

    def phases(obj):
        return [
            c["reason"] for c in obj.get("status", {}).get("conditions", []) if c["type"] == "Progressing"
        ]

    starting = True
    async with Cluster(nodes=1, verdict=lambda _: None if starting else "Running") as cluster:
        cluster.store.subscribe(watch)
        cluster.create("deployments.apps", deployment())
        await cluster.settled()  # containers take longer to start than controllers to see their pods
        starting = False
        cluster.kubelet.sync()
        await cluster.settled()
        expected = [phases(e["object"]) for e in recorded["rollout-02"]]
        assert list(dict.fromkeys(map(tuple, reasons))) == list(dict.fromkeys(map(tuple, expected)))
        status = cluster.get("deployments.apps", "x", "web")["status"]
        assert plain(status) == plain(recorded["rollout-05"]["status"])
        first, last = recorded["rollout-03"][0]["object"], recorded["rollout-03"][-1]["object"]
        assert sets[0]["metadata"]["annotations"] == first["metadata"]["annotations"]
        assert sets[-1]["status"] == last["status"]


@pytest.mark.parametrize(
    ("record", "resource", "obj", "verdict"),
    [
        (
            "lab-daemonset-01",
            "daemonsets.apps",
            workload("DaemonSet", "traefik"),
            "Running",
        ),
        (
            "statefulset-job-04",
            "statefulsets.apps",
            workload("StatefulSet", "ss", replicas=2, serviceName="ss"),
            "Running",
        ),
        (
            "statefulset-job-06",
            "jobs.batch",
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": "job1", "namespace": "x"},
                "spec": {"template": template({"app": "job1"}, restartPolicy="Never")},
            },
            "Succeeded",
        ),
    ],
)
async def test_workload_ends_with_the_recorded_status(recorded, record, resource, obj, verdict):
    """All fields and values, times and hashes aside."""
    body = recorded[record]
    expected = (body.get("items") or [body])[0]["status"]
    async with Cluster(nodes=1, verdict=lambda _: verdict) as cluster:
        cluster.create(resource, obj)
        await cluster.settled()
        assert plain(cluster.list(resource)[0]["status"]) == plain(expected)


async def test_dying_namespace_has_the_recorded_conditions(recorded):
    """With one object held by a finalizer, and nothing else."""
    async with Cluster() as cluster:
        meta = {"name": "hold", "namespace": "x", "finalizers": ["lab.example.com/hold"]}
        cluster.create("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        await cluster.settled()
        cluster.objects.delete("namespaces", None, "x", manager="test")
        await cluster.settled()
        status = cluster.get("namespaces", None, "x")["status"]
        assert plain(status) == plain(recorded["ns-delete-05"]["status"])


async def test_disruption_budget_has_the_recorded_status(recorded):
    """One healthy pod of one."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment(replicas=1))
        budget = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "pdb", "namespace": "x"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        }
        cluster.create("poddisruptionbudgets.policy", budget)
        await cluster.settled()
        status = cluster.get("poddisruptionbudgets.policy", "x", "pdb")["status"]
        assert plain(status) == plain(recorded["eviction-pdb-03"]["status"])


@pytest.mark.parametrize(
    ("record", "resource", "fields"),
    [
        ("services-real-07", "endpointslices.discovery.k8s.io", ("addressType", "endpoints", "ports")),
        ("services-real-08", "endpoints", ("subsets",)),
    ],
)
async def test_service_without_pods_has_the_recorded_endpoints(recorded, record, resource, fields):
    """Null lists in the slice, no subsets in Endpoints."""
    body = recorded[record]
    expected = (body.get("items") or [body])[0]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "svc1", "namespace": "x"},
        "spec": {"selector": {"app": "none"}, "ports": [{"port": 80}]},
    }
    async with Cluster() as cluster:
        cluster.create("services", service)
        await cluster.settled()
        found = cluster.list(resource)[0]
        assert {k: found.get(k, "absent") for k in fields} == {k: expected.get(k, "absent") for k in fields}
        labels = [o["metadata"]["labels"] for o in (found, expected)]
        assert labels[0] == labels[1]
