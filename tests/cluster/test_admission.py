"""What the controllers and the runtime would not do is refused when it is applied, by its field."""

from __future__ import annotations

import pytest

from meshverdict.cluster.admission import refusals, warnings

TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
SET = {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "s", "template": TEMPLATE}
RULE = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}
ASKED = {
    ("statefulsets.apps", "spec.volumeClaimTemplates"): {
        **SET,
        "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
    },
    ("statefulsets.apps", "spec.updateStrategy.rollingUpdate.maxUnavailable"): {
        **SET,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}},
    },
    ("jobs.batch", "spec.podFailurePolicy"): {"template": TEMPLATE, "podFailurePolicy": {"rules": [RULE]}},
    ("jobs.batch", "spec.successPolicy"): {
        "template": TEMPLATE,
        "successPolicy": {"rules": [{"succeededCount": 1}]},
    },
    ("jobs.batch", "spec.backoffLimitPerIndex"): {"template": TEMPLATE, "backoffLimitPerIndex": 0},
    ("jobs.batch", "spec.maxFailedIndexes"): {"template": TEMPLATE, "maxFailedIndexes": 1},
    ("jobs.batch", "spec.managedBy"): {"template": TEMPLATE, "managedBy": "example.org/mine"},
}
GRANTED = {
    "statefulsets.apps": {**SET, "updateStrategy": {"rollingUpdate": {"maxUnavailable": 1, "partition": 1}}},
    "jobs.batch": {
        "template": TEMPLATE,
        "completions": 3,
        "parallelism": 2,
        "backoffLimit": 1,
        "activeDeadlineSeconds": 9,
        "ttlSecondsAfterFinished": 1,
        "completionMode": "Indexed",
        "suspend": True,
        "podReplacementPolicy": "TerminatingOrFailed",
    },
}


@pytest.mark.parametrize(("resource", "field"), ASKED)
def test_fields_that_no_controller_acts_upon(resource, field):
    """The field, and what to do, in one refusal."""
    (error,) = refusals(resource, {"metadata": {"name": "n"}, "spec": ASKED[resource, field]})
    assert (error.field, error.type) == (field, "FieldValueForbidden")
    assert "the embedded lab" in error.detail


@pytest.mark.parametrize(
    ("field", "spec", "container"),
    [
        ("spec.shareProcessNamespace", {"shareProcessNamespace": True}, {}),
        ("spec.setHostnameAsFQDN", {"setHostnameAsFQDN": True}, {}),
        ("spec.resourceClaims", {"resourceClaims": [{"name": "r", "resourceClaimName": "x"}]}, {}),
        ("spec.containers[0].lifecycle.stopSignal", {}, {"lifecycle": {"stopSignal": "SIGINT"}}),
        ("spec.containers[0].restartPolicyRules", {}, {"restartPolicyRules": [{"action": "Restart"}]}),
    ],
)
def test_fields_of_a_pod_that_nobody_acts_upon(field, spec, container):
    """The same for pods."""
    pod = {"containers": [{"name": "c", "image": "x", **container}], **spec}
    assert [e.field for e in refusals("pods", {"metadata": {"name": "n"}, "spec": pod})] == [field]


@pytest.mark.parametrize("resource", GRANTED)
def test_fields_that_are_acted_upon(resource):
    """They are let through without a word."""
    obj = {"metadata": {"name": "n"}, "spec": GRANTED[resource]}
    assert (refusals(resource, obj), warnings(resource, obj)) == ([], [])


async def test_kubectl_shows_the_field(api):
    """A refusal as a person reads it."""
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}}
    template = {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
    body["spec"] = {
        "template": template,
        "backoffLimitPerIndex": 1,
        "completions": 2,
        "completionMode": "Indexed",
    }
    status, _, answer = await api.request("POST", "/apis/batch/v1/namespaces/default/jobs", body)
    assert status == 422
    assert [c["field"] for c in answer["details"]["causes"]] == ["spec.backoffLimitPerIndex"]
    assert answer["message"].startswith(
        'Job.batch "j" is invalid: spec.backoffLimitPerIndex: Forbidden: the embedded lab'
    )


PDBS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


@pytest.mark.parametrize(("policy", "code"), [("IfHealthyBudget", 429), ("AlwaysAllow", 201)])
async def test_an_unhealthy_pod_may_be_evicted_if_its_budget_says_so(api, policy, code):
    """UnhealthyPodEvictionPolicy decides of a running pod that is not ready, when too few are healthy."""
    pod = {"metadata": {"name": "p", "namespace": "default", "labels": {"a": "b"}}, "spec": TEMPLATE["spec"]}
    api.objects.create("pods", pod, manager="t")
    api.run_pod("default", "p")
    stored = api.objects.get("pods", "default", "p")
    conditions = [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    api.objects.update_status(
        "pods", {**stored, "status": {**stored["status"], "conditions": conditions}}, manager="t"
    )
    spec = {"selector": {"matchLabels": {"a": "b"}}, "minAvailable": 1, "unhealthyPodEvictionPolicy": policy}
    made = api.objects.create(
        "poddisruptionbudgets.policy",
        {"metadata": {"name": "b", "namespace": "default"}, "spec": spec},
        manager="t",
    )
    figures = {"currentHealthy": 0, "desiredHealthy": 1, "expectedPods": 1, "disruptionsAllowed": 0}
    api.objects.update_status(
        "poddisruptionbudgets.policy", {**made, "status": {**figures, "observedGeneration": 1}}, manager="t"
    )
    status, _, _ = await api.request(
        "POST", "/api/v1/namespaces/default/pods/p/eviction", {"metadata": {"name": "p"}}
    )
    assert status == code
