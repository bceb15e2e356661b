"""Which rules apply to which kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation import autoscaling, batch, config, network, workloads
from meshverdict.cluster.validation.meta import Errors, meta_errors, meta_update_errors
from meshverdict.cluster.validation.pods import pod_errors, pod_update_errors
from meshverdict.cluster.validation.scheduling import node_errors

_RULES: Final[dict[str, Callable[[Manifest], Errors]]] = {
    "pods": pod_errors,
    "nodes": node_errors,
    "configmaps": config.config_map_errors,
    "secrets": config.secret_errors,
    "services": network.service_errors,
    "deployments.apps": workloads.deployment_errors,
    "replicasets.apps": workloads.replicaset_errors,
    "daemonsets.apps": workloads.daemonset_errors,
    "statefulsets.apps": workloads.statefulset_errors,
    "jobs.batch": batch.job_errors,
    "cronjobs.batch": batch.cron_job_errors,
    "horizontalpodautoscalers.autoscaling": autoscaling.autoscaler_errors,
    "poddisruptionbudgets.policy": workloads.budget_errors,
    "networkpolicies.networking.k8s.io": network.policy_errors,
    "ingresses.networking.k8s.io": network.ingress_errors,
    "endpointslices.discovery.k8s.io": network.slice_errors,
    "roles.rbac.authorization.k8s.io": config.role_errors,
    "clusterroles.rbac.authorization.k8s.io": config.role_errors,
    "rolebindings.rbac.authorization.k8s.io": config.binding_errors,
    "clusterrolebindings.rbac.authorization.k8s.io": config.binding_errors,
    "leases.coordination.k8s.io": config.lease_errors,
    "customresourcedefinitions.apiextensions.k8s.io": config.crd_errors,
}
_UPDATE_RULES: Final[dict[str, Callable[[Manifest, Manifest], Errors]]] = {
    "pods": pod_update_errors,
    "configmaps": config.frozen_errors,
    "secrets": config.secret_update_errors,
    "services": network.service_update_errors,
    "deployments.apps": workloads.deployment_update_errors,
    "replicasets.apps": workloads.deployment_update_errors,
    "daemonsets.apps": workloads.deployment_update_errors,
    "statefulsets.apps": workloads.statefulset_update_errors,
    "jobs.batch": batch.job_update_errors,
    "rolebindings.rbac.authorization.k8s.io": config.binding_update_errors,
    "clusterrolebindings.rbac.authorization.k8s.io": config.binding_update_errors,
}


def validate(resource: str, obj: Manifest, *, namespaced: bool) -> Errors:
    """What is wrong with a defaulted object, in Kubernetes' order."""
    errors = meta_errors(obj["kind"], obj["metadata"], namespaced=namespaced)
    rules = _RULES.get(resource)
    return errors + rules(obj) if rules else errors


def validate_update(resource: str, obj: Manifest, old: Manifest, *, namespaced: bool) -> Errors:
    """What is wrong with an object that is to replace *old*."""
    errors = meta_update_errors(obj["metadata"], old["metadata"])
    if obj.get("spec") != old.get("spec") or obj["metadata"] != old["metadata"] or "spec" not in obj:
        errors += validate(resource, obj, namespaced=namespaced)
    rules = _UPDATE_RULES.get(resource)
    return errors + rules(obj, old) if rules else errors
