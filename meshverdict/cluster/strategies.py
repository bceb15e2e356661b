"""What Kubernetes does to an object of each kind between the request and the store, validation aside.

Which fields a create or an update takes from the request, which it keeps, when the generation rises, and what
is filled in that is no mere default (a Job's selector, a pod's token volume). Pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from meshverdict.cluster.kinds import Kind
from meshverdict.cluster.quantities import quantity
from meshverdict.cluster.store import Manifest

TOKEN_PATH: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a folder
TOKEN_SECONDS: Final = 3607
_NO_GENERATION: Final = frozenset(
    {
        "configmaps",
        "secrets",
        "services",
        "serviceaccounts",
        "namespaces",
        "nodes",
        "endpoints",
        "events",
        "roles.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "leases.coordination.k8s.io",
        "controllerrevisions.apps",
        "horizontalpodautoscalers.autoscaling",
    }
)
_SYSTEM: Final = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
)
NotReady = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def bare_meta(meta: Manifest) -> Manifest:
    """Metadata without what only the server sets, and without what is empty."""
    return {key: value for key, value in meta.items() if key not in _SYSTEM and value not in ({}, [], None)}


def has_generation(kind: Kind) -> bool:
    """Whether the generation counts changes of this kind."""
    return kind.resource not in _NO_GENERATION


def has_status(kind: Kind) -> bool:
    """Whether the status is written through its own subresource only."""
    return kind.sub("status") is not None


def without_status(kind: Kind, obj: Manifest) -> Manifest:
    """A new object as a create takes it: nobody creates a status."""
    if not has_status(kind) or "status" not in obj or kind.resource == "nodes":
        return obj
    return {key: value for key, value in obj.items() if key != "status"}


def keep_status(kind: Kind, obj: Manifest, old: Manifest) -> Manifest:
    """An update through the main resource: the status stays as it was."""
    if not has_status(kind):
        return obj
    kept = {key: value for key, value in obj.items() if key != "status"}
    return kept | {"status": old["status"]} if "status" in old else kept


def only_status(obj: Manifest, old: Manifest) -> Manifest:
    """An update through ``/status``: everything else stays as it was, labels and annotations included."""
    kept = {key: value for key, value in old.items() if key != "status"}
    return kept | {"status": obj["status"]} if "status" in obj else kept


def generation(kind: Kind, obj: Manifest, old: Manifest) -> int | None:
    """The generation of an object that replaces *old*."""
    before: int = old["metadata"].get("generation") or 0
    if not has_generation(kind):
        return before or None
    return before + 1 if _content(kind, obj) != _content(kind, old) else before or None


def _content(kind: Kind, obj: Manifest) -> Manifest:
    content = {k: v for k, v in obj.items() if k not in {"metadata", "status", "apiVersion", "kind"}}
    if kind.resource == "pods":  # being put on a node is no change of what is wanted
        content["spec"] = {k: v for k, v in obj["spec"].items() if k != "nodeName"}
    return content


# ---- create


def completed(kind: Kind, obj: Manifest, uid: str) -> Manifest:
    """A defaulted new object with what else Kubernetes adds on create; *obj* may be changed."""
    rule = _COMPLETE.get(kind.resource)
    if rule is not None:
        rule(obj, uid)
    return obj


def _pod(pod: Manifest, _uid: str) -> None:
    spec = pod["spec"]
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    tolerations = list(spec.get("tolerations") or [])
    for key in NotReady:
        if not any(_tolerates(t, key) for t in tolerations):
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            tolerations.append(toleration)
    spec["tolerations"] = tolerations
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}


def _tolerates(toleration: Manifest, key: str) -> bool:
    return (toleration.get("key") in {key, None, ""}) and toleration.get("effect") in {
        "NoExecute",
        None,
        "",
    }


def qos_class(spec: Manifest) -> str:
    """Guaranteed, Burstable or BestEffort."""
    requests: dict[str, Any] = {}
    guaranteed = True
    asked = False
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        asked = asked or any(name in {"cpu", "memory"} for name in (*limits, *requests))
        for name in ("cpu", "memory"):
            if name not in limits or quantity(requests.get(name, limits[name])) != quantity(limits[name]):
                guaranteed = False
    return "BestEffort" if not asked else "Guaranteed" if guaranteed else "Burstable"


def _job(job: Manifest, uid: str) -> None:
    spec = job["spec"]
    job["status"] = {}
    if spec.get("manualSelector"):
        return
    name = job["metadata"].get("name") or ""
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    meta = spec["template"]["metadata"]
    meta["labels"] = (meta.get("labels") or {}) | labels
    job["metadata"]["labels"] = (job["metadata"].get("labels") or {}) | labels
    if spec.get("selector") is None:
        key = "batch.kubernetes.io/controller-uid"
        spec["selector"] = {"matchLabels": {key: uid}}


_TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"


def _daemonset(obj: Manifest, _uid: str) -> None:
    zero = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
    obj["status"] = dict.fromkeys(zero, 0)
    meta = obj["metadata"]
    meta["annotations"] = (meta.get("annotations") or {}) | {_TEMPLATE_GENERATION: "1"}


def _crd(obj: Manifest, _uid: str) -> None:
    stored = [v["name"] for v in obj["spec"].get("versions") or [] if v.get("storage") and v.get("name")]
    names = {"plural": "", "kind": ""}
    obj["status"] = {"conditions": None, "acceptedNames": names, "storedVersions": stored}


def _empty_status(obj: Manifest, _uid: str) -> None:
    obj["status"] = {}


def _statefulset(obj: Manifest, _uid: str) -> None:
    obj["status"] = {"replicas": 0, "availableReplicas": 0}


def _autoscaler(obj: Manifest, _uid: str) -> None:
    obj["status"] = {"desiredReplicas": 0, "currentMetrics": None}


def _replicaset(obj: Manifest, _uid: str) -> None:
    obj["status"] = {"replicas": 0}


_COMPLETE: Final[dict[str, Callable[[Manifest, str], None]]] = {
    "pods": _pod,
    "jobs.batch": _job,
    "cronjobs.batch": _empty_status,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "deployments.apps": _empty_status,
    "replicasets.apps": _replicaset,
    "daemonsets.apps": _daemonset,
    "statefulsets.apps": _statefulset,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
}


def carried(kind: Kind, obj: Manifest, old: Manifest) -> Manifest:
    """An update with what the server itself keeps in annotations: a DaemonSet's count of templates."""
    if kind.resource != "daemonsets.apps":
        return obj
    before = (old["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "1")
    changed = obj["spec"].get("template") != old["spec"].get("template")
    count = int(before) + 1 if changed and before.isdigit() else before
    meta = obj["metadata"]
    annotations = (meta.get("annotations") or {}) | {_TEMPLATE_GENERATION: str(count)}
    return {**obj, "metadata": {**meta, "annotations": annotations}}


def with_token_volume(pod: Manifest, account: Manifest, suffix: str) -> Manifest:
    """A new pod with its service account's name and token volume, as a new object.

    Args:
        pod: The pod.
        account: Its ServiceAccount.
        suffix: Five random characters for the volume's name.
    """
    spec = dict(pod["spec"])
    name = account["metadata"]["name"]
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken", True)
    if wanted:
        volume = f"kube-api-access-{suffix}"
        mount = {"name": volume, "readOnly": True, "mountPath": TOKEN_PATH}
        mounted = False
        for key in ("initContainers", "containers"):
            if key not in spec:
                continue
            containers = []
            for container in spec[key]:
                mounts = container.get("volumeMounts") or []
                if any(m.get("mountPath") == TOKEN_PATH for m in mounts):
                    containers.append(container)
                    continue
                containers.append({**container, "volumeMounts": [*mounts, mount]})
                mounted = True
            spec[key] = containers
        if mounted:
            spec["volumes"] = [*(spec.get("volumes") or []), _token_volume(volume)]
    return {**pod, "spec": spec}


def _token_volume(name: str) -> Manifest:
    certificate = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    reference = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": certificate},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": reference}]}},
            ],
            "defaultMode": 0o644,
        },
    }
