"""What must be right before anything is touched: the treatment exists, selects somebody, stays in the lab.

Chaos Toolkit takes a `spec_path` that does not exist as no specification, without a word, and a policy that
selects nobody as a policy. And on somebody's real cluster only namespaces labelled as a lab may be acted
upon.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chaoslib import substitute

from meshverdict.chaos.affinity import objects_of
from meshverdict.chaos.cluster import PROTECTED
from meshverdict.chaos.experiment_file import Treatment, activities
from meshverdict.chaos.manifests import Manifest, named, read_manifests
from meshverdict.chaos.selectors import selected
from meshverdict.model.errors import UsageError
from meshverdict.model.manifest_files import LEFT_OUT, read_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# What chaosk8s' actions do to objects that their arguments name: policies of a fixed name, objects called `name`, and
# objects that a file describes. Secrets are left out: what is in one is written down nowhere.
_POLICIES: Final = {
    f"{prefix}{action}": name
    for action, name in (
        ("deny_all_ingress", "chaostoolkit-deny-all-ingress"),
        ("deny_all_egress", "chaostoolkit-deny-all-egress"),
        ("allow_dns_access", "chaostoolkit-allow-dns"),
    )
    for prefix in ("", "remove_")
}
_NAMED: Final = {
    "delete_deployment": "Deployment",
    "scale_deployment": "Deployment",
    "scale_microservice": "Deployment",
    "remove_statefulset": "StatefulSet",
    "scale_statefulset": "StatefulSet",
    "delete_daemon_set": "DaemonSet",
    "update_daemon_set": "DaemonSet",
    "delete_service": "Service",
    "remove_service_endpoint": "Service",
    "delete_ingress": "Ingress",
    "update_ingress": "Ingress",
    "remove_network_policy": "NetworkPolicy",
}
_DESCRIBED: Final = {
    "create_deployment": "Deployment",
    "start_microservice": "Deployment",
    "create_statefulset": "StatefulSet",
    "create_daemon_set": "DaemonSet",
    "create_service_endpoint": "Service",
    "create_ingress": "Ingress",
}
_VERSIONS: Final = {
    "Service": "v1",
    "Ingress": "networking.k8s.io/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
}


@dataclass(frozen=True, slots=True)
class Made:
    """An object that the treatment makes.

    Attributes:
        activity: Name of the activity that makes it.
        namespace: Where; None for an object of the whole cluster.
    """

    activity: str
    namespace: str | None
    manifest: Manifest

    @property
    def ours_alone(self) -> bool:
        """Whether nothing of the lab itself has this kind, so that one found before a run is a leftover."""
        return self.manifest.get("kind") == "NetworkPolicy" or "istio.io/" in str(
            self.manifest.get("apiVersion")
        )

    def __str__(self) -> str:
        return named(self.manifest, self.namespace)


def made_by(
    experiment: Mapping[str, Any],
    treatment: Treatment,
    configuration: Mapping[str, Any],
    secrets: Mapping[str, Any],
) -> list[Made]:
    """The objects that the treatment will make, read from where its activities will read them.

    Raises:
        UsageError: A manifest is missing or broken.
    """
    found = []
    for activity in experiment.get("method") or ():
        python = (activity.get("provider") or {}).get("type") == "python"
        if python and activity.get("name") in treatment.apply:
            arguments = _arguments(activity, configuration, secrets)
            found += _made(str(activity["name"]), activity.get("provider") or {}, arguments)
    return found


def touched_by(
    experiment: Mapping[str, Any], configuration: Mapping[str, Any], secrets: Mapping[str, Any]
) -> list[Made]:
    """Everything that the method's activities make, change or delete, as far as their arguments say.

    Of an object that is changed only the address is known.

    Raises:
        UsageError: A manifest is missing or broken.
    """
    found = []
    for activity in experiment.get("method") or ():
        provider = activity.get("provider") or {}
        if provider.get("type") == "python" and activity.get("type") == "action":
            arguments = _arguments(activity, configuration, secrets)
            found += _made(str(activity.get("name")), provider, arguments)
            found += _changed(str(activity.get("name")), str(provider.get("func")), arguments)
    return found


def _changed(name: str, function: str, arguments: Mapping[str, Any]) -> list[Made]:
    """What chaosk8s' actions do to objects that they name by arguments alone."""
    namespace = str(arguments.get("ns", "default"))
    if function in _POLICIES:
        return [Made(name, namespace, _addressed("NetworkPolicy", _POLICIES[function]))]
    if function in _NAMED and arguments.get("name"):
        return [Made(name, namespace, _addressed(_NAMED[function], str(arguments["name"])))]
    if function in _DESCRIBED and arguments.get("spec_path"):
        found = read_manifests(Path(str(arguments["spec_path"])))
        return [Made(name, namespace, _addressed(_DESCRIBED[function], m["metadata"]["name"])) for m in found]
    return []


def _addressed(kind: str, name: str) -> Manifest:
    return {"apiVersion": _VERSIONS.get(kind, "apps/v1"), "kind": kind, "metadata": {"name": name}}


def _arguments(
    activity: Mapping[str, Any], configuration: Mapping[str, Any], secrets: Mapping[str, Any]
) -> dict[str, Any]:
    given = (activity.get("provider") or {}).get("arguments") or {}
    return dict(substitute(dict(given), configuration, secrets) or {})


def _made(name: str, provider: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[Made]:
    function = provider.get("func")
    if function == "create_network_policy":
        manifest = _policy(name, arguments)
        # chaosk8s sends it to this namespace, whatever the manifest says.
        return [Made(name, str(arguments.get("ns", "default")), manifest)]
    if function == "create_custom_object":
        resource, file = arguments.get("resource"), arguments.get("resource_as_yaml_file")
        if resource is None and file:
            return [
                Made(name, str(arguments.get("ns", "default")), m) for m in read_manifests(Path(str(file)))
            ]
        if not isinstance(resource, dict):
            raise UsageError(
                f"activity {name!r}: `resource` must be an object, not {type(resource).__name__}"
            )
        return [Made(name, str(arguments.get("ns", "default")), resource)]
    if function in {"apply_manifests", "apply_policy", "delete_manifests", "sweep_rate_limit"}:
        paths = arguments.get("paths") or ()
        paths = [paths] if isinstance(paths, str) else paths
        return [
            Made(name, (m.get("metadata") or {}).get("namespace") or arguments.get("ns"), m)
            for path in paths
            for m in read_manifests(Path(path))
        ]
    if function == "set_affinity":
        found = objects_of(str(arguments.get("manifests")), str(arguments.get("form")))
        return [Made(name, m["metadata"]["namespace"], m) for m in found]
    return []


def _policy(name: str, arguments: Mapping[str, Any]) -> Manifest:
    path, spec = arguments.get("spec_path"), arguments.get("spec")
    if path:
        found = read_manifests(Path(str(path)))
        if len(found) != 1 or found[0].get("kind") != "NetworkPolicy":
            raise UsageError(f"activity {name!r}: {path} must hold exactly one NetworkPolicy")
        manifest = found[0]
    elif isinstance(spec, dict) and (spec.get("metadata") or {}).get("name"):
        manifest = spec
    else:
        raise UsageError(
            f"activity {name!r}: it needs `spec_path` with a file, or `spec` with the whole NetworkPolicy"
        )
    theirs = (manifest.get("metadata") or {}).get("namespace")
    if theirs and theirs != arguments.get("ns", "default"):
        raise UsageError(
            f"activity {name!r}: the policy belongs to namespace {theirs},"
            f" `ns` says {arguments.get('ns', 'default')}"
        )
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **manifest}


def refuse_outside(
    experiment: Mapping[str, Any],
    configuration: Mapping[str, Any],
    secrets: Mapping[str, Any],
    allowed: Iterable[str],
    *,
    embedded: bool,
) -> None:
    """Refuse an experiment with an action outside the lab's namespaces.

    Raises:
        UsageError: Naming the activity and its namespace.
    """
    lab = set(allowed)
    for place, activity in activities(experiment):
        provider = activity.get("provider") or {}
        module = str(provider.get("module", ""))
        if activity.get("type") != "action" or not module.startswith("chaosk8s"):
            continue
        function = getattr(importlib.import_module(module), str(provider.get("func")), None)
        parameters = inspect.signature(function).parameters if callable(function) else {}
        if "ns" not in parameters:
            if not embedded:
                raise UsageError(
                    f"{place}: {activity.get('name')!r} acts on the whole cluster; on a real cluster only"
                    " namespaces labelled meshverdict.io/lab=true are touched"
                )
            continue
        default = parameters["ns"].default
        namespace = _arguments(activity, configuration, secrets).get("ns", default)
        if namespace not in lab:
            raise UsageError(
                f"{place}: {activity.get('name')!r} acts in namespace {namespace!r}, which is not labelled"
                f" meshverdict.io/lab=true (these are: {', '.join(sorted(lab)) or 'none'})"
            )


def refuse_idle(made: Iterable[Made], pods: Iterable[Mapping[str, Any]], allowed: Iterable[str]) -> None:
    """Refuse a treatment that leaves the lab's namespaces, or a policy that selects no pod.

    Raises:
        UsageError: Naming the object.
    """
    pods, lab = list(pods), set(allowed)
    for item in made:
        if item.namespace in PROTECTED:
            raise UsageError(
                f"{item}: {item.namespace} is the cluster's own, or Istio's root namespace, where it would concern"
                " everybody; it is never written to"
            )
        if item.namespace not in lab:
            raise UsageError(
                f"{item}: its namespace is not labelled meshverdict.io/lab=true, so it is not touched"
            )
        selector = (item.manifest.get("spec") or {}).get("podSelector")
        if item.manifest.get("kind") == "NetworkPolicy" and not selected(
            item.manifest, pods, str(item.namespace)
        ):
            raise UsageError(
                f"{item}: its podSelector {selector!r} selects no pod of namespace {item.namespace}, so the"
                " treatment would do nothing; correct the selector"
            )


def refuse_without(paths: Iterable[str], namespaces: Iterable[str], options: Iterable[str]) -> None:
    """Refuse a lab that was made of other manifests than the experiment needs.

    Args:
        paths: Folders or files of manifests.
        namespaces: Those of the lab that is there.
        options: How ``meshverdict up`` makes the right one.

    Raises:
        UsageError: A namespace of theirs is not there.
    """
    there = set(namespaces)
    for path in paths:
        for manifest in read_files(Path(path), left_out=LEFT_OUT):
            name = manifest["metadata"]["name"]
            if manifest["kind"] == "Namespace" and name not in there:
                raise UsageError(
                    f"the lab has no namespace {name!r}, which the experiment needs; type `meshverdict down`, then"
                    f" `{' '.join(['meshverdict', 'up', *options])}`, and run again"
                )
