"""Workload controllers at work: store, writer, runner and a kubelet that pretends."""

import pytest
from pretend_cluster import Cluster, deployment, template

from meshverdict.cluster.controllers.meta import condition
from meshverdict.cluster.controllers.pods import ready


def statuses(conditions):
    return [(c["type"], c["status"], c["reason"], c["message"]) for c in conditions]


def daemonset(**spec):
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "ds", "namespace": "x"},
        "spec": {"selector": {"matchLabels": {"app": "ds"}}, "template": template({"app": "ds"}), **spec},
    }


def statefulset(**spec):
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "ss", "namespace": "x"},
        "spec": {
            "replicas": 3,
            "serviceName": "ss",
            "selector": {"matchLabels": {"app": "ss"}},
            "template": template({"app": "ss"}),
            **spec,
        },
    }


def job(**spec):
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job1", "namespace": "x"},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": 6,
            "template": template({"app": "job"}, restartPolicy="Never"),
            **spec,
        },
    }


def restart(obj):
    """What ``kubectl rollout restart`` changes."""
    meta = obj["spec"]["template"]["metadata"]
    meta["annotations"] = {"kubectl.kubernetes.io/restartedAt": "now"}


async def test_deployment_reaches_the_status_that_a_real_server_ends_with():
    """Counters, conditions and their texts are those of the recording `rollout-05`."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment())
        await cluster.settled()
        (rs,) = cluster.list("replicasets.apps")
        status = cluster.get("deployments.apps", "x", "web")["status"]
        conditions = status.pop("conditions")
        assert list(status.items()) == [
            ("observedGeneration", 1),
            ("replicas", 2),
            ("updatedReplicas", 2),
            ("readyReplicas", 2),
            ("availableReplicas", 2),
            ("terminatingReplicas", 0),
        ]
        assert statuses(conditions) == [
            ("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            (
                "Progressing",
                "True",
                "NewReplicaSetAvailable",
                f'ReplicaSet "{rs["metadata"]["name"]}" has successfully progressed.',
            ),
        ]
        assert rs["status"] == {
            "replicas": 2,
            "fullyLabeledReplicas": 2,
            "readyReplicas": 2,
            "availableReplicas": 2,
            "terminatingReplicas": 0,
            "observedGeneration": 1,
        }
        assert sorted(p["spec"]["nodeName"] for p in cluster.list("pods")) == ["node-a", "node-b"]


async def test_rolling_update_never_leaves_its_bounds():
    """With 4 replicas, 25 % surge and 25 % unavailable, pods stay within 3 ready and 5 in all."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment(replicas=4))
        await cluster.settled()
        seen = []

        def watch(event):
            if event.resource == "pods":
                pods = [p for p in cluster.list("pods") if not p["metadata"].get("deletionTimestamp")]
                seen.append((sum(map(ready, pods)), len(pods)))

        cluster.store.subscribe(watch)
        cluster.edit("deployments.apps", "web", restart)
        await cluster.settled()
        assert min(n for n, _ in seen) >= 3
        assert max(n for _, n in seen) <= 5
        sizes = sorted(rs["spec"]["replicas"] for rs in cluster.list("replicasets.apps"))
        assert sizes == [0, 4]


async def test_undo_gives_the_old_replicaset_a_new_revision():
    """The ReplicaSet of the first template is used again, as revision 3, and remembers that it was 1."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment())
        await cluster.settled()
        cluster.edit("deployments.apps", "web", restart)
        await cluster.settled()
        cluster.edit(
            "deployments.apps", "web", lambda d: d["spec"]["template"]["metadata"].pop("annotations")
        )
        await cluster.settled()
        prefix = "deployment.kubernetes.io/"
        found = {
            rs["spec"]["replicas"]: {
                k.removeprefix(prefix): v for k, v in rs["metadata"]["annotations"].items()
            }
            for rs in cluster.list("replicasets.apps")
        }
        common = {"desired-replicas": "2", "max-replicas": "3"}
        assert found == {
            2: {**common, "revision": "3", "revision-history": "1"},
            0: {**common, "revision": "2"},
        }
        annotations = cluster.get("deployments.apps", "x", "web")["metadata"]["annotations"]
        assert annotations == {prefix + "revision": "3"}


async def test_scaling_to_zero_and_up_again():
    """The counters vanish at zero, and come back."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment(replicas=3))
        await cluster.settled()
        cluster.edit("deployments.apps", "web", lambda d: d["spec"].update(replicas=0))
        await cluster.settled()
        status = cluster.get("deployments.apps", "x", "web")["status"]
        assert {k: v for k, v in status.items() if k != "conditions"} == {
            "observedGeneration": 2,
            "terminatingReplicas": 0,
        }
        cluster.edit("deployments.apps", "web", lambda d: d["spec"].update(replicas=5))
        await cluster.settled()
        assert cluster.get("deployments.apps", "x", "web")["status"]["availableReplicas"] == 5


async def test_recreate_starts_new_pods_after_the_old_ones_are_gone():
    """Never are two templates at work together."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment(strategy={"type": "Recreate"}))
        await cluster.settled()
        mixed = []

        def watch(event):
            if event.resource == "pods":
                hashes = {p["metadata"]["labels"]["pod-template-hash"] for p in cluster.list("pods")}
                mixed.append(len(hashes) > 1)

        cluster.store.subscribe(watch)
        cluster.edit("deployments.apps", "web", restart)
        await cluster.settled()
        assert mixed
        assert not any(mixed)
        assert cluster.get("deployments.apps", "x", "web")["status"]["availableReplicas"] == 2


async def test_paused_deployment_scales_but_does_not_roll():
    """A paused Deployment keeps its template; resuming rolls it out."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment())
        await cluster.settled()
        cluster.edit("deployments.apps", "web", lambda d: d["spec"].update(paused=True, replicas=3))
        cluster.edit("deployments.apps", "web", restart)
        await cluster.settled()
        (rs,) = cluster.list("replicasets.apps")
        progress = condition(cluster.get("deployments.apps", "x", "web"), "Progressing")
        assert (rs["spec"]["replicas"], progress["reason"]) == (3, "DeploymentPaused")
        cluster.edit("deployments.apps", "web", lambda d: d["spec"].update(paused=False))
        await cluster.settled()
        assert len(cluster.list("replicasets.apps")) == 2
        assert cluster.get("deployments.apps", "x", "web")["status"]["updatedReplicas"] == 3


async def test_a_stuck_rollout_exceeds_its_deadline():
    """Pods that never become ready: Progressing turns False, the old pods stay."""
    async with Cluster(verdict=lambda pod: None if pod["spec"].get("stuck") else "Running") as cluster:
        cluster.create("deployments.apps", deployment(progressDeadlineSeconds=1))
        await cluster.settled()
        cluster.edit("deployments.apps", "web", lambda d: d["spec"]["template"]["spec"].update(stuck=True))

        def given_up():
            conditions = cluster.get("deployments.apps", "x", "web")["status"]["conditions"]
            return [c for c in conditions if c["reason"] == "ProgressDeadlineExceeded"]

        (verdict,) = await cluster.until(given_up)
        assert verdict["status"] == "False"
        assert verdict["message"].endswith("has timed out progressing.")
        assert cluster.get("deployments.apps", "x", "web")["status"]["availableReplicas"] == 2


async def test_a_deleted_pod_is_replaced():
    """What terminate_pods of a chaos experiment relies on."""
    async with Cluster() as cluster:
        cluster.create("deployments.apps", deployment())
        await cluster.settled()
        before = {p["metadata"]["name"] for p in cluster.list("pods")}
        cluster.objects.delete("pods", "x", min(before), manager="test")
        await cluster.settled()
        after = {p["metadata"]["name"] for p in cluster.list("pods")}
        assert (len(after), len(after & before)) == (2, 1)


async def test_daemonset_has_a_pod_on_every_node_that_it_fits():
    """Cordoned nodes count, tainted ones do not; a new node gets a pod; status as recorded."""
    async with Cluster() as cluster:
        cluster.create("daemonsets.apps", daemonset())
        cluster.add_node("c", unschedulable=True)
        cluster.add_node("d", taints=[{"key": "k", "effect": "NoSchedule"}])
        await cluster.settled()
        assert sorted(p["spec"]["nodeName"] for p in cluster.list("pods")) == ["node-a", "node-b", "node-c"]
        assert cluster.get("daemonsets.apps", "x", "ds")["status"] == {
            "currentNumberScheduled": 3,
            "numberMisscheduled": 0,
            "desiredNumberScheduled": 3,
            "numberReady": 3,
            "observedGeneration": 1,
            "updatedNumberScheduled": 3,
            "numberAvailable": 3,
        }


@pytest.mark.parametrize(("surge", "lowest"), [(0, 1), (1, 2)])
async def test_daemonset_update_goes_node_by_node(surge, lowest):
    """One node at a time is without a ready pod; with maxSurge none is."""
    rolling = {"maxUnavailable": 0 if surge else 1, "maxSurge": surge}
    async with Cluster() as cluster:
        cluster.create(
            "daemonsets.apps", daemonset(updateStrategy={"type": "RollingUpdate", "rollingUpdate": rolling})
        )
        await cluster.settled()
        seen = []

        def watch(event):
            if event.resource == "pods":
                alive = [p for p in cluster.list("pods") if not p["metadata"].get("deletionTimestamp")]
                seen.append(len({p["spec"].get("nodeName") for p in alive if ready(p)}))

        cluster.store.subscribe(watch)
        cluster.edit("daemonsets.apps", "ds", restart)
        await cluster.settled()
        hashes = {p["metadata"]["labels"]["controller-revision-hash"] for p in cluster.list("pods")}
        assert (min(seen), len(hashes), len(cluster.list("pods"))) == (lowest, 1, 2)
        assert [r["revision"] for r in cluster.list("controllerrevisions.apps")] in ([1, 2], [2, 1])


async def test_statefulset_makes_its_pods_in_order_with_stable_names():
    """Each pod waits for the one before; names, host names and labels; status as recorded."""
    order = []
    async with Cluster() as cluster:

        def watch(event):
            if event.resource == "pods" and event.type == "ADDED":
                order.append((event.obj["metadata"]["name"], sum(map(ready, cluster.list("pods")))))

        cluster.store.subscribe(watch)
        cluster.create("statefulsets.apps", statefulset())
        await cluster.settled()
        assert order == [("ss-0", 0), ("ss-1", 1), ("ss-2", 2)]
        pod = cluster.get("pods", "x", "ss-1")
        revision = pod["metadata"]["labels"]["controller-revision-hash"]
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("ss-1", "ss")
        assert pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "1"
        assert cluster.get("statefulsets.apps", "x", "ss")["status"] == {
            "observedGeneration": 1,
            "replicas": 3,
            "readyReplicas": 3,
            "currentReplicas": 3,
            "updatedReplicas": 3,
            "currentRevision": revision,
            "updateRevision": revision,
            "collisionCount": 0,
            "availableReplicas": 3,
        }


async def test_statefulset_updates_down_to_the_partition_and_scales_from_the_end():
    """Partition 1 keeps ss-0 as it was; scaling to 1 removes ss-2, then ss-1."""
    async with Cluster() as cluster:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        cluster.create("statefulsets.apps", statefulset(updateStrategy=strategy))
        await cluster.settled()
        old = cluster.get("pods", "x", "ss-0")["metadata"]["labels"]["controller-revision-hash"]
        cluster.edit("statefulsets.apps", "ss", restart)
        await cluster.settled()
        kept = [p["metadata"]["labels"]["controller-revision-hash"] == old for p in cluster.list("pods")]
        status = cluster.get("statefulsets.apps", "x", "ss")["status"]
        assert kept == [True, False, False]
        assert (status["currentReplicas"], status["updatedReplicas"]) == (1, 2)
        gone = []
        cluster.store.subscribe(
            lambda e: (
                gone.append(e.obj["metadata"]["name"])
                if e.type == "DELETED" and e.resource == "pods"
                else None
            )
        )
        cluster.edit("statefulsets.apps", "ss", lambda s: s["spec"].update(replicas=1))
        await cluster.settled()
        assert gone == ["ss-2", "ss-1"]


async def test_job_completes_as_recorded():
    """Conditions, counters and their order are those of the recording `statefulset-job-06`."""
    async with Cluster(verdict=lambda _: "Succeeded") as cluster:
        cluster.create("jobs.batch", job())
        await cluster.settled()
        status = cluster.get("jobs.batch", "x", "job1")["status"]
        text = ("True", "CompletionsReached", "Reached expected number of succeeded pods")
        assert statuses(status["conditions"]) == [("SuccessCriteriaMet", *text), ("Complete", *text)]
        assert list(status) == [
            "conditions",
            "startTime",
            "succeeded",
            "terminating",
            "uncountedTerminatedPods",
            "ready",
            "completionTime",
        ]
        assert status["succeeded"] == 1
        assert "finalizers" not in cluster.list("pods")[0]["metadata"]


async def test_indexed_job_runs_each_index_once():
    """Indexes in annotation, label, host name and environment; completedIndexes in short form."""
    async with Cluster(verdict=lambda _: "Succeeded") as cluster:
        cluster.create("jobs.batch", job(completions=4, parallelism=2, completionMode="Indexed"))
        await cluster.settled()
        pods = cluster.list("pods")
        key = "batch.kubernetes.io/job-completion-index"
        assert sorted(p["metadata"]["annotations"][key] for p in pods) == ["0", "1", "2", "3"]
        assert sorted(p["spec"]["hostname"] for p in pods) == ["job1-0", "job1-1", "job1-2", "job1-3"]
        assert pods[0]["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
        status = cluster.get("jobs.batch", "x", "job1")["status"]
        assert (status["completedIndexes"], status["succeeded"]) == ("0-3", 4)


@pytest.mark.parametrize(
    ("spec", "verdict", "reason"),
    [
        ({"backoffLimit": 0}, "Failed", "BackoffLimitExceeded"),
        ({"activeDeadlineSeconds": 1}, "Running", "DeadlineExceeded"),
    ],
)
async def test_job_fails(spec, verdict, reason):
    """Too many failures or too long: FailureTarget first, Failed when no pod runs any more."""
    async with Cluster(verdict=lambda _: verdict) as cluster:
        cluster.create("jobs.batch", job(**spec))

        def conditions():
            return (cluster.get("jobs.batch", "x", "job1").get("status") or {}).get("conditions", [])

        await cluster.until(lambda: len(conditions()) == 2)
        assert [(c["type"], c["reason"]) for c in conditions()] == [
            ("FailureTarget", reason),
            ("Failed", reason),
        ]


async def test_finished_job_goes_after_its_time_and_suspended_job_has_no_pods():
    """A time to live of 0 deletes at once; suspend removes the pods, resuming brings them back."""
    async with Cluster(verdict=lambda _: "Succeeded") as cluster:
        cluster.create("jobs.batch", job(ttlSecondsAfterFinished=0))
        await cluster.settled()
        assert (cluster.list("jobs.batch"), cluster.list("pods")) == ([], [])
    async with Cluster() as cluster:
        cluster.create("jobs.batch", job())
        await cluster.settled()
        cluster.edit("jobs.batch", "job1", lambda j: j["spec"].update(suspend=True))
        await cluster.settled()
        status = cluster.get("jobs.batch", "x", "job1")["status"]
        assert (cluster.list("pods"), status["conditions"][0]["reason"]) == ([], "JobSuspended")
        cluster.edit("jobs.batch", "job1", lambda j: j["spec"].update(suspend=False))
        await cluster.settled()
        assert cluster.get("jobs.batch", "x", "job1")["status"]["active"] == 1
