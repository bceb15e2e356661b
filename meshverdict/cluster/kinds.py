"""Which kinds the API serves: one table, from which discovery, routes, OpenAPI and checks all follow.

What is not in the table does not exist here, and is answered as a real server answers what it does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

ALL_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_READ_WRITE: Final = ("get", "patch", "update")
_CORE: Final = "io.k8s.api.core.v1."


@dataclass(frozen=True)
class Subresource:
    """One subresource: ``status``, ``scale``, ``log``...

    ``kind`` is what it reads and writes; ``group_version`` is empty when that is the resource's own.
    """

    name: str
    kind: str
    verbs: tuple[str, ...]
    group_version: str = ""


@dataclass(frozen=True)
class Kind:
    """One resource of the API.

    Attributes:
        group: ``""`` for the core group.
        definition: Name of the OpenAPI definition; ``""`` for custom resources, which bring `crd_schema`.
        secondary: Another form of a resource that is stored as a kind of another API version (`versions`).
        crd_version: The version entry of the CustomResourceDefinition it comes from.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    singular: str = ""
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[Subresource, ...] = ()
    definition: str = ""
    list_kind: str = ""
    secondary: bool = False
    crd_version: dict[str, Any] | None = field(default=None, compare=False)

    @cached_property
    def api_version(self) -> str:
        """``v1`` or ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def resource(self) -> str:
        """``pods`` or ``deployments.apps``: the name in the store."""
        if self.group == "events.k8s.io":
            return "events"
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def sub(self, name: str) -> Subresource | None:
        """The subresource of this name."""
        return next((s for s in self.subresources if s.name == name), None)


def _status(kind: str) -> Subresource:
    return Subresource("status", kind, _READ_WRITE)


_SCALE: Final = Subresource("scale", "Scale", _READ_WRITE, "autoscaling/v1")
_PROXY: Final = ("create", "delete", "get", "patch", "update")
_POD_SUBS: Final = (
    Subresource("attach", "PodAttachOptions", ("create", "get")),
    Subresource("binding", "Binding", ("create",)),
    Subresource("eviction", "Eviction", ("create",), "policy/v1"),
    Subresource("exec", "PodExecOptions", ("create", "get")),
    Subresource("log", "Pod", ("get",)),
    Subresource("portforward", "PodPortForwardOptions", ("create", "get")),
    Subresource("proxy", "PodProxyOptions", _PROXY),
    _status("Pod"),
)


def _kind(api_version: str, plural: str, kind: str, package: str, **more: Any) -> Kind:
    group, _, version = api_version.rpartition("/")
    definition = f"{package}{kind}"
    more.setdefault("singular", kind.lower())
    more.setdefault("list_kind", f"{kind}List")
    return Kind(group, version, plural, kind, definition=definition, **more)


def _apps(plural: str, kind: str, short: str, *subs: Subresource) -> Kind:
    return _kind(
        "apps/v1",
        plural,
        kind,
        "io.k8s.api.apps.v1.",
        short=(short,),
        categories=("all",),
        subresources=(*subs, _status(kind)),
    )


def _rbac(plural: str, kind: str, *, namespaced: bool) -> Kind:
    return _kind("rbac.authorization.k8s.io/v1", plural, kind, "io.k8s.api.rbac.v1.", namespaced=namespaced)


def _autoscaler(version: str, *, secondary: bool = False) -> Kind:
    return _kind(
        f"autoscaling/{version}",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        f"io.k8s.api.autoscaling.{version}.",
        short=("hpa",),
        categories=("all",),
        subresources=(_status("HorizontalPodAutoscaler"),),
        secondary=secondary,
    )


def _review(api_version: str, plural: str, kind: str, *, namespaced: bool = False) -> Kind:
    package = f"io.k8s.api.{api_version.split('.', maxsplit=1)[0]}.v1."
    return _kind(api_version, plural, kind, package, namespaced=namespaced, verbs=("create",))


BUILT_IN: Final[tuple[Kind, ...]] = (
    _kind("v1", "bindings", "Binding", _CORE, verbs=("create",)),
    _kind("v1", "configmaps", "ConfigMap", _CORE, short=("cm",)),
    _kind("v1", "endpoints", "Endpoints", _CORE, short=("ep",), list_kind="EndpointsList"),
    _kind("v1", "events", "Event", _CORE, short=("ev",)),
    _kind(
        "v1",
        "namespaces",
        "Namespace",
        _CORE,
        namespaced=False,
        short=("ns",),
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        subresources=(Subresource("finalize", "Namespace", ("update",)), _status("Namespace")),
    ),
    _kind(
        "v1",
        "nodes",
        "Node",
        _CORE,
        namespaced=False,
        short=("no",),
        subresources=(Subresource("proxy", "NodeProxyOptions", _PROXY), _status("Node")),
    ),
    _kind("v1", "pods", "Pod", _CORE, short=("po",), categories=("all",), subresources=_POD_SUBS),
    _kind("v1", "secrets", "Secret", _CORE),
    _kind(
        "v1",
        "serviceaccounts",
        "ServiceAccount",
        _CORE,
        short=("sa",),
        subresources=(Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io/v1"),),
    ),
    _kind(
        "v1",
        "services",
        "Service",
        _CORE,
        short=("svc",),
        categories=("all",),
        subresources=(Subresource("proxy", "ServiceProxyOptions", _PROXY), _status("Service")),
    ),
    _kind("apps/v1", "controllerrevisions", "ControllerRevision", "io.k8s.api.apps.v1."),
    _apps("daemonsets", "DaemonSet", "ds"),
    _apps("deployments", "Deployment", "deploy", _SCALE),
    _apps("replicasets", "ReplicaSet", "rs", _SCALE),
    _apps("statefulsets", "StatefulSet", "sts", _SCALE),
    _kind("events.k8s.io/v1", "events", "Event", "io.k8s.api.events.v1.", short=("ev",), secondary=True),
    _review("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview"),
    _review("authentication.k8s.io/v1", "tokenreviews", "TokenReview"),
    _review(
        "authorization.k8s.io/v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", namespaced=True
    ),
    _review("authorization.k8s.io/v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    _review("authorization.k8s.io/v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    _review("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview"),
    _autoscaler("v2"),
    _autoscaler("v1", secondary=True),
    _kind(
        "batch/v1",
        "cronjobs",
        "CronJob",
        "io.k8s.api.batch.v1.",
        short=("cj",),
        categories=("all",),
        subresources=(_status("CronJob"),),
    ),
    _kind(
        "batch/v1",
        "jobs",
        "Job",
        "io.k8s.api.batch.v1.",
        categories=("all",),
        subresources=(_status("Job"),),
    ),
    _kind(
        "networking.k8s.io/v1",
        "ingressclasses",
        "IngressClass",
        "io.k8s.api.networking.v1.",
        namespaced=False,
    ),
    _kind(
        "networking.k8s.io/v1",
        "ingresses",
        "Ingress",
        "io.k8s.api.networking.v1.",
        short=("ing",),
        subresources=(_status("Ingress"),),
    ),
    _kind(
        "networking.k8s.io/v1",
        "networkpolicies",
        "NetworkPolicy",
        "io.k8s.api.networking.v1.",
        short=("netpol",),
    ),
    _kind(
        "policy/v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        "io.k8s.api.policy.v1.",
        short=("pdb",),
        subresources=(_status("PodDisruptionBudget"),),
    ),
    _rbac("clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _rbac("clusterroles", "ClusterRole", namespaced=False),
    _rbac("rolebindings", "RoleBinding", namespaced=True),
    _rbac("roles", "Role", namespaced=True),
    _kind(
        "apiextensions.k8s.io/v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.",
        namespaced=False,
        short=("crd", "crds"),
        categories=("api-extensions",),
        subresources=(_status("CustomResourceDefinition"),),
    ),
    _kind("coordination.k8s.io/v1", "leases", "Lease", "io.k8s.api.coordination.v1."),
    _kind("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", "io.k8s.api.discovery.v1."),
)


class Kinds:
    """The table with the custom resources of the moment in it."""

    def __init__(self) -> None:
        self._built_in = {(k.group, k.version, k.plural): k for k in BUILT_IN}
        self._custom: dict[tuple[str, str, str], Kind] = {}
        self._by_resource = {k.resource: k for k in BUILT_IN if not k.secondary}
        self._by_kind = {(k.api_version, k.kind): k for k in BUILT_IN}
        self.generation = 0

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind of a URL."""
        key = (group, version, plural)
        return self._built_in.get(key) or self._custom.get(key)

    def of_resource(self, resource: str) -> Kind | None:
        """The kind stored under a group resource such as ``deployments.apps``."""
        return self._by_resource.get(resource)

    def of_object(self, api_version: str, kind: str) -> Kind | None:
        """The kind of a manifest's apiVersion and kind."""
        return self._by_kind.get((api_version, kind))

    def all(self) -> Iterator[Kind]:
        """Every kind, built-in ones first."""
        yield from self._built_in.values()
        yield from self._custom.values()

    def groups(self) -> dict[str, list[str]]:
        """Versions of each group that is not the core group."""
        groups: dict[str, list[str]] = {}
        for kind in self.all():
            versions = groups.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        groups.pop("", None)
        return groups

    def replace_custom(self, custom: list[Kind]) -> None:
        """Set the kinds that CustomResourceDefinitions establish; built-in kinds win."""
        self._custom = {(k.group, k.version, k.plural): k for k in custom}
        self._by_resource = {k.resource: k for k in reversed(custom)} | {
            k.resource: k for k in BUILT_IN if not k.secondary
        }
        self._by_kind = {(k.api_version, k.kind): k for k in custom} | {
            (k.api_version, k.kind): k for k in BUILT_IN
        }
        self.generation += 1
