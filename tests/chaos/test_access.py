"""What `meshverdict access` grants: enough for a run, in the lab's namespaces alone."""

import kubernetes_validate
import pytest

from meshverdict.chaos.access.manifests import EXTRAS, LAB, access, as_yaml
from meshverdict.model.errors import UsageError


def rules(documents, kind, name):
    """The rules of a role."""
    return next(d["rules"] for d in documents if d["kind"] == kind and d["metadata"]["name"] == name)


def test_the_runner_is_bound_in_the_labs_namespaces_and_nowhere_else():
    """The account lives where the load runs, which is always one of them."""
    made = access(["shop", "shop-data"])
    bound = [d["metadata"]["namespace"] for d in made if d["kind"] == "RoleBinding"]
    assert bound == ["shop", "shop-data", "load"]
    assert [d["metadata"]["namespace"] for d in made if d["kind"] == "ServiceAccount"] == ["load"]


def test_in_the_whole_cluster_it_may_only_look_and_label_its_own_namespaces():
    """No Secret, no wildcard, no writing without a name."""
    made = access()
    for rule in rules(made, "ClusterRole", "meshverdict-look"):
        looks = set(rule["verbs"]) <= {"get", "list"}
        assert looks or rule["resourceNames"] == list(LAB)
    whole = [d["roleRef"]["name"] for d in made if d["kind"] == "ClusterRoleBinding"]
    assert whole == ["meshverdict-look"]
    every = [rule for d in made for rule in d.get("rules") or ()]
    named = {word for rule in every for key in ("resources", "verbs", "apiGroups") for word in rule[key]}
    assert not named & {"*", "secrets", "nodes/proxy", "clusterroles", "rolebindings"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_goes_beyond_the_lab_is_asked_for_by_name(extra):
    """Each is an object of its own, and says in its file what it costs."""
    more = [d for d in access(extras=[extra]) if d not in access()]
    assert {d["kind"] for d in more} in ({"Role", "RoleBinding"}, {"ClusterRole", "ClusterRoleBinding"})


def test_everything_is_valid_kubernetes():
    """Without unknown fields."""
    for document in access(extras=EXTRAS):
        kubernetes_validate.validate(document, "1.36", strict=True)
    assert as_yaml(access()).count("---") == len(access()) - 1


def test_an_unknown_extra_is_refused():
    """With those that there are."""
    with pytest.raises(UsageError, match="choose of flows-hubble, flows-lab, usage"):
        access(extras=["everything"])


@pytest.mark.parametrize("name", ["A B", "", "-a", "x" * 64, "kube-system", "istio-system"])
def test_no_rights_where_a_run_never_writes(name):
    """Neither in a namespace of the cluster's own, nor in what is none."""
    with pytest.raises(UsageError, match=f"namespace '?{name}"):
        access(["d-redis", name])
