"""Rules of pods and pod templates: the spec as a whole and what it says about running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meshverdict.cluster.errors import FieldError, bad, duplicate, forbidden_field, required, unsupported
from meshverdict.cluster.names import dns_label_problems, dns_subdomain_problems, qualified_name_problems
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation.containers import container_errors
from meshverdict.cluster.validation.meta import (
    Errors,
    annotations_errors,
    labels_errors,
    non_negative,
)
from meshverdict.cluster.validation.network import IP_TEXT, is_ip
from meshverdict.cluster.validation.scheduling import placement_errors
from meshverdict.cluster.validation.volumes import volumes_errors

_RESTART: Final = ("Always", "OnFailure", "Never")
_DNS: Final = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_NAMESERVERS: Final = 3
_SEARCHES: Final = 32
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_CHANGEABLE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously"
    " negative)"
)


def pod_errors(pod: Manifest) -> Errors:
    """Rules of a Pod, metadata aside."""
    return pod_spec_errors(pod.get("spec") or {}, "spec")


def template_errors(template: Manifest | None, path: str) -> Errors:
    """Rules of a PodTemplateSpec."""
    template = template or {}
    meta = template.get("metadata") or {}
    errors = labels_errors(meta.get("labels"), f"{path}.labels")
    errors += annotations_errors(meta.get("annotations"), f"{path}.annotations")
    return errors + pod_spec_errors(template.get("spec") or {}, f"{path}.spec")


def pod_spec_errors(spec: Manifest, path: str) -> Errors:
    """Rules of a PodSpec."""
    volumes = spec.get("volumes") or []
    errors = volumes_errors(volumes, f"{path}.volumes")
    names = {v.get("name") for v in volumes}
    errors += _containers(spec.get("containers") or [], f"{path}.containers", names)
    errors += _init_containers(spec, path, names)
    errors += _choice(spec.get("restartPolicy"), _RESTART, f"{path}.restartPolicy")
    errors += _choice(spec.get("dnsPolicy"), _DNS, f"{path}.dnsPolicy")
    errors += labels_errors(spec.get("nodeSelector"), f"{path}.nodeSelector")
    errors += _names(spec, path)
    errors += _tolerations(spec.get("tolerations") or [], f"{path}.tolerations")
    errors += placement_errors(spec, path)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        text = "must be between 1 and 2147483647, inclusive"
        errors.append(bad(f"{path}.activeDeadlineSeconds", deadline, text))
    errors += non_negative(spec.get("terminationGracePeriodSeconds"), f"{path}.terminationGracePeriodSeconds")
    errors += _dns(spec, path)
    return errors + _aliases(spec.get("hostAliases") or [], f"{path}.hostAliases")


def _containers(containers: Sequence[Manifest], path: str, volumes: set[Any]) -> Errors:
    if not containers:
        return [required(path)]
    errors: Errors = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        place = f"{path}[{index}]"
        name = container.get("name") or ""
        if name in seen:
            errors.append(duplicate(f"{place}.name", name))
        if name:
            seen.add(name)
        errors += container_errors(container, place, volumes)
    return errors


def _init_containers(spec: Manifest, path: str, volumes: set[Any]) -> Errors:
    errors: Errors = []
    seen = {c.get("name") for c in spec.get("containers") or []}
    for index, container in enumerate(spec.get("initContainers") or []):
        place = f"{path}.initContainers[{index}]"
        errors += container_errors(container, place, volumes)
        name = container.get("name")
        if name in seen:
            errors.append(duplicate(f"{place}.name", name))
        seen.add(name)
        if container.get("restartPolicy") == "Always":
            continue
        errors += [
            forbidden_field(
                f"{place}.{key}", "may not be set for init containers without restartPolicy=Always"
            )
            for key in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
            if container.get(key)
        ]
    return errors


def _choice(value: str | None, supported: Sequence[str], path: str) -> Errors:
    if not value:
        return [required(path)]
    return [] if value in supported else [unsupported(path, value, supported)]


def _names(spec: Manifest, path: str) -> Errors:
    errors: Errors = []
    account = spec.get("serviceAccountName")
    if account:
        errors += [bad(f"{path}.serviceAccountName", account, t) for t in dns_subdomain_problems(account)]
    for key in ("hostname", "subdomain"):
        if value := spec.get(key):
            errors += [bad(f"{path}.{key}", value, text) for text in dns_label_problems(value)]
    if node := spec.get("nodeName"):
        errors += [bad(f"{path}.nodeName", node, text) for text in dns_subdomain_problems(node)]
    return errors


def _tolerations(tolerations: Sequence[Manifest], path: str) -> Errors:
    errors: Errors = []
    for index, toleration in enumerate(tolerations):
        place = f"{path}[{index}]"
        key, operator = toleration.get("key"), toleration.get("operator") or "Equal"
        if key:
            errors += [bad(f"{place}.key", key, text) for text in qualified_name_problems(key)]
        elif operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(bad(f"{place}.operator", operator, text))
        if operator not in {"Equal", "Exists"}:
            errors.append(unsupported(f"{place}.operator", operator, ("Equal", "Exists")))
        elif operator == "Exists" and toleration.get("value"):
            text = "value must be empty when `operator` is 'Exists'"
            errors.append(bad(f"{place}.operator", toleration["value"], text))
        effect = toleration.get("effect")
        if effect and effect not in _EFFECTS:
            errors.append(unsupported(f"{place}.effect", effect, _EFFECTS))
    return errors


def _aliases(aliases: Sequence[Manifest], path: str) -> Errors:
    errors: Errors = []
    for index, alias in enumerate(aliases):
        errors += ip_errors(alias.get("ip") or "", f"{path}[{index}].ip")
        for name in alias.get("hostnames") or []:
            errors += [bad(f"{path}[{index}].hostnames", name, text) for text in dns_subdomain_problems(name)]
    return errors


def ip_errors(text: str, path: str) -> Errors:
    """An address in a field."""
    return [] if is_ip(text) else [bad(path, text, IP_TEXT)]


def _dns(spec: Manifest, path: str) -> Errors:
    """Rules of dnsConfig, and of a dnsPolicy that relies on it."""
    config, place = spec.get("dnsConfig"), f"{path}.dnsConfig"
    if config is None:
        if spec.get("dnsPolicy") == "None":
            return [required(place, "must provide `dnsConfig` when `dnsPolicy` is None")]
        return []
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    errors: Errors = []
    if spec.get("dnsPolicy") == "None" and not servers:
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        errors.append(required(f"{place}.nameservers", text))
    if len(servers) > _NAMESERVERS:
        text = f"must not have more than {_NAMESERVERS} nameservers"
        errors.append(bad(f"{place}.nameservers", servers, text))
    for index, server in enumerate(servers):
        errors += ip_errors(server, f"{place}.nameservers[{index}]")
    if len(searches) > _SEARCHES:
        text = f"must not have more than {_SEARCHES} search paths"
        errors.append(bad(f"{place}.searches", searches, text))
    for index, search in enumerate(searches):
        name = search.removesuffix(".").replace("_", "-")
        if search != ".":
            errors += [
                bad(f"{place}.searches[{index}]", search, text) for text in dns_subdomain_problems(name)
            ]
    for index, option in enumerate(config.get("options") or []):
        if not option.get("name"):
            errors.append(required(f"{place}.options[{index}]", "must not be empty"))
    return errors


def pod_update_errors(new: Manifest, old: Manifest) -> Errors:
    """What may change in a pod that is there: images, the deadline, and little else."""
    errors: list[FieldError] = []
    before, after = _frozen_part(old["spec"]), _frozen_part(new["spec"])
    if len(new["spec"].get("containers") or []) != len(old["spec"].get("containers") or []):
        errors.append(forbidden_field("spec.containers", "pod updates may not add or remove containers"))
    elif before != after:
        errors.append(forbidden_field("spec", _CHANGEABLE))
    tolerations = new["spec"].get("tolerations") or []
    if any(t not in tolerations for t in old["spec"].get("tolerations") or []):
        text = "existing toleration can not be modified except its tolerationSeconds"
        errors.append(forbidden_field("spec.tolerations", text))
    return errors


def _frozen_part(spec: Manifest) -> Manifest:
    frozen = {
        key: value
        for key, value in spec.items()
        if key
        not in {
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "nodeName",
            "schedulingGates",
        }
    }
    for key in ("containers", "initContainers"):
        if key in frozen:
            frozen[key] = [{k: v for k, v in c.items() if k != "image"} for c in frozen[key]]
    return frozen
