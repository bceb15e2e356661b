"""What must be right before anything is touched."""

import copy
import importlib

import pytest
import yaml

from meshverdict.chaos import guard
from meshverdict.chaos.experiment_file import Treatment
from meshverdict.chaos.guard import made_by, refuse_idle, refuse_outside, touched_by
from meshverdict.chaos.manifests import read_manifests
from meshverdict.model.errors import UsageError

POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "p", "namespace": "d-redis"},
    "spec": {"podSelector": {"matchLabels": {"app": "redis"}}},
}
PODS = [{"metadata": {"namespace": "d-redis", "name": "r", "labels": {"app": "redis"}}}]
LAB = ("d-redis", "c-app-count")


def action(func, module="chaosk8s.networking.actions", **arguments):
    """A method's action."""
    provider = {"type": "python", "module": module, "func": func, "arguments": arguments}
    return {"type": "action", "name": "it", "provider": provider}


def made(activity, configuration=None):
    """What the activity as treatment makes."""
    return made_by({"method": [activity]}, Treatment(("it",)), configuration or {}, {})


@pytest.fixture
def path(tmp_path):
    """The policy as a file."""
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(POLICY))
    return file


def test_policy_is_read_from_where_the_activity_will_read_it(path):
    """Variables are filled in as Chaos Toolkit does."""
    activity = action("create_network_policy", spec_path="${folder}/p.yaml", ns="d-redis")
    (item,) = made(activity, {"folder": str(path.parent)})
    assert str(item) == "NetworkPolicy d-redis/p"
    assert item.manifest == POLICY


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spec_path": "/nowhere/p.yaml", "ns": "d-redis"}, "there is no such file"),
        ({"ns": "d-redis"}, "it needs `spec_path` with a file"),
        ({"spec": {"podSelector": {}}, "ns": "d-redis"}, "with the whole NetworkPolicy"),
        ({"spec": POLICY, "ns": "other"}, "the policy belongs to namespace d-redis, `ns` says other"),
        ({"spec": POLICY}, "`ns` says default"),
    ],
)
def test_policy_that_would_not_arrive_is_refused(arguments, words):
    """chaosk8s would send nothing, something else, or to another namespace."""
    with pytest.raises(UsageError, match=words):
        made(action("create_network_policy", **arguments))


@pytest.mark.parametrize("text", ["", "a: [", "kind: NetworkPolicy\n", "- 1\n"])
def test_broken_manifest_is_named(path, text):
    """The file is in the message."""
    path.write_text(text)
    with pytest.raises(UsageError, match=f"manifest {path}"):
        read_manifests(path)


def test_folder_is_read_in_order_of_names(path):
    """As `kubectl apply -f` does."""
    (path.parent / "a.json").write_text('{"kind": "ConfigMap", "metadata": {"name": "a"}}')
    assert [m["metadata"]["name"] for m in read_manifests(path.parent)] == ["a", "p"]


def test_manifests_of_our_own_action_are_seen(path):
    """Its objects have the namespace of their manifests."""
    (item,) = made(action("apply_manifests", module="meshverdict.chaos.actions", paths=[str(path)]))
    assert item.namespace == "d-redis"


def test_policy_that_selects_nobody_is_refused(path):
    """A typing mistake in a label changes nothing in the cluster, and everything in the verdict."""
    policy = copy.deepcopy(POLICY)
    policy["spec"]["podSelector"] = {"matchLabels": {"app": "redsi"}}
    path.write_text(yaml.safe_dump(policy))
    items = made(action("create_network_policy", spec_path=str(path), ns="d-redis"))
    with pytest.raises(UsageError, match=r"NetworkPolicy d-redis/p: its podSelector .* selects no pod"):
        refuse_idle(items, PODS, LAB)


def test_policy_that_selects_somebody_is_let_through(path):
    """The check is not always red."""
    refuse_idle(made(action("create_network_policy", spec_path=str(path), ns="d-redis")), PODS, LAB)


def outside(activity, *, embedded):
    """Judge one action."""
    refuse_outside({"method": [activity]}, {"where": "kube-system"}, {}, LAB, embedded=embedded)


@pytest.mark.parametrize("embedded", [True, False])
def test_action_outside_the_lab_is_refused(embedded):
    """By the namespace that it names, directly, by a variable or by default."""
    for arguments in ({"name": "p", "ns": "kube-system"}, {"name": "p", "ns": "${where}"}, {"name": "p"}):
        with pytest.raises(
            UsageError, match=r"acts in namespace '(kube-system|default)', which is not labelled"
        ):
            outside(action("remove_network_policy", **arguments), embedded=embedded)


def test_action_on_the_whole_cluster_is_refused_on_a_real_one():
    """Nodes are not the lab's; the embedded lab's own may be acted upon."""
    cordon = action("cordon_node", module="chaosk8s.node.actions", name="n")
    outside(cordon, embedded=True)
    with pytest.raises(UsageError, match="acts on the whole cluster"):
        outside(cordon, embedded=False)


def test_action_inside_the_lab_is_let_through():
    """The check is not always red."""
    outside(action("remove_network_policy", name="p", ns="d-redis"), embedded=False)


@pytest.mark.parametrize(
    ("func", "arguments", "expected"),
    [
        ("deny_all_ingress", {}, ("NetworkPolicy", "chaostoolkit-deny-all-ingress")),
        ("remove_deny_all_egress", {}, ("NetworkPolicy", "chaostoolkit-deny-all-egress")),
        ("remove_network_policy", {"name": "mine"}, ("NetworkPolicy", "mine")),
        ("scale_deployment", {"name": "redis", "replicas": 0}, ("Deployment", "redis")),
        ("delete_deployment", {"name": "redis"}, ("Deployment", "redis")),
        ("delete_service", {"name": "redis"}, ("Service", "redis")),
        ("remove_statefulset", {"name": "paperino"}, ("StatefulSet", "paperino")),
        ("create_deployment", {"spec_path": "FILE"}, ("Deployment", "p")),
        ("create_custom_object", {"resource_as_yaml_file": "FILE"}, ("NetworkPolicy", "p")),
    ],
)
def test_what_chaosk8s_will_change_is_known_beforehand(func, arguments, expected, path):
    """So that it is written down, and a killed run's deletion can be undone."""
    given = {k: str(path) if v == "FILE" else v for k, v in arguments.items()}
    (item,) = touched_by({"method": [action(func, ns="d-redis", **given)]}, {}, {})
    assert (item.manifest["kind"], item.manifest["metadata"]["name"], item.namespace) == (
        *expected,
        "d-redis",
    )


def test_every_action_that_is_known_is_one_of_chaosk8s():
    """A name that chaosk8s does not have would never be met."""
    modules = [
        importlib.import_module(f"chaosk8s{name}.actions")
        for name in ("", ".daemonset", ".deployment", ".networking", ".service", ".statefulset")
    ]
    theirs = {name for module in modules for name in dir(module)}
    assert {*guard._POLICIES, *guard._NAMED, *guard._DESCRIBED} <= theirs
