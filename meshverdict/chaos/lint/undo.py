"""What a run leaves behind: rollbacks that are missing, not played, or undo nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshverdict.chaos.lint.findings import Activity, Subject, as_object

_NETWORK: Final = "chaosk8s.networking.actions"
_CRD: Final = "chaosk8s.crd.actions"
_NODE: Final = "chaosk8s.node.actions"
_OURS: Final = "meshverdict.chaos.actions"
_DELAYS: Final = "chaosk8s.chaosmesh.network.actions"
_STRESS: Final = "chaosk8s.chaosmesh.stress.actions"


@dataclass(frozen=True, slots=True)
class _Change:
    """A function that changes something until others change it back."""

    undo: tuple[str, ...]
    shared: tuple[str, ...] = ("ns", "name")


# By module and function. terminate_pods and rollout_deployment are undone by their controllers.
_CHANGES: Final[Mapping[tuple[str, str], _Change]] = {
    (_NETWORK, "create_network_policy"): _Change(("remove_network_policy",), ("ns",)),
    (_NETWORK, "deny_all_ingress"): _Change(("remove_deny_all_ingress",), ("ns",)),
    (_NETWORK, "deny_all_egress"): _Change(("remove_deny_all_egress",), ("ns",)),
    (_NETWORK, "allow_dns_access"): _Change(("remove_allow_dns_access",), ("ns",)),
    (_NETWORK, "create_ingress"): _Change(("delete_ingress",), ("ns",)),
    (_NETWORK, "update_ingress"): _Change(("update_ingress",)),
    (_CRD, "create_custom_object"): _Change(("delete_custom_object",), ("ns", "plural")),
    (_CRD, "create_cluster_custom_object"): _Change(("delete_cluster_custom_object",), ("plural",)),
    (_CRD, "patch_custom_object"): _Change(("patch_custom_object", "replace_custom_object")),
    (_NODE, "cordon_node"): _Change(("uncordon_node",), ()),
    (_NODE, "drain_nodes"): _Change(("uncordon_node",), ()),
    ("chaosk8s.deployment.actions", "create_deployment"): _Change(("delete_deployment",), ("ns",)),
    ("chaosk8s.deployment.actions", "scale_deployment"): _Change(("scale_deployment",)),
    ("chaosk8s.statefulset.actions", "scale_statefulset"): _Change(("scale_statefulset",)),
    ("chaosk8s.statefulset.actions", "create_statefulset"): _Change(("remove_statefulset",), ("ns",)),
    ("chaosk8s.namespace.actions", "create_namespace"): _Change(("delete_namespace",), ()),
    ("chaosk8s.secret.actions", "create_secret"): _Change(("delete_secret",), ("ns",)),
    ("chaosk8s.service.actions", "create_service_endpoint"): _Change(("delete_service",), ("ns",)),
    ("chaosk8s.daemonset.actions", "create_daemon_set"): _Change(("delete_daemon_set",), ("ns",)),
    (_OURS, "apply_manifests"): _Change(("delete_manifests",), ("paths",)),
    (_OURS, "apply_policy"): _Change(("delete_manifests",), ("paths",)),
    (_OURS, "sweep_rate_limit"): _Change(("delete_manifests",), ("paths",)),
    (_OURS, "set_capacity"): _Change(("restore_capacity",), ("workload",)),
    ("chaosistio.fault.actions", "add_delay_fault"): _Change(("remove_delay_fault",), ("ns",)),
    ("chaosistio.fault.actions", "add_abort_fault"): _Change(("remove_abort_fault",), ("ns",)),
    **{
        (_DELAYS, name): _Change(("delete_network_fault",), ("ns", "name"))
        for name in (
            "add_latency", "set_loss", "duplicate_packets", "reorder_packets", "corrupt_packets",
            "set_bandwidth",
        )
    },
    **{(_STRESS, name): _Change(("delete_stressor",), ("ns", "name")) for name in ("stress_cpu", "stress_memory")},
}  # fmt: skip
_NO_ARGUMENT: Final = {"ns": "default"}


def check(subject: Subject) -> None:
    """Strategy, probes among the rollbacks, and what nothing takes away."""
    _strategy(subject)
    _probes(subject)
    for activity in subject.activities("method"):
        change = _CHANGES.get(_function(activity))
        if change is not None:
            _undone(subject, activity, change)


def _function(activity: Activity) -> tuple[str, str]:
    return str(activity.provider.get("module")), str(activity.provider.get("func"))


def _strategy(subject: Subject) -> None:
    runtime = as_object(subject.experiment.get("runtime"))
    strategy = as_object(runtime.get("rollbacks")).get("strategy")
    if subject.experiment.get("rollbacks") and strategy != "always":
        subject.found.say(
            "rollbacks-not-always",
            ("runtime", "rollbacks", "strategy") if strategy else ("rollbacks",),
            "the rollbacks are not played after every end of the run: by default a deviation leaves everything"
            " as it is",
            'add "runtime": {"rollbacks": {"strategy": "always"}}',
        )


def _probes(subject: Subject) -> None:
    undone = False
    for activity in subject.activities("rollbacks"):
        if activity.value.get("type") == "probe" and not undone:
            subject.found.say(
                "probe-in-rollbacks",
                activity.place,
                f"the rollback {activity.name} is a probe with no action before it: it takes nothing back",
                "write an action that undoes the method's, or move the probe into the method",
            )
        undone = undone or activity.value.get("type") == "action" or "ref" in activity.value


def _undone(subject: Subject, activity: Activity, change: _Change) -> None:
    if any(_undoes(back, activity, change) for back in subject.activities("rollbacks")):
        return
    undo = " or ".join(change.undo)
    if any(_undoes(b, activity, change) and b.place > activity.place for b in subject.activities("method")):
        subject.found.say(
            "undo-only-in-method",
            activity.place,
            f"what {activity.name} changes is changed back in the method only: an interrupted run leaves it",
            f"add a rollback with {undo}",
        )
        return
    subject.found.say(
        "missing-rollback",
        activity.place,
        f"nothing takes back what {activity.name} changes: the cluster stays so after the run",
        f"add a rollback with {undo} for the same object"
        + (" and namespace" if "ns" in change.shared else ""),
    )


def _undoes(back: Activity, activity: Activity, change: _Change) -> bool:
    if _function(back)[1] not in change.undo:
        return False
    return all(_shared(_argument(back, key), _argument(activity, key)) for key in change.shared)


def _shared(back: Any, activity: Any) -> bool:
    """Whether they name the same; one rollback may delete the files of several activities."""
    if isinstance(back, list):
        return all(item in back for item in (activity if isinstance(activity, list) else [activity]))
    return bool(back == activity)


def _argument(activity: Activity, key: str) -> Any:
    return activity.arguments.get(key, _NO_ARGUMENT.get(key))
