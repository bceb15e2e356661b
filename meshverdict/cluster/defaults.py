"""The values that Kubernetes fills in when a manifest leaves them out.

Clients compare what they applied with what is there, and controllers count on the fields, so the defaults are
Kubernetes' own. `defaulted` never changes its argument.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable
from typing import Any, Final

from meshverdict.cluster.store import Manifest

_MODE: Final = 0o644
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")


def defaulted(resource: str, obj: Manifest) -> Manifest:
    """*obj* with defaults, as a new object where anything was missing."""
    rule = _DEFAULTS.get(resource)
    if rule is None:
        return obj
    filled = copy.deepcopy(obj)
    rule(filled)
    return filled


def _set(value: Manifest, **defaults: Any) -> None:
    for key, default in defaults.items():
        if value.get(key) is None:
            value[key] = default


def _pod(pod: Manifest) -> None:
    spec = pod.setdefault("spec", {})
    _pod_spec(spec)
    _set(spec, enableServiceLinks=True)
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        resources = container["resources"]
        limits = resources.get("limits") or {}
        missing = {k: v for k, v in limits.items() if k not in (resources.get("requests") or {})}
        if missing:
            resources["requests"] = (resources.get("requests") or {}) | missing


def _pod_spec(spec: Manifest) -> None:
    _set(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        _container(container)
    for volume in spec.get("volumes", ()):
        _volume(volume)


def _container(container: Manifest) -> None:
    image = container.get("image") or ""
    _set(
        container,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="Always" if _latest(image) else "IfNotPresent",
    )
    for port in container.get("ports", ()):
        _set(port, protocol="TCP")
    for variable in container.get("env", ()):
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            _set(reference, apiVersion="v1")
    for name in _PROBES:
        if container.get(name) is not None:
            _probe(container[name])
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict) and handler.get("httpGet") is not None:
            _set(handler["httpGet"], path="/", scheme="HTTP")


def _latest(image: str) -> bool:
    last = image.rpartition("/")[2]
    return "@" not in last and (":" not in last or last.endswith(":latest"))


def _probe(probe: Manifest) -> None:
    _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    for key in ("timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        if probe[key] == 0:
            probe[key] = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1}.get(key, 3)
    if probe.get("httpGet") is not None:
        _set(probe["httpGet"], path="/", scheme="HTTP")
    if probe.get("grpc") is not None:
        _set(probe["grpc"], service="")


def _volume(volume: Manifest) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
    for kind in ("configMap", "secret", "downwardAPI", "projected"):
        source = volume.get(kind)
        if source is None:
            continue
        _set(source, defaultMode=_MODE)
        _field_refs(source.get("items", ()))
        for projection in source.get("sources", ()):
            if projection.get("serviceAccountToken") is not None:
                _set(projection["serviceAccountToken"], expirationSeconds=3600)
            _field_refs((projection.get("downwardAPI") or {}).get("items", ()))
    if volume.get("hostPath") is not None:
        _set(volume["hostPath"], type="")


def _field_refs(items: Any) -> None:
    for item in items:
        if item.get("fieldRef") is not None:
            _set(item["fieldRef"], apiVersion="v1")


def _template(spec: Manifest) -> None:
    template = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    _pod_spec(template.setdefault("spec", {}))


def _deployment(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec)
    _set(spec, replicas=1, strategy={}, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    _set(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _set(spec["strategy"], rollingUpdate={})
        _set(spec["strategy"]["rollingUpdate"], maxUnavailable="25%", maxSurge="25%")


def _replicaset(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec)
    _set(spec, replicas=1)


def _daemonset(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec)
    _set(spec, updateStrategy={}, revisionHistoryLimit=10)
    _set(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _set(spec["updateStrategy"], rollingUpdate={})
        _set(spec["updateStrategy"]["rollingUpdate"], maxUnavailable=1, maxSurge=0)


def _statefulset(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec)
    _set(spec, replicas=1, podManagementPolicy="OrderedReady", updateStrategy={}, revisionHistoryLimit=10)
    _set(spec["updateStrategy"], type="RollingUpdate")
    if spec["updateStrategy"]["type"] == "RollingUpdate":
        _set(spec["updateStrategy"], rollingUpdate={})
        _set(spec["updateStrategy"]["rollingUpdate"], partition=0)
    _set(spec, persistentVolumeClaimRetentionPolicy={})
    _set(spec["persistentVolumeClaimRetentionPolicy"], whenDeleted="Retain", whenScaled="Retain")


def _job(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    _template(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        _set(spec, completions=1)
    _set(
        spec,
        parallelism=1,
        backoffLimit=6,
        completionMode="NonIndexed",
        suspend=False,
        manualSelector=False,
        podReplacementPolicy="TerminatingOrFailed",
    )


def _cron_job(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    _set(
        spec,
        concurrencyPolicy="Allow",
        suspend=False,
        successfulJobsHistoryLimit=3,
        failedJobsHistoryLimit=1,
        jobTemplate={},
    )
    spec["jobTemplate"].setdefault("metadata", {})
    _template(spec["jobTemplate"].setdefault("spec", {}))


def _autoscaler(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, minReplicas=1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is None:
        return
    double = {"type": "Percent", "value": 100, "periodSeconds": 15}
    four = {"type": "Pods", "value": 4, "periodSeconds": 15}
    _set(behavior, scaleUp={}, scaleDown={})
    _set(behavior["scaleUp"], stabilizationWindowSeconds=0, selectPolicy="Max", policies=[four, double])
    _set(behavior["scaleDown"], selectPolicy="Max", policies=[double])


def _service(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, type="ClusterIP", sessionAffinity="None")
    if spec["sessionAffinity"] == "ClientIP":
        _set(spec, sessionAffinityConfig={"clientIP": {"timeoutSeconds": 10800}})
    for port in spec.get("ports", ()):
        _set(port, protocol="TCP")
        if port.get("targetPort") in {None, 0, ""} and port.get("port") is not None:
            port["targetPort"] = port["port"]
    obj.setdefault("status", {"loadBalancer": {}})
    if spec["type"] == "ExternalName":
        return
    _set(spec, internalTrafficPolicy="Cluster")
    if spec["type"] in {"NodePort", "LoadBalancer"}:
        _set(spec, externalTrafficPolicy="Cluster")
    if spec["type"] == "LoadBalancer":
        _set(spec, allocateLoadBalancerNodePorts=True)
    _set(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")


def _policy(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    _set(spec, podSelector={})
    for direction in ("ingress", "egress"):
        for rule in spec.get(direction, ()):
            for port in rule.get("ports", ()):
                _set(port, protocol="TCP")
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]


def _secret(obj: Manifest) -> None:
    plain = obj.pop("stringData", None)
    if plain:
        encoded = {k: base64.b64encode(v.encode()).decode() for k, v in plain.items()}
        obj["data"] = (obj.get("data") or {}) | encoded
    _set(obj, type="Opaque")


def _namespace(obj: Manifest) -> None:
    name = obj["metadata"].get("name")
    if name:
        labels = obj["metadata"].get("labels") or {}
        obj["metadata"]["labels"] = labels | {"kubernetes.io/metadata.name": name}
    spec = obj.setdefault("spec", {})
    if not obj["metadata"].get("deletionTimestamp"):
        _set(spec, finalizers=["kubernetes"])
    _set(obj.setdefault("status", {}), phase="Active")


def _binding(obj: Manifest) -> None:
    group = "rbac.authorization.k8s.io"
    _set(obj.setdefault("roleRef", {}), apiGroup=group)
    for subject in obj.get("subjects", ()):
        if subject.get("kind") in {"User", "Group"}:
            _set(subject, apiGroup=group)


def _slice(obj: Manifest) -> None:
    obj.setdefault("endpoints", [])
    for port in obj.get("ports") or ():
        _set(port, name="", protocol="TCP")


def _endpoints(obj: Manifest) -> None:
    for subset in obj.get("subsets", ()):
        for port in subset.get("ports", ()):
            _set(port, protocol="TCP")


def _ingress(obj: Manifest) -> None:
    obj.setdefault("status", {"loadBalancer": {}})


def _budget(obj: Manifest) -> None:
    obj.setdefault("status", {})
    counts = {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    _set(obj["status"], **counts)


def _crd(obj: Manifest) -> None:
    spec = obj.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    _set(names, singular=kind.lower() or None, listKind=f"{kind}List" if kind else None)
    _set(spec, conversion={"strategy": "None"})
    for key in ("singular", "listKind"):
        if names.get(key) is None:
            names.pop(key, None)


def _node(obj: Manifest) -> None:
    obj.setdefault("spec", {})


def _role(obj: Manifest) -> None:
    obj.setdefault("rules", [])


_DEFAULTS: Final[dict[str, Callable[[Manifest], None]]] = {
    "pods": _pod,
    "deployments.apps": _deployment,
    "replicasets.apps": _replicaset,
    "daemonsets.apps": _daemonset,
    "statefulsets.apps": _statefulset,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "services": _service,
    "networkpolicies.networking.k8s.io": _policy,
    "secrets": _secret,
    "namespaces": _namespace,
    "nodes": _node,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "roles.rbac.authorization.k8s.io": _role,
    "clusterroles.rbac.authorization.k8s.io": _role,
    "endpointslices.discovery.k8s.io": _slice,
    "endpoints": _endpoints,
    "ingresses.networking.k8s.io": _ingress,
    "poddisruptionbudgets.policy": _budget,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
}
