"""What every cluster has from the first moment: namespaces, the API's own Service, and the basic roles."""

from __future__ import annotations

from typing import Any, Final

from meshverdict.cluster.objects import Objects
from meshverdict.cluster.store import Manifest
from meshverdict.network.addresses import KUBERNETES_IP

NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
_MANAGER: Final = "kube-apiserver"
_RBAC: Final = "rbac.authorization.k8s.io"
_READ: Final = ["get", "list", "watch"]
_WRITE: Final = ["create", "delete", "deletecollection", "patch", "update"]
_BOOT: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_CORE: Final = ["configmaps", "endpoints", "events", "pods", "pods/log", "pods/status", "serviceaccounts"]
_CORE_RULES: Final = [*_CORE, "services", "services/status", "namespaces"]
_APPS: Final = ["controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale"]
_APPS_RULES: Final = [*_APPS, "deployments/status", "replicasets", "replicasets/scale", "statefulsets"]
_PUBLIC_URLS: Final = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_DISCOVERY_URLS: Final = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
]


def install(objects: Objects, *, endpoint: tuple[str, int] = ("172.31.0.1", 6443)) -> None:
    """Create the objects of an empty cluster.

    Args:
        objects: The cluster.
        endpoint: Where pods reach the API: what the Service ``kubernetes`` leads to.
    """
    for name in NAMESPACES:
        objects.create("namespaces", {"metadata": {"name": name}}, manager=_MANAGER)
    for role in _cluster_roles():
        objects.create(f"clusterroles.{_RBAC}", role, manager=_MANAGER)
    for binding in _cluster_bindings():
        objects.create(f"clusterrolebindings.{_RBAC}", binding, manager=_MANAGER)
    _kubernetes_service(objects, *endpoint)


def _kubernetes_service(objects: Objects, address: str, port: int) -> None:
    labels = {"component": "apiserver", "provider": "kubernetes"}
    meta = {"name": "kubernetes", "namespace": "default"}
    ports = [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}]
    service = {"metadata": {**meta, "labels": labels}, "spec": {"clusterIP": KUBERNETES_IP, "ports": ports}}
    objects.create("services", service, manager=_MANAGER)
    mirror = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    subset = {"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}
    endpoints = {"metadata": {**meta, "labels": mirror}, "subsets": [subset]}
    objects.create("endpoints", endpoints, manager=_MANAGER)
    piece = {
        "metadata": {**meta, "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    objects.create("endpointslices.discovery.k8s.io", piece, manager=_MANAGER)


def _role(name: str, *rules: dict[str, Any]) -> Manifest:
    return {"metadata": {"name": name, "labels": _BOOT}, "rules": list(rules)}


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": groups, "resources": resources, "verbs": verbs}


def _namespaced(verbs: list[str]) -> list[dict[str, Any]]:
    return [
        _rule([""], _CORE_RULES, verbs),
        _rule(["apps"], _APPS_RULES, verbs),
        _rule(["batch"], ["cronjobs", "cronjobs/status", "jobs", "jobs/status"], verbs),
        _rule(["autoscaling"], ["horizontalpodautoscalers", "horizontalpodautoscalers/status"], verbs),
        _rule(["networking.k8s.io"], ["ingresses", "ingresses/status", "networkpolicies"], verbs),
        _rule(["policy"], ["poddisruptionbudgets", "poddisruptionbudgets/status"], verbs),
        _rule(["discovery.k8s.io"], ["endpointslices"], verbs),
    ]


def _cluster_roles() -> list[Manifest]:
    everything = [_rule(["*"], ["*"], ["*"]), {"nonResourceURLs": ["*"], "verbs": ["*"]}]
    streams = ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy", "secrets"]
    edit = [*_namespaced([*_READ, *_WRITE]), _rule([""], streams, [*_READ, *_WRITE])]
    edit.append(_rule([""], ["pods/eviction", "serviceaccounts/token"], ["create"]))
    rights = _rule([_RBAC], ["rolebindings", "roles"], [*_READ, *_WRITE])
    reviews = _rule(
        ["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]
    )
    me = _rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"])
    return [
        _role("cluster-admin", *everything),
        _role("admin", *edit, rights),
        _role("edit", *edit),
        _role("view", *_namespaced(list(_READ))),
        _role("system:basic-user", reviews, me),
        _role("system:discovery", {"nonResourceURLs": _DISCOVERY_URLS, "verbs": ["get"]}),
        _role("system:public-info-viewer", {"nonResourceURLs": _PUBLIC_URLS, "verbs": ["get"]}),
        _role(
            "system:service-account-issuer-discovery",
            {"nonResourceURLs": ["/.well-known/openid-configuration", "/openid/v1/jwks"], "verbs": ["get"]},
        ),
    ]


def _cluster_bindings() -> list[Manifest]:
    pairs = (
        ("cluster-admin", "system:masters"),
        ("system:basic-user", "system:authenticated"),
        ("system:discovery", "system:authenticated"),
        ("system:public-info-viewer", "system:authenticated"),
    )
    return [
        {
            "metadata": {"name": name, "labels": _BOOT},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": group}],
        }
        for name, group in pairs
    ]
