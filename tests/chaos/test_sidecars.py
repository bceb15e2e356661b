"""When a rollout is over, and what a kubelet's summary becomes in the telemetry."""

import pytest

from meshverdict.chaos.rollout import has_sidecar, rolled_out
from meshverdict.chaos.usage import lines

DONE = {
    "metadata": {"generation": 2},
    "spec": {"replicas": 2},
    "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2},
}
DAEMONS = {
    "metadata": {"generation": 1},
    "status": {
        "observedGeneration": 1,
        "desiredNumberScheduled": 2,
        "updatedNumberScheduled": 2,
        "numberAvailable": 2,
    },
}


@pytest.mark.parametrize("workload", [DONE, DAEMONS], ids=["deployment", "daemon set"])
@pytest.mark.parametrize("change", [None, "observedGeneration", "updated", "ready"])
def test_rollout_is_over_only_when_every_count_says_so(workload, change):
    """The newest template is observed, all pods have it, all are Ready, no old one is left."""
    status = dict(workload["status"])
    names = {
        "observedGeneration": ["observedGeneration"],
        "updated": ["updatedReplicas", "updatedNumberScheduled"],
        "ready": ["readyReplicas", "numberAvailable"],
    }
    for name in names.get(change, ()):
        if name in status:
            status[name] -= 1
    assert rolled_out({**workload, "status": status}) is (change is None)


def test_old_replica_that_is_still_there_keeps_a_rollout_open():
    """`replicas` counts old and new ones."""
    assert not rolled_out({**DONE, "status": {**DONE["status"], "replicas": 3}})


def test_sidecar_is_found_in_both_forms():
    """As a container beside the others, and as a restartable init container."""
    proxy = {"name": "istio-proxy"}
    assert has_sidecar({"spec": {"containers": [{"name": "app"}, proxy]}})
    assert has_sidecar({"spec": {"containers": [{"name": "app"}], "initContainers": [proxy]}})
    assert not has_sidecar({"spec": {"containers": [{"name": "app"}]}})


def test_summary_becomes_a_line_for_each_pod_of_the_lab():
    """The time is the kubelet's own; pods of others, and containers it knows nothing of yet, are left out."""
    cpu = {"time": "2026-11-22T10:00:00Z", "usageCoreNanoSeconds": 1_500_000_000}
    pod = {
        "podRef": {"namespace": "c", "name": "app-1"},
        "containers": [{"name": "app", "cpu": cpu, "memory": {"rssBytes": 7}}, {"name": "new"}],
    }
    other = {**pod, "podRef": {"namespace": "kube-system", "name": "dns"}}
    assert lines({"pods": [pod, other]}, ["c"]) == [
        {"t": 1795341600.0, "pod": "c/app-1", "containers": {"app": {"cpu_seconds": 1.5, "rss_bytes": 7}}}
    ]


def test_containers_of_a_pod_that_were_read_apart_keep_their_times():
    """The line has the newest; what was read before says when."""

    def read(name, second):
        time = f"2026-11-22T10:00:0{second}Z"
        return {"name": name, "cpu": {"time": time, "usageCoreNanoSeconds": 1_000_000_000}}

    pod = {"podRef": {"namespace": "c", "name": "app-1"}, "containers": [read("app", 8), read("proxy", 2)]}
    (line,) = lines({"pods": [pod]}, ["c"])
    assert line["t"] == 1795341608.0
    assert line["containers"] == {
        "app": {"cpu_seconds": 1.0},
        "proxy": {"cpu_seconds": 1.0, "t": 1795341602.0},
    }
