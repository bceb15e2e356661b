"""What the lab cannot do, refused by field before it is stored; and what it does not do, said in a Warning.

A manifest is code: a pod that asks for the machine (its files, network, processes, root) is refused, because
pods run here as an unprivileged user on somebody's laptop. A policy that would not be enforced exactly is
refused too, because a policy silently not enforced makes a wrong verdict. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from meshverdict.cluster.crd_schema import unchecked
from meshverdict.cluster.errors import FieldError, bad, forbidden_field, invalid
from meshverdict.cluster.store import Manifest
from meshverdict.model.errors import UnsupportedError
from meshverdict.network import policy

_POD_PATHS: Final[dict[str, tuple[str, ...]]] = {
    "pods": (),
    "deployments.apps": ("spec", "template"),
    "replicasets.apps": ("spec", "template"),
    "daemonsets.apps": ("spec", "template"),
    "statefulsets.apps": ("spec", "template"),
    "jobs.batch": ("spec", "template"),
    "cronjobs.batch": ("spec", "jobTemplate", "spec", "template"),
}
_LAB: Final = "the embedded lab runs pods as an unprivileged user of this machine"
_HOST: Final = {
    "hostNetwork": f"{_LAB}, each in a network of its own: remove the field",
    "hostPID": f"{_LAB}, each in a process table of its own: remove the field",
    "hostIPC": f"{_LAB}: remove the field",
    "shareProcessNamespace": "in the embedded lab each container has a process table of its own: remove the field",
    "setHostnameAsFQDN": "in the embedded lab a pod's host name is its short one: remove the field",
    "resourceClaims": "the embedded lab has no devices: remove the field",
}
_VOLUMES: Final = frozenset({"configMap", "secret", "downwardAPI", "projected", "emptyDir"})
_CAPABILITIES: Final = frozenset({"NET_BIND_SERVICE", "ALL"})
_JOB_FIELDS: Final = (
    "podFailurePolicy",
    "successPolicy",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
    "managedBy",
)
_ONE: Final = (None, 1)


def refusals(resource: str, obj: Manifest) -> list[FieldError]:
    """The fields of an object that the lab cannot honour."""
    if resource in _POD_PATHS:
        path = _POD_PATHS[resource]
        holder: Any = obj
        for key in path:
            holder = holder.get(key) or {}
        pod = list(_pod(holder.get("spec") or {}, ".".join((*path, "spec"))))
        return pod + list(_workload(resource, obj.get("spec") or {}))
    if resource == "services":
        return list(_service(obj.get("spec") or {}))
    if resource == "networkpolicies.networking.k8s.io":
        try:
            policy.check(obj)
        except UnsupportedError as error:
            return [forbidden_field(error.field, error.reason)]
    return []


def warnings(resource: str, obj: Manifest) -> list[str]:
    """What an accepted object asks for and does not get, and what Kubernetes itself warns of."""
    if resource == "networkpolicies.networking.k8s.io":
        return policy.warnings(obj)
    if resource == "customresourcedefinitions.apiextensions.k8s.io":
        return list(unchecked(obj))
    if resource not in _POD_PATHS:
        return []
    path = _POD_PATHS[resource]
    holder: Any = obj
    for key in path:
        holder = holder.get(key) or {}
    prefix = ".".join((*path, "spec"))
    return list(_pod_warnings(holder.get("spec") or {}, prefix))


def check(kind: str, group: str, resource: str, obj: Manifest) -> None:
    """Refuse what the lab cannot honour.

    Raises:
        ApiError: 422 with the fields as causes.
    """
    if errors := refusals(resource, obj):
        raise invalid(kind, group, obj["metadata"].get("name") or "", errors)


def _pod(spec: Manifest, path: str) -> Iterator[FieldError]:
    for key, why in _HOST.items():
        if spec.get(key):
            yield forbidden_field(f"{path}.{key}", why)
    yield from _volumes(spec.get("volumes") or [], f"{path}.volumes")
    yield from _security(spec.get("securityContext") or {}, f"{path}.securityContext")
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or []):
            place = f"{path}.{kind}[{index}]"
            yield from _security(container.get("securityContext") or {}, f"{place}.securityContext")
            yield from _devices(container, place)
    if spec.get("ephemeralContainers"):
        why = "the embedded lab has no ephemeral containers: use kubectl exec"
        yield forbidden_field(f"{path}.ephemeralContainers", why)
    if spec.get("runtimeClassName"):
        why = "the embedded lab has one runtime: remove the field"
        yield forbidden_field(f"{path}.runtimeClassName", why)


def _volumes(volumes: Iterable[Manifest], path: str) -> Iterator[FieldError]:
    for index, volume in enumerate(volumes):
        for kind in volume:
            if kind == "name" or kind in _VOLUMES:
                continue
            why = "the embedded lab mounts configMap, secret, downwardAPI, projected and emptyDir only"
            yield forbidden_field(f"{path}[{index}].{kind}", why)
        for number, source in enumerate((volume.get("projected") or {}).get("sources") or []):
            if source.get("clusterTrustBundle") is not None:
                place = f"{path}[{index}].projected.sources[{number}].clusterTrustBundle"
                yield forbidden_field(place, "the embedded lab has no trust bundles")


def _security(context: Manifest, path: str) -> Iterator[FieldError]:
    if context.get("privileged"):
        yield forbidden_field(f"{path}.privileged", f"{_LAB}: remove the field")
    if context.get("allowPrivilegeEscalation"):
        yield forbidden_field(f"{path}.allowPrivilegeEscalation", f"{_LAB}: set it to false, or remove it")
    for key in ("runAsUser", "runAsGroup", "fsGroup"):
        if context.get(key) == 0:
            yield bad(f"{path}.{key}", 0, f"{_LAB}: choose another number, or remove the field")
    if context.get("supplementalGroups") and 0 in context["supplementalGroups"]:
        yield bad(f"{path}.supplementalGroups", context["supplementalGroups"], f"{_LAB}: leave 0 out")
    for index, name in enumerate((context.get("capabilities") or {}).get("add") or []):
        if name not in _CAPABILITIES - {"ALL"}:
            text = f"{_LAB}, without capabilities; only NET_BIND_SERVICE is there for everybody"
            yield forbidden_field(f"{path}.capabilities.add[{index}]", text)
    if context.get("procMount") == "Unmasked":
        yield forbidden_field(f"{path}.procMount", f"{_LAB}: remove the field")
    if context.get("sysctls"):
        yield forbidden_field(f"{path}.sysctls", "the embedded lab sets no sysctls: remove the field")


def _devices(container: Manifest, path: str) -> Iterator[FieldError]:
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        if (container.get(kind) or {}).get("grpc"):
            yield forbidden_field(
                f"{path}.{kind}.grpc", "the embedded lab asks by exec, httpGet or tcpSocket: use one"
            )
    if (container.get("lifecycle") or {}).get("stopSignal"):
        why = "the embedded lab stops containers with SIGTERM: remove the field"
        yield forbidden_field(f"{path}.lifecycle.stopSignal", why)
    if container.get("restartPolicyRules"):
        why = "the embedded lab restarts by restartPolicy alone: remove the field"
        yield forbidden_field(f"{path}.restartPolicyRules", why)
    if container.get("volumeDevices"):
        yield forbidden_field(f"{path}.volumeDevices", "the embedded lab has no block devices")
    for index, port in enumerate(container.get("ports") or []):
        if port.get("hostPort"):
            text = (
                "the embedded lab opens no ports of this machine for pods: use the annotation "
                "meshverdict.io/publish on a Service, or kubectl port-forward"
            )
            yield forbidden_field(f"{path}.ports[{index}].hostPort", text)
    for index, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("mountPropagation") not in {None, "None"}:
            place = f"{path}.volumeMounts[{index}].mountPropagation"
            yield forbidden_field(place, f"{_LAB}: remove the field")
        if mount.get("subPathExpr"):
            place = f"{path}.volumeMounts[{index}].subPathExpr"
            yield forbidden_field(place, "the embedded lab expands no paths: use subPath")


def _service(spec: Manifest) -> Iterator[FieldError]:
    if spec.get("externalIPs"):
        why = "the embedded lab has no addresses of others: remove the field"
        yield forbidden_field("spec.externalIPs", why)
    families = spec.get("ipFamilies") or []
    if "IPv6" in families or spec.get("ipFamilyPolicy") == "RequireDualStack":
        field = "spec.ipFamilies" if "IPv6" in families else "spec.ipFamilyPolicy"
        yield forbidden_field(field, "the embedded lab has IPv4 only")
    for index, port in enumerate(spec.get("ports") or []):
        if port.get("protocol") == "SCTP":
            place = f"spec.ports[{index}].protocol"
            yield forbidden_field(place, "the embedded lab forwards TCP and UDP")


def _workload(resource: str, spec: Manifest) -> Iterator[FieldError]:
    """Fields that the controllers do not act upon."""
    if resource == "statefulsets.apps":
        if spec.get("volumeClaimTemplates"):
            why = "the embedded lab has no persistent volumes: use emptyDir"
            yield forbidden_field("spec.volumeClaimTemplates", why)
        if ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("maxUnavailable") not in _ONE:
            place = "spec.updateStrategy.rollingUpdate.maxUnavailable"
            yield forbidden_field(place, "the embedded lab replaces one pod at a time: remove the field")
    if resource in {"jobs.batch", "cronjobs.batch"}:
        path = "spec" if resource == "jobs.batch" else "spec.jobTemplate.spec"
        job = spec if resource == "jobs.batch" else (spec.get("jobTemplate") or {}).get("spec") or {}
        for key in _JOB_FIELDS:
            if job.get(key) is not None:
                why = "the embedded lab's Job controller has no such rule: remove it"
                yield forbidden_field(f"{path}.{key}", why)


def _pod_warnings(spec: Manifest, path: str) -> Iterator[str]:
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or []):
            place = f"{path}.{kind}[{index}]"
            seen: set[str] = set()
            for number, variable in enumerate(container.get("env") or []):
                name = variable.get("name") or ""
                if name in seen:
                    text = "which may be dropped when using apply"
                    yield f'{place}.env[{number}]: hides previous definition of "{name}", {text}'
                seen.add(name)
            if (container.get("resources") or {}).get("limits"):
                yield (
                    f"{place}.resources.limits: accepted for scheduling; the embedded lab does not enforce"
                    " limits on a container"
                )
