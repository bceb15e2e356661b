"""Who may write Roles gives away no more than they have."""

from __future__ import annotations

import json

import pytest

GROUP = "rbac.authorization.k8s.io"
ROLES = f"/apis/{GROUP}/v1/namespaces/default/roles"
BINDINGS = f"/apis/{GROUP}/v1/namespaces/default/rolebindings"
OWN = [
    {
        "apiGroups": [GROUP],
        "resources": ["roles", "rolebindings"],
        "verbs": ["create", "update", "patch", "get"],
    },
    {"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]},
    {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["*"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["mine"]},
]
MAY = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    {"apiGroups": ["apps"], "resources": ["deployments", "deployments/scale"], "verbs": ["delete"]},
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["mine"]},
]
MAY_NOT = {
    '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}': {
        "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"],
    },
    '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}': {
        "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "delete"],
    },
    '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}': {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
    '{APIGroups:[""], Resources:["configmaps"], Verbs:["get"]}': {
        "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"],
    },
    '{APIGroups:[""], Resources:["configmaps"], ResourceNames:["yours"], Verbs:["get"]}': {
        "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["yours"],
    },
}  # fmt: skip


@pytest.fixture
def robot(api):
    """The token of an account with the rights above."""
    return account(api, "robot", OWN)


def account(api, name, rules):
    """A service account with rules of its own; its token."""
    api.account(name=name)
    meta = {"name": f"of-{name}", "namespace": "default"}
    api.objects.create(f"roles.{GROUP}", {"metadata": meta, "rules": rules}, manager="t")
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    reference = {"apiGroup": GROUP, "kind": "Role", "name": f"of-{name}"}
    body = {"metadata": meta, "subjects": [subject], "roleRef": reference}
    api.objects.create(f"rolebindings.{GROUP}", body, manager="t")
    return api.auth.issue(api.objects.get("serviceaccounts", "default", name))[0]


def role(name, *rules):
    return {"apiVersion": f"{GROUP}/v1", "kind": "Role", "metadata": {"name": name}, "rules": list(rules)}


async def test_what_one_has_may_be_given(api, robot):
    """A Role with a part of the writer's own rights, and a binding to it."""
    assert (await api.request("POST", ROLES, role("r", *MAY), token=robot))[0] == 201
    body = {"metadata": {"name": "b"}, "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "r"}}
    assert (await api.request("POST", BINDINGS, body, token=robot))[0] == 201


@pytest.mark.parametrize("missing", MAY_NOT)
async def test_what_one_lacks_may_not(api, robot, missing):
    """By create, update, patch, apply and binding: 403, in a real server's words, and nothing is stored."""
    rule = MAY_NOT[missing]
    status, _, answer = await api.request("POST", ROLES, role("r", rule), token=robot)
    assert (status, answer["reason"]) == (403, "Forbidden")
    assert answer["message"] == (
        f'roles.{GROUP} "r" is forbidden: user "system:serviceaccount:default:robot" (groups=["system:serviceaccounts" '
        '"system:serviceaccounts:default" "system:authenticated"]) is attempting to grant RBAC permissions not '
        f"currently held:\n{missing}"
    )
    apply = {"data": json.dumps(role("r", rule)).encode(), "content_type": "application/apply-patch+yaml"}
    assert (await api.request("PATCH", f"{ROLES}/r?fieldManager=f", token=robot, **apply))[0] == 403
    assert api.objects.get(f"roles.{GROUP}", "default", "r") is None
    api.objects.create(
        f"roles.{GROUP}", {**role("r"), "metadata": {"name": "r", "namespace": "default"}}, manager="t"
    )
    assert (await api.request("PUT", f"{ROLES}/r", role("r", rule), token=robot))[0] == 403
    merge = {"data": json.dumps({"rules": [rule]}).encode(), "content_type": "application/merge-patch+json"}
    assert (await api.request("PATCH", f"{ROLES}/r", token=robot, **merge))[0] == 403
    assert (await api.request("PATCH", f"{ROLES}/r?fieldManager=f&force=true", token=robot, **apply))[
        0
    ] == 403
    assert api.objects.get(f"roles.{GROUP}", "default", "r").get("rules") in (None, [])


async def test_a_binding_gives_no_more_than_its_writer_has(api, robot):
    """Binding oneself to cluster-admin is refused; a role that is not there is 404."""
    body = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    }
    status, _, answer = await api.request("POST", BINDINGS, body, token=robot)
    assert status == 403
    assert "permissions not currently held" in answer["message"]
    body["roleRef"] = {**body["roleRef"], "name": "none"}
    assert (await api.request("POST", BINDINGS, body, token=robot))[0] == 404


async def test_who_may_escalate_or_bind(api):
    """Those verbs are the exemption, and the administrator needs none."""
    verbs = ["create", "escalate", "bind"]
    rules = [{"apiGroups": [GROUP], "resources": ["roles", "clusterroles", "rolebindings"], "verbs": verbs}]
    token = account(api, "chief", rules)
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    for name, who in (("a", token), ("b", "")):
        assert (await api.request("POST", ROLES, role(name, everything), token=who))[0] == 201
        reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "cluster-admin"}
        body = {"metadata": {"name": name}, "roleRef": reference}
        assert (await api.request("POST", BINDINGS, body, token=who))[0] == 201


async def test_an_apply_of_what_is_not_there_needs_create(api):
    """The right to patch makes no new objects, and neither does the right to update."""
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch", "get"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update", "get"]},
    ]
    token = account(api, "patcher", rules)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}}
    path = "/api/v1/namespaces/default/configmaps/c?fieldManager=f"
    apply = {"data": json.dumps(body).encode(), "content_type": "application/apply-patch+yaml"}
    status, _, answer = await api.request("PATCH", path, token=token, **apply)
    assert (status, "cannot create resource" in answer["message"]) == (403, True)
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}}
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l"
    assert (await api.request("PUT", path, lease, token=token))[0] == 403
