"""The environment of a container: literal values, references, Services, ``$(NAME)``. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from meshverdict.cluster.store import Manifest

Lookup = Callable[[str, str], Manifest | None]  # (resource, name) in the pod's namespace

_REFERENCE: Final = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_KEYED: Final = re.compile(r"(metadata\.(?:labels|annotations))\['([^']+)'\]")
_ENV_NAME: Final = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


class MissingReferenceError(Exception):
    """Something that the pod refers to is missing; the text is the container's waiting message."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """``$(NAME)`` replaced by its value if there is one, ``$$`` by ``$``, as Kubernetes does."""

    def replacement(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        return values.get(match.group(1), match.group())

    return _REFERENCE.sub(replacement, text)


def field_value(pod: Manifest, path: str) -> str:
    """A field of the downward API: ``metadata.name``, ``status.podIP``, ``metadata.labels['app']``..."""
    keyed = _KEYED.fullmatch(path)
    if keyed:
        return str((_walk(pod, keyed.group(1)) or {}).get(keyed.group(2), ""))
    value = _walk(pod, path)
    if isinstance(value, dict):
        return "\n".join(f'{key}="{_escape(str(text))}"' for key, text in sorted(value.items()))
    if isinstance(value, list):
        return ",".join(str(v.get("ip", "")) if isinstance(v, dict) else str(v) for v in value)
    return "" if value is None else str(value)


def _walk(obj: Any, path: str) -> Any:
    for part in path.split("."):
        obj = (obj or {}).get(part) if isinstance(obj, dict) else None
    return obj


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_value(
    container: Mapping[str, Any], resource: str, divisor: str, machine: Mapping[str, float]
) -> str:
    """A ``resourceFieldRef``: the request or limit in units of *divisor*, rounded up.

    A limit that is not set is what the *machine* has: ``cpu`` cores, ``memory`` bytes.
    """
    kind, _, name = resource.partition(".")
    resources = container.get("resources") or {}
    given = (resources.get(kind) or {}).get(name)
    if given is None and kind == "requests":
        given = (resources.get("limits") or {}).get(name, 0)
    amount = quantity(given) if given is not None else machine.get(name, 0.0)
    unit = quantity(divisor) or 1.0
    units = amount / unit
    return str(int(units) + (units > int(units) + 1e-9))


_SUFFIXES: Final = {
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
    "Pi": 2.0**50,
    "Ei": 2.0**60,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
}


def quantity(text: Any) -> float:
    """A Kubernetes quantity as a number; 0 for what is none (admission has refused it before)."""
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)", str(text).strip())
    if not match or (match.group(2) and match.group(2) not in _SUFFIXES):
        return 0.0
    return float(match.group(1)) * _SUFFIXES.get(match.group(2), 1.0)


def service_variables(services: Iterable[Manifest], namespace: str, *, links: bool) -> dict[str, str]:
    """Docker-style variables of the pod's own namespace's Services, and of ``kubernetes`` always."""
    env: dict[str, str] = {}
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        master = meta["name"] == "kubernetes" and meta["namespace"] == "default"
        if not master and not (links and meta["namespace"] == namespace):
            continue
        address = spec.get("clusterIP")
        if not address or address == "None" or not spec.get("ports"):
            continue
        name = meta["name"].upper().replace("-", "_")
        ports = spec["ports"]
        env[f"{name}_SERVICE_HOST"] = address
        env[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        for index, port in enumerate(ports):
            if port.get("name"):
                env[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(port["port"])
            protocol = port.get("protocol", "TCP")
            url = f"{protocol.lower()}://{address}:{port['port']}"
            prefix = f"{name}_PORT_{port['port']}_{protocol}"
            if index == 0:
                env[f"{name}_PORT"] = url
            env[prefix] = url
            env[f"{prefix}_PROTO"] = protocol.lower()
            env[f"{prefix}_PORT"] = str(port["port"])
            env[f"{prefix}_ADDR"] = address
    return env


def container_environment(
    pod: Manifest,
    container: Mapping[str, Any],
    base: Mapping[str, str],
    lookup: Lookup,
    machine: Mapping[str, float],
) -> dict[str, str]:
    """The whole environment; *base* (image and Service variables) comes first and may be overridden.

    Raises:
        MissingReferenceError: A ConfigMap, Secret or key that is not optional is missing.
    """
    env = dict(base)
    for source in container.get("envFrom") or ():
        env.update(_from_object(source, lookup))
    for variable in container.get("env") or ():
        if variable.get("valueFrom"):
            value = _referenced(pod, container, variable["valueFrom"], lookup, machine)
            if value is None:
                continue
        else:
            value = expand(str(variable.get("value") or ""), env)
        env[variable["name"]] = value
    return env


def _from_object(source: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    for key, resource, word in (
        ("configMapRef", "configmaps", "configmap"),
        ("secretRef", "secrets", "secret"),
    ):
        ref = source.get(key)
        if not ref:
            continue
        obj = lookup(resource, ref["name"])
        if obj is None:
            if ref.get("optional"):
                return {}
            raise MissingReferenceError(f'{word} "{ref["name"]}" not found')
        prefix = source.get("prefix") or ""
        data = texts(obj)
        return {prefix + k: v for k, v in data.items() if _ENV_NAME.fullmatch(prefix + k)}
    return {}


def _referenced(
    pod: Manifest,
    container: Mapping[str, Any],
    source: Mapping[str, Any],
    lookup: Lookup,
    machine: Mapping[str, float],
) -> str | None:
    if ref := source.get("fieldRef"):
        return field_value(pod, ref["fieldPath"])
    if ref := source.get("resourceFieldRef"):
        return resource_value(container, ref["resource"], str(ref.get("divisor") or "1"), machine)
    for key, resource, word in (
        ("configMapKeyRef", "configmaps", "configmap"),
        ("secretKeyRef", "secrets", "secret"),
    ):
        ref = source.get(key)
        if not ref:
            continue
        obj = lookup(resource, ref["name"])
        data = texts(obj) if obj else {}
        if ref["key"] in data:
            return data[ref["key"]]
        if ref.get("optional"):
            return None
        if obj is None:
            raise MissingReferenceError(f'{word} "{ref["name"]}" not found')
        where = f"{pod['metadata']['namespace']}/{ref['name']}"
        noun = "ConfigMap" if word == "configmap" else "Secret"
        raise MissingReferenceError(f"couldn't find key {ref['key']} in {noun} {where}")
    return ""


def texts(obj: Manifest) -> dict[str, str]:
    """The values of a ConfigMap or Secret as text."""
    return {key: value.decode(errors="surrogateescape") for key, value in contents(obj).items()}


def contents(obj: Manifest) -> dict[str, bytes]:
    """The values of a ConfigMap or Secret as bytes."""
    if obj.get("kind") == "Secret":
        return {k: base64.b64decode(v or "") for k, v in (obj.get("data") or {}).items()}
    data = {k: str(v).encode() for k, v in (obj.get("data") or {}).items()}
    data.update({k: base64.b64decode(v or "") for k, v in (obj.get("binaryData") or {}).items()})
    return data
