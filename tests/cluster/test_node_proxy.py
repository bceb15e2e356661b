"""A node's kubelet through the API: the summary of what its pods use, for whom may ask, and nothing else."""

from __future__ import annotations

import pytest


@pytest.fixture
def node(api):
    """A node by that name."""
    api.objects.create("nodes", {"metadata": {"name": "node-x"}}, manager="test")
    return "/api/v1/nodes/node-x"


@pytest.mark.parametrize("name", ["node-x", "node-x:10250"])
@pytest.mark.parametrize("path", ["stats/summary", "stats%2Fsummary", "stats/summary/"])
async def test_summary_is_served(api, node, name, path):
    """With the kubelet's port and without, the slash written out or as client libraries write it."""
    status, _, answer = await api.request("GET", f"{node.replace('node-x', name)}/proxy/{path}")
    assert (status, answer) == (200, {"node": {"nodeName": "node-x"}, "pods": []})


@pytest.mark.parametrize(
    "path", ["", "/", "/metrics", "/stats", "/exec/default/p/c?command=id", "/stats/../logs"]
)
async def test_nothing_else_of_a_kubelet_is_there(api, node, path):
    """404, saying what is there."""
    status, _, answer = await api.request("GET", f"{node}/proxy{path}")
    assert (status, answer["reason"]) == (404, "NotFound")
    assert "/stats/summary alone" in answer["message"]


async def test_only_get(api, node):
    """It is read and not written."""
    status, _, _ = await api.request("POST", f"{node}/proxy/stats/summary", body={})
    assert status == 405


async def test_unknown_node(api):
    """404 with the node's name."""
    status, _, answer = await api.request("GET", "/api/v1/nodes/nobody/proxy/stats/summary")
    assert (status, answer["details"]["name"]) == (404, "nobody")


async def test_needs_the_right_of_its_own(api, node):
    """Who may read nodes may not yet ask their kubelets."""
    api.account("default", "reader")
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}
    api.objects.create(
        "clusterroles.rbac.authorization.k8s.io", {"metadata": {"name": "r"}, "rules": [rule]}, manager="t"
    )
    binding = {
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}],
    }
    api.objects.create("clusterrolebindings.rbac.authorization.k8s.io", binding, manager="t")
    as_reader = {"Impersonate-User": "system:serviceaccount:default:reader"}
    assert (await api.request("GET", node, headers=as_reader))[0] == 200
    assert (await api.request("GET", f"{node}/proxy/stats/summary", headers=as_reader))[0] == 403
