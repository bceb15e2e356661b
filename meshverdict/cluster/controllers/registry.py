"""The table of controllers: what each plans, and what wakes it."""

from __future__ import annotations

from collections.abc import Iterable

from meshverdict.cluster.store import Manifest

from . import (
    autoscaler,
    cronjob,
    daemonset,
    deployment,
    disruption,
    endpoints,
    garbage,
    job,
    leases,
    namespace,
    nodes,
    replicaset,
    scheduler,
    statefulset,
)
from .changes import Controller, Key, Mapper, View
from .meta import controller_of, labels_of, matches, name_of, namespace_of
from .revisions import RESOURCE as REVISIONS

_MANAGER = "kube-controller-manager"


def _by_controller(kind: str) -> Mapper:
    """Wake the controller of the changed object, if it is of *kind*."""

    def keys(view: View, obj: Manifest) -> Iterable[Key]:
        del view
        ref = controller_of(obj)
        if ref is not None and ref["kind"] == kind:
            yield namespace_of(obj), ref["name"]

    return keys


def _or_selecting(kind: str, resource: str) -> Mapper:
    """The same, and for objects without a controller those that would adopt it."""
    owner = _by_controller(kind)

    def keys(view: View, obj: Manifest) -> Iterable[Key]:
        if controller_of(obj) is not None:
            yield from owner(view, obj)
            return
        for candidate in view.list(resource, namespace_of(obj)):
            if matches(candidate["spec"].get("selector"), labels_of(obj)):
                yield namespace_of(obj), name_of(candidate)

    return keys


def _grandparent(kind: str, through: str) -> Mapper:
    """Wake the controller of the controller: a Deployment for a pod, through its ReplicaSet."""

    def keys(view: View, obj: Manifest) -> Iterable[Key]:
        ref = controller_of(obj)
        parent = view.get(through, namespace_of(obj), ref["name"]) if ref else None
        top = controller_of(parent) if parent else None
        if top is not None and top["kind"] == kind:
            yield namespace_of(obj), top["name"]

    return keys


def _its_namespace(view: View, obj: Manifest) -> Iterable[Key]:
    space = namespace_of(obj)
    found = view.get("namespaces", "", space) if space else None
    if found is not None and (name_of(obj) in {"default", namespace.ROOT_CA} or _ends(found)):
        yield "", space


def _ends(obj: Manifest) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def _its_service(view: View, slice_: Manifest) -> Iterable[Key]:
    del view
    service = labels_of(slice_).get(endpoints.SERVICE_NAME)
    if service:
        yield namespace_of(slice_), service


def _same_key(view: View, obj: Manifest) -> Iterable[Key]:
    del view
    yield namespace_of(obj), name_of(obj)


def _services_on(view: View, node: Manifest) -> Iterable[Key]:
    """The Services with pods on a node: its zone is part of their endpoints."""
    return {key for pod in view.pods_on(name_of(node)) for key in endpoints.services_of(view, pod)}


def _each(resource: str) -> Mapper:
    """Wake all objects of a resource."""

    def keys(view: View, obj: Manifest) -> Iterable[Key]:
        del obj
        return [(namespace_of(o), name_of(o)) for o in view.list(resource)]

    return keys


def _own_namespace(resource: str) -> Mapper:
    """Wake all objects of a resource in the namespace of the changed one."""

    def keys(view: View, obj: Manifest) -> Iterable[Key]:
        return [(namespace_of(o), name_of(o)) for o in view.list(resource, namespace_of(obj))]

    return keys


def _budgets(view: View, pod: Manifest) -> Iterable[Key]:
    for budget in view.list(disruption.RESOURCE, namespace_of(pod)):
        if matches(budget["spec"].get("selector"), labels_of(pod)):
            yield namespace_of(budget), name_of(budget)


def _all(view: View, obj: Manifest) -> Iterable[Key]:
    del view, obj
    yield "", ""


def _everything(view: View, key: Key) -> Manifest:
    del view, key
    return {}


def controllers(root_ca: str) -> list[Controller]:
    """All controllers of a cluster whose API certificate is signed by *root_ca* (PEM)."""
    return [
        Controller(
            "deployment-controller",
            _MANAGER,
            deployment.RESOURCE,
            deployment.plan,
            {
                deployment.REPLICASETS: _or_selecting("Deployment", deployment.RESOURCE),
                "pods": _grandparent("Deployment", deployment.REPLICASETS),
            },
        ),
        Controller(
            "replicaset-controller",
            _MANAGER,
            replicaset.RESOURCE,
            replicaset.plan,
            {"pods": _or_selecting("ReplicaSet", replicaset.RESOURCE)},
        ),
        Controller(
            "daemonset-controller",
            _MANAGER,
            daemonset.RESOURCE,
            daemonset.plan,
            {
                "pods": _or_selecting("DaemonSet", daemonset.RESOURCE),
                REVISIONS: _by_controller("DaemonSet"),
                "nodes": _each(daemonset.RESOURCE),
            },
        ),
        Controller(
            "statefulset-controller",
            _MANAGER,
            statefulset.RESOURCE,
            statefulset.plan,
            {
                "pods": _or_selecting("StatefulSet", statefulset.RESOURCE),
                REVISIONS: _by_controller("StatefulSet"),
            },
        ),
        Controller(
            "job-controller",
            _MANAGER,
            job.RESOURCE,
            job.plan,
            {"pods": _or_selecting("Job", job.RESOURCE)},
            gone=job.gone,
        ),
        Controller(
            "cronjob-controller",
            _MANAGER,
            cronjob.RESOURCE,
            cronjob.plan,
            {job.RESOURCE: _by_controller("CronJob")},
        ),
        Controller(
            "horizontal-pod-autoscaler",
            _MANAGER,
            autoscaler.RESOURCE,
            autoscaler.plan,
        ),
        Controller(
            "disruption-controller",
            _MANAGER,
            disruption.RESOURCE,
            disruption.plan,
            {"pods": _budgets, **dict.fromkeys(disruption.OWNERS, _own_namespace(disruption.RESOURCE))},
        ),
        Controller(
            "endpoint-slice-controller",
            _MANAGER,
            "services",
            endpoints.plan_slices,
            {"pods": endpoints.services_of, endpoints.SLICES: _its_service, "nodes": _services_on},
        ),
        Controller(
            "endpoint-controller",
            _MANAGER,
            "services",
            endpoints.plan_endpoints,
            {"pods": endpoints.services_of, endpoints.ENDPOINTS: _same_key},
            gone=endpoints.endpoints_gone,
        ),
        Controller(
            "namespace-controller",
            _MANAGER,
            namespace.RESOURCE,
            namespace.planner(root_ca),
            {"*": _its_namespace},
        ),
        Controller(
            "garbage-collector-controller",
            _MANAGER,
            None,
            garbage.plan,
            {"*": garbage.concerned},
            find=garbage.find,
        ),
        Controller(
            "node-controller",
            _MANAGER,
            nodes.RESOURCE,
            nodes.plan,
            {"pods": nodes.tainted},
            gone=nodes.gone,
        ),
        Controller("node-lease-controller", "kubelet", nodes.RESOURCE, leases.plan),
        Controller(
            scheduler.SCHEDULER,
            "kube-scheduler",
            None,
            scheduler.plan,
            {"pods": _all, "nodes": _all, "namespaces": _all},
            find=_everything,
        ),
    ]
