"""CronJobs, HorizontalPodAutoscalers and leases of nodes as functions of what is there."""

from datetime import datetime

import pytest
from pretend_views import NOW, THEN, view

from meshverdict.cluster.controllers import autoscaler, cronjob, leases
from meshverdict.cluster.controllers.changes import Create, Delete, Emit, Requeue, Update, UpdateStatus

HOUR = 3600.0
REFERENCE = {"kind": "CronJob", "name": "j", "uid": "uid-j", "controller": True}


def cron(created=THEN, status=None, **spec):
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "j", "namespace": "x", "uid": "uid-j", "creationTimestamp": created},
        "spec": {
            "schedule": "0 * * * *",
            "concurrencyPolicy": "Allow",
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {"spec": {}}}},
            **spec,
        },
        "status": status or {},
    }


def job(hour, end=None):
    """A Job made for an hour of THEN's day, still running or ended with a condition."""
    time = f"2027-01-15T{hour:02}:00:00Z"
    ended = {"conditions": [{"type": end, "status": "True"}], "completionTime": time} if end else {}
    meta = {"name": f"j-{hour}", "namespace": "x", "ownerReferences": [REFERENCE]}
    return {
        "metadata": {**meta, "annotations": {cronjob.SCHEDULED: time}},
        "spec": {},
        "status": {"startTime": time, **ended},
    }


def of(changes, kind):
    return [c for c in changes if isinstance(c, kind)]


def reasons(changes):
    return [c.reason for c in of(changes, Emit)]


def test_nothing_before_its_time():
    """A new CronJob waits for the first time after its creation."""
    assert cronjob.plan(view(), cron(), NOW + 60) == [Requeue(HOUR - 60 + 0.1)]


def test_a_job_at_its_time():
    """The Job has the template's labels, its time, an owner, and a name made of the time in minutes."""
    changes = cronjob.plan(view(), cron(), NOW + HOUR + 0.1)
    (made,) = of(changes, Create)
    meta = made.obj["metadata"]
    assert meta["name"] == f"j-{int(NOW + HOUR) // 60}"
    assert meta["labels"] == {"a": "b"}
    assert meta["annotations"] == {cronjob.SCHEDULED: "2027-01-15T09:00:00Z"}
    assert meta["ownerReferences"][0]["controller"] is True
    assert made.event.message == "Created job {name}"


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [("* * * * *", 61), ("@every 7s", 3661), ("0 9 * * *", 3600), ("0,30 * * * *", 3600)],
)
def test_the_latest_of_many_missed_times(schedule, wanted):
    """Ten years of them, found without walking through: the last one that is not in the future."""
    there = cron(created="2017-01-15T08:00:00Z", schedule=schedule)
    (made,) = of(cronjob.plan(view(), there, NOW + HOUR + 61.5), Create)
    when = datetime.fromisoformat(made.obj["metadata"]["annotations"][cronjob.SCHEDULED]).timestamp()
    assert NOW + wanted - 7 < when <= NOW + HOUR + 61.5
    if schedule[0] != "@":
        assert when == NOW + (HOUR + 60 if wanted == 61 else wanted)


@pytest.mark.parametrize(
    "status",
    [
        {"active": [{}, {"name": "a"}, {"uid": "b"}]},
        {"lastScheduleTime": "9999-12-31T23:59:59Z"},
        {"lastScheduleTime": "0001-01-01T00:00:00Z"},
    ],
)
def test_a_status_that_somebody_wrote(status):
    """Is no reason to fail, and none to stop for ever."""
    changes = cronjob.plan(view(), cron(status=status), NOW + HOUR + 1)
    assert of(changes, Requeue)


def test_the_status_names_what_runs():
    """A Job that is there is active, its time is the last one, and no second one is made for it."""
    changes = cronjob.plan(view(jobs__batch=[job(9)]), cron(), NOW + HOUR + 1)
    (update,) = of(changes, UpdateStatus)
    status = update.obj["status"]
    assert [a["name"] for a in status["active"]] == ["j-9"]
    assert status["lastScheduleTime"] == "2027-01-15T09:00:00Z"
    assert of(changes, Create) == []


def test_a_finished_job_is_told_and_counted():
    """It leaves the active ones, and the last success is its end."""
    before = {"active": [{"name": "j-9", "uid": "uid-j-9"}], "lastScheduleTime": "2027-01-15T09:00:00Z"}
    changes = cronjob.plan(view(jobs__batch=[job(9, "Complete")]), cron(status=before), NOW + HOUR + 60)
    (update,) = of(changes, UpdateStatus)
    assert "active" not in update.obj["status"]
    assert update.obj["status"]["lastSuccessfulTime"] == "2027-01-15T09:00:00Z"
    assert reasons(changes) == ["SawCompletedJob"]


@pytest.mark.parametrize(
    ("policy", "made", "deleted", "told"),
    [
        ("Allow", 1, [], []),
        ("Forbid", 0, [], ["JobAlreadyActive"]),
        ("Replace", 1, ["j-9"], ["SuccessfulDelete"]),
    ],
)
def test_concurrency(policy, made, deleted, told):
    """While the last one runs: another beside it, none, or another in its place."""
    changes = cronjob.plan(view(jobs__batch=[job(9)]), cron(concurrencyPolicy=policy), NOW + 2 * HOUR + 1)
    assert len(of(changes, Create)) == made
    assert [d.name for d in of(changes, Delete)] == deleted
    assert reasons(changes) == told


def test_history():
    """The oldest finished ones beyond the limit go, each kind by its own."""
    jobs = [job(5, "Complete"), job(6, "Failed"), job(7, "Complete"), job(8, "Complete")]
    changes = cronjob.plan(view(jobs__batch=jobs), cron(), NOW + 60)
    assert [d.name for d in of(changes, Delete)] == ["j-5", "j-7"]


def test_late_and_suspended():
    """A start later than its deadline is missed, and a suspended CronJob starts nothing."""
    late = cron(startingDeadlineSeconds=10)
    assert of(cronjob.plan(view(), late, NOW + HOUR + 60), Create) == []
    assert cronjob.plan(view(), cron(suspend=True), NOW + HOUR + 1) == []


def test_only_the_latest_of_missed_times():
    """Nobody wants a hundred Jobs at once: one is made, for the latest time, and the others are told."""
    changes = cronjob.plan(view(), cron(schedule="* * * * *"), NOW + 2 * HOUR + 1)
    (made,) = of(changes, Create)
    assert made.obj["metadata"]["annotations"][cronjob.SCHEDULED] == "2027-01-15T10:00:00Z"
    assert reasons(changes) == ["TooManyMissedTimes"]


def target(replicas):
    return {"metadata": {"name": "web", "namespace": "x"}, "spec": {"replicas": replicas}}


def scaler(**status):
    meta = {"name": "h", "namespace": "x", "uid": "uid-h", "creationTimestamp": THEN}
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    metrics = [{"type": "Resource", "resource": cpu}]
    spec = {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 4, "metrics": metrics}
    return {"metadata": meta, "spec": spec, "status": status}


@pytest.mark.parametrize(("replicas", "wanted"), [(1, 2), (6, 4)])
def test_an_autoscaler_keeps_its_bounds(replicas, wanted):
    """Too few or too many replicas become as many as the bound."""
    changes = autoscaler.plan(view(deployments__apps=[target(replicas)]), scaler(), NOW + 16)
    (update,) = of(changes, Update)
    assert update.obj["spec"]["replicas"] == wanted
    assert reasons(changes) == ["SuccessfulRescale"]


def test_an_autoscaler_says_that_nothing_is_measured():
    """Between the bounds it changes nothing, and its condition and Warnings say why; once, not at every look."""
    there = view(deployments__apps=[target(3)])
    changes = autoscaler.plan(there, scaler(), NOW + 16)
    assert of(changes, Update) == []
    assert reasons(changes) == ["FailedGetResourceMetric", "FailedComputeMetricsReplicas"]
    status = of(changes, UpdateStatus)[0].obj["status"]
    (active,) = [c for c in status["conditions"] if c["type"] == "ScalingActive"]
    assert (active["status"], active["reason"]) == ("False", "FailedGetResourceMetric")
    assert "the server could not find the requested resource (get pods.metrics.k8s.io)" in active["message"]
    assert autoscaler.plan(there, scaler(**status), NOW + 31) == [Requeue(15.0)]


def test_an_autoscaler_without_its_target():
    """A target that is not there, or that nobody can scale, is a condition and a Warning."""
    changes = autoscaler.plan(view(), scaler(), NOW + 16)
    assert reasons(changes) == ["FailedGetScale"]
    assert 'deployments.apps "web" not found' in of(changes, Emit)[0].message


def test_an_autoscaler_looks_after_fifteen_seconds():
    """As in Kubernetes, not at once."""
    assert autoscaler.plan(view(), scaler(), NOW + 5) == [Requeue(10.0)]


def test_a_ready_node_keeps_its_lease():
    """Made once, renewed every ten seconds, and left alone while the node is not ready."""
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    one = {"metadata": {"name": "a", "uid": "uid-a"}, "status": ready}
    home = {"metadata": {"name": "kube-node-lease"}}
    (made, wait) = leases.plan(view(namespaces=[home]), one, NOW)
    assert made.obj["spec"]["holderIdentity"] == "a"
    assert made.obj["metadata"]["ownerReferences"][0]["kind"] == "Node"
    assert wait == Requeue(10.0)
    there = view(namespaces=[home], leases__coordination__k8s__io=[made.obj])
    assert leases.plan(there, one, NOW + 4) == [Requeue(6.0)]
    (renewed, _) = leases.plan(there, one, NOW + 11)
    assert renewed.obj["spec"]["renewTime"] == "2027-01-15T08:00:11.000000Z"
    cut_off = {"labels": {"meshverdict.io/silent-noticed-at": "1800000060"}}
    assert leases.plan(there, {**one, "metadata": one["metadata"] | cut_off}, NOW + 20) == []
    ready["conditions"][0]["status"] = "False"
    assert leases.plan(there, one, NOW + 20) == []
