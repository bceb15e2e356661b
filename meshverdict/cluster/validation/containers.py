"""Rules of one container: ports, environment, mounts, resources, probes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from meshverdict.cluster.errors import FieldError, bad, duplicate, forbidden_field, required, unsupported
from meshverdict.cluster.names import (
    config_key_problems,
    dns_label_problems,
    env_name_problems,
    port_name_problems,
    port_number_problems,
    qualified_name_problems,
)
from meshverdict.cluster.quantities import quantity
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation.meta import NON_NEGATIVE, Errors, non_negative
from meshverdict.cluster.validation.volumes import local_path_errors

PROTOCOLS: Final = ("SCTP", "TCP", "UDP")
_PULL: Final = ("Always", "IfNotPresent", "Never")
_MESSAGE: Final = ("File", "FallbackToLogsOnError")
_RESOURCES: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
_FIELD_PATHS: Final = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_ONE_SOURCE: Final = (
    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
)


def container_errors(container: Manifest, path: str, volumes: set[Any]) -> Errors:
    """Rules of a container or init container."""
    errors = _identity(container, path)
    errors += _ports(container.get("ports") or [], f"{path}.ports")
    errors += _env(container.get("env") or [], f"{path}.env")
    errors += _env_from(container.get("envFrom") or [], f"{path}.envFrom")
    errors += _mounts(container.get("volumeMounts") or [], f"{path}.volumeMounts", volumes)
    policy = container.get("imagePullPolicy")
    if policy and policy not in _PULL:
        errors.append(unsupported(f"{path}.imagePullPolicy", policy, _PULL))
    errors += resources_errors(container.get("resources") or {}, f"{path}.resources")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name) is not None:
            errors += _probe(container[name], f"{path}.{name}", once=name != "readinessProbe")
    for name, handler in (container.get("lifecycle") or {}).items():
        if isinstance(handler, dict):
            errors += _handler(handler, f"{path}.lifecycle.{name}")
    return errors


def _identity(container: Manifest, path: str) -> Errors:
    errors: Errors = []
    name = container.get("name") or ""
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors += [bad(f"{path}.name", name, text) for text in dns_label_problems(name)]
    image = container.get("image") or ""
    if not image:
        errors.append(required(f"{path}.image"))
    elif image != image.strip():
        errors.append(bad(f"{path}.image", image, "must not have leading or trailing whitespace"))
    message = container.get("terminationMessagePolicy")
    if message and message not in _MESSAGE:
        errors.append(unsupported(f"{path}.terminationMessagePolicy", message, _MESSAGE))
    return errors


def _ports(ports: Sequence[Manifest], path: str) -> Errors:
    errors: Errors = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        place = f"{path}[{index}]"
        if name := port.get("name"):
            problems = port_name_problems(name)
            errors += [bad(f"{place}.name", name, text) for text in problems]
            if not problems and name in seen:
                errors.append(duplicate(f"{place}.name", name))
            seen.add(name)
        number = port.get("containerPort") or 0
        if not number:
            errors.append(required(f"{place}.containerPort"))
        else:
            errors += [bad(f"{place}.containerPort", number, t) for t in port_number_problems(number)]
        if host := port.get("hostPort"):
            errors += [bad(f"{place}.hostPort", host, text) for text in port_number_problems(host)]
        protocol = port.get("protocol") or ""
        if not protocol:
            errors.append(required(f"{place}.protocol"))
        elif protocol not in PROTOCOLS:
            errors.append(unsupported(f"{place}.protocol", protocol, PROTOCOLS))
    return errors


def _env(variables: Sequence[Manifest], path: str) -> Errors:
    errors: Errors = []
    for index, variable in enumerate(variables):
        place = f"{path}[{index}]"
        name = variable.get("name") or ""
        if not name:
            errors.append(required(f"{place}.name"))
        else:
            errors += [bad(f"{place}.name", name, text) for text in env_name_problems(name)]
        if variable.get("valueFrom") is not None:
            errors += _env_source(variable, f"{place}.valueFrom")
    return errors


def _env_source(variable: Manifest, path: str) -> Errors:
    source = variable["valueFrom"]
    if not source:
        return [bad(path, "", _ONE_SOURCE)]
    errors: Errors = []
    if variable.get("value"):
        errors.append(bad(path, "", "may not be specified when `value` is not empty"))
    if len(source) > 1:
        errors.append(bad(path, "", "may not have more than one field specified at a time"))
    if reference := source.get("fieldRef"):
        errors += _field_ref(reference, f"{path}.fieldRef")
    for key in ("configMapKeyRef", "secretKeyRef"):
        if reference := source.get(key):
            name, item = reference.get("name"), reference.get("key")
            errors += [] if name else [required(f"{path}.{key}.name")]
            if not item:
                errors.append(required(f"{path}.{key}.key"))
            else:
                errors += [bad(f"{path}.{key}.key", item, text) for text in config_key_problems(item)]
    return errors


def _field_ref(reference: Manifest, path: str) -> Errors:
    target = reference.get("fieldPath") or ""
    if not target:
        return [required(f"{path}.fieldPath")]
    if target in _FIELD_PATHS or target.startswith(("metadata.labels['", "metadata.annotations['")):
        return []
    text = f"error converting fieldPath: field label not supported: {target}"
    return [bad(f"{path}.fieldPath", target, text)]


def _env_from(sources: Sequence[Manifest], path: str) -> Errors:
    errors: Errors = []
    for index, source in enumerate(sources):
        place = f"{path}[{index}]"
        kinds = [k for k in ("configMapRef", "secretRef") if source.get(k) is not None]
        if not kinds:
            errors.append(bad(place, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(kinds) > 1:
            errors.append(bad(place, "", "may not have more than one field specified at a time"))
        errors += [required(f"{place}.{k}.name") for k in kinds if not source[k].get("name")]
    return errors


def _mounts(mounts: Sequence[Manifest], path: str, volumes: set[Any]) -> Errors:
    errors: Errors = []
    places: set[str] = set()
    for index, mount in enumerate(mounts):
        place = f"{path}[{index}]"
        name = mount.get("name") or ""
        if not name:
            errors.append(required(f"{place}.name"))
        elif name not in volumes:
            errors.append(FieldError("FieldValueNotFound", f"{place}.name", "", name))
        target = mount.get("mountPath") or ""
        if not target:
            errors.append(required(f"{place}.mountPath"))
        elif target in places:
            errors.append(bad(f"{place}.mountPath", target, "must be unique"))
        places.add(target)
        if inside := mount.get("subPath"):
            errors += local_path_errors(inside, f"{place}.subPath")
    return errors


def resources_errors(resources: Manifest, path: str) -> Errors:
    """Requests and limits: names, no negative amounts, no request over its limit."""
    errors: Errors = []
    limits = resources.get("limits") or {}
    amounts: dict[str, Decimal] = {}
    for kind in ("limits", "requests"):
        for name, amount in (resources.get(kind) or {}).items():
            place = f"{path}.{kind}"
            errors += _resource_name(name, place)
            value = quantity(amount)
            if value < 0:
                errors.append(bad(f"{place}[{name}]", str(amount), NON_NEGATIVE))
            if kind == "limits":
                amounts[name] = value
            elif name in amounts and value > amounts[name]:
                text = f"must be less than or equal to {name} limit of {limits[name]}"
                errors.append(bad(place, str(amount), text))
    return errors


def _resource_name(name: str, path: str) -> Errors:
    if name in _RESOURCES or name.startswith("hugepages-"):
        return []
    if problems := qualified_name_problems(name):
        return [bad(path, name, text) for text in problems]
    if "/" not in name:
        errors = [bad(path, name, "must be a standard resource type or fully qualified")]
        return [*errors, bad(path, name, "must be a standard resource for containers")]
    return []


def _probe(probe: Manifest, path: str, *, once: bool) -> Errors:
    errors = _handler(probe, path)
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds"):
        errors += non_negative(probe.get(key), f"{path}.{key}")
    for key in ("successThreshold", "failureThreshold"):
        errors += non_negative(probe.get(key), f"{path}.{key}")
    if once and probe.get("successThreshold", 1) != 1:
        errors.append(bad(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return errors


_HANDLERS: Final = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def _handler(handler: Manifest, path: str) -> Errors:
    kinds = [k for k in _HANDLERS if handler.get(k) is not None]
    if not kinds:
        return [required(path, "must specify a handler type")]
    errors = [forbidden_field(f"{path}.{k}", "may not specify more than 1 handler type") for k in kinds[1:]]
    kind = kinds[0]
    action = handler[kind]
    if kind == "exec" and not action.get("command"):
        errors.append(required(f"{path}.exec.command"))
    if kind in {"httpGet", "tcpSocket"}:
        if kind == "httpGet" and action.get("scheme") not in {"HTTP", "HTTPS"}:
            errors.append(unsupported(f"{path}.httpGet.scheme", action.get("scheme"), ("HTTP", "HTTPS")))
        errors += port_errors(action.get("port", 0), f"{path}.{kind}.port")
    return errors


def port_errors(port: Any, path: str) -> Errors:
    """A port by number or by name."""
    problems = port_number_problems(port) if isinstance(port, int) else port_name_problems(port)
    return [bad(path, port, text) for text in problems]
