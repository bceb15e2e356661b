"""What decides where pods go is refused by its field when nobody could read it, and bounded when it is large."""

from __future__ import annotations

import time

import pytest

from meshverdict.cluster.controllers import job_pods
from meshverdict.cluster.controllers.job import _Count, _create
from meshverdict.cluster.escalation import uncovered

PODS = "/api/v1/namespaces/default/pods"
NEEDED = "requiredDuringSchedulingIgnoredDuringExecution"


def pod(**spec):
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "busybox"}], **spec}}


def node_term(**expression):
    return {"nodeAffinity": {NEEDED: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"affinity": node_term(key="a", operator="Gt")},
            "matchExpressions[0].values: Required value: must be specified single value when `operator` is 'Lt' or",
        ),
        (
            {"affinity": node_term(key="a", operator="exists")},
            'matchExpressions[0].operator: Invalid value: "exists": not a valid selector operator',
        ),
        (
            {"affinity": {"nodeAffinity": {NEEDED: {"nodeSelectorTerms": []}}}},
            "nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
        (
            {"affinity": {"podAntiAffinity": {NEEDED: [{"labelSelector": {"matchLabels": {"a": "b"}}}]}}},
            f"spec.affinity.podAntiAffinity.{NEEDED}[0].topologyKey: Required value: can not be empty",
        ),
        (
            {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z"}]},
            'spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: ""',
        ),
        (
            {
                "topologySpreadConstraints": [
                    {"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}
                ]
            },
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
    ],
)
async def test_wrong_places(api, spec, words):
    """Refused with 422, the field and Kubernetes' words."""
    status, _, answer = await api.request("POST", PODS, pod(**spec))
    assert (status, answer["reason"]) == (422, "Invalid")
    assert words in answer["message"]


async def test_wrong_taints(api):
    """A taint without an effect is refused: everybody who looks at the node reads it."""
    body = {"metadata": {"name": "n"}, "spec": {"taints": [{"key": "a"}]}}
    status, _, answer = await api.request("POST", "/api/v1/nodes", body)
    assert status == 422
    assert "spec.taints[0].effect: Required value" in answer["message"]


async def test_a_jobs_selector_that_nobody_can_read(api):
    """Refused by its field, before it is compared with the labels."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}
    body = {"metadata": {"name": "j"}, "spec": {"selector": {"matchExpressions": [{}]}, "template": template}}
    status, _, answer = await api.request("POST", "/apis/batch/v1/namespaces/default/jobs", body)
    assert status == 422
    assert "spec.selector.matchExpressions[0].operator: Invalid value" in answer["message"]


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        ({"ports": [{"port": 70000}]}, "ports[0].port: Invalid value: 70000: must be between 1 and 65535"),
        ({"endpoints": [{"addresses": ["fd00::1"]}]}, "endpoints[0].addresses[0]: Invalid value"),
    ],
)
async def test_slices_that_no_node_could_load(api, piece, words):
    """A port or an address that the rules of all nodes would stumble over."""
    body = {"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [], **piece}
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    status, _, answer = await api.request("POST", path, body)
    assert status == 422
    assert words in answer["message"]


async def test_a_preference_that_no_proxy_knows(api):
    """Accepted, it would be no preference at all: traffic would go everywhere, and nobody would be told."""
    spec = {"ports": [{"port": 80}], "trafficDistribution": "Near"}
    body = {"metadata": {"name": "s"}, "spec": spec}
    path = "/api/v1/namespaces/default/services"
    status, _, answer = await api.request("POST", path, body)
    assert (status, answer["reason"]) == (422, "Invalid")
    words = 'spec.trafficDistribution: Unsupported value: "Near": supported values: '
    assert f'{words}"PreferClose", "PreferSameZone", "PreferSameNode"' in answer["message"]
    for known in ("PreferClose", "PreferSameZone", "PreferSameNode"):
        spec["trafficDistribution"], body["metadata"]["name"] = known, known.lower()
        assert (await api.request("POST", path, body))[0] == 201


def test_a_job_of_endless_indexes_is_planned_in_parts():
    """A plan is a burst of pods, however many are wanted, and lists nothing that it does not make."""
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j", "namespace": "x", "uid": "u"},
        "spec": {
            "completions": 2**31 - 1,
            "completionMode": "Indexed",
            "template": {"spec": {"containers": []}},
        },
    }
    count = _Count(active=[], ending=[], newly=[], succeeded=0, failed=0, indexes=frozenset())
    begun = time.process_time()
    assert len(_create(job, count, 2**31 - 1)) == 64
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("text", ["0-9999999999", "0-999999999", "x", "1-", "\N{SUPERSCRIPT TWO}"])
def test_indexes_that_are_none(text):
    """Whoever may write a status may write anything there."""
    assert job_pods.parse_indexes(text) == set()
    assert job_pods.parse_indexes("0-2,4") == {0, 1, 2, 4}


def test_a_rule_of_a_thousand_million_parts():
    """Covered as a whole, or refused as a whole, without being taken apart."""
    many = [f"r{n}" for n in range(1000)]
    rule = {"apiGroups": many, "resources": many, "verbs": many}
    begun = time.process_time()
    assert uncovered([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}], [rule]) == []
    (missing,) = uncovered([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}], [rule])
    assert time.process_time() - begun < 1
    assert missing["verbs"] == many[:5]
