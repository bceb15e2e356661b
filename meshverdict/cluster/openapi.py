"""OpenAPI documents of what is served: version 3 by group, and a small version 2 for clients that only ask.

Built on request from the official definitions and not kept: `kubectl explain` and validation ask rarely.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any, Final

from meshverdict.cluster.kinds import Kind, Kinds
from meshverdict.cluster.schema import VERSION, raw_definitions

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_INFO: Final = {"title": "Kubernetes", "version": VERSION}
_ACTIONS: Final = {"get": "get", "list": "list", "create": "post", "update": "put", "patch": "patch"}
_LIST_PARAMETERS: Final = ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch")
_WRITE_PARAMETERS: Final = ("dryRun", "fieldManager", "fieldValidation")
_PATCHES: Final = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


def index(kinds: Kinds) -> dict[str, Any]:
    """``GET /openapi/v3``: where each group's document is."""
    groups = {"api/v1"} | {
        f"apis/{name}/{version}" for name, versions in kinds.groups().items() for version in versions
    }
    digest = hashlib.sha256(f"{sorted(groups)} {kinds.generation}".encode()).hexdigest().upper()
    return {
        "paths": {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest}"} for name in sorted(groups)}
    }


def document(kinds: Kinds, group: str, version: str) -> dict[str, Any] | None:
    """The document of one group version; None when there is none."""
    members = [k for k in kinds.all() if k.group == group and k.version == version]
    if not members:
        return None
    raw = raw_definitions()
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for kind in members:
        name = _schema_name(kind)
        schemas[name] = _own_schema(kind, raw)
        if "list" in kind.verbs:
            schemas[f"{name}List"] = _list_schema(kind, name)
        paths |= _paths(kind, name)
    _close(schemas, raw)
    security = {"BearerToken": {"type": "apiKey", "in": "header", "name": "authorization"}}
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": security},
    }


def version_two() -> dict[str, Any]:
    """``GET /openapi/v2``: enough for clients that only look whether it is there."""
    return {"swagger": "2.0", "info": _INFO, "paths": {}, "definitions": {}}


VERSION_TWO_MEDIA: Final = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


def version_two_protobuf() -> bytes:
    """The same in protobuf, which kubectl asks for before it says that a kind is not there.

    An openapi.v2.Document with 1 swagger and 2 info (1 title, 2 version); all lengths are below 128.
    """

    def text(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    info = text(1, _INFO["title"].encode()) + text(2, _INFO["version"].encode())
    return text(1, b"2.0") + text(2, info)


def _schema_name(kind: Kind) -> str:
    if kind.definition:
        return kind.definition
    return f"{'.'.join(reversed(kind.group.split('.')))}.{kind.version}.{kind.kind}"


def _own_schema(kind: Kind, raw: dict[str, Any]) -> dict[str, Any]:
    gvk = [{"group": kind.group, "version": kind.version, "kind": kind.kind}]
    if kind.definition:
        return {**_translated(raw[kind.definition]), "x-kubernetes-group-version-kind": gvk}
    schema: dict[str, Any] = copy.deepcopy(
        ((kind.crd_version or {}).get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
    )
    properties = schema.setdefault("properties", {})
    properties["apiVersion"] = {"type": "string"}
    properties["kind"] = {"type": "string"}
    properties["metadata"] = {"allOf": [{"$ref": f"#/components/schemas/{_META}ObjectMeta"}]}
    schema["x-kubernetes-group-version-kind"] = gvk
    return schema


def _list_schema(kind: Kind, name: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"{kind.list_kind} is a list of {kind.plural}",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"allOf": [{"$ref": f"#/components/schemas/{_META}ListMeta"}]},
            "items": {"type": "array", "items": {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}},
        },
        "x-kubernetes-group-version-kind": [
            {"group": kind.group, "version": kind.version, "kind": kind.list_kind}
        ],
    }


def _translated(value: Any) -> Any:
    """A JSON schema definition in OpenAPI's words: references elsewhere, no lists of types."""
    if isinstance(value, list):
        return [_translated(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        rest = {k: _translated(v) for k, v in value.items() if k != "$ref"}
        return rest | {"allOf": [{"$ref": f"#/components/schemas/{name}"}]}
    out = {}
    for key, item in value.items():
        if key == "type" and isinstance(item, list):
            out[key] = next(t for t in item if t != "null")
        elif key == "enum" and isinstance(item, list):
            out[key] = [v for v in item if v is not None]
        elif key == "properties":
            out[key] = {name: _translated(schema) for name, schema in item.items()}
        else:
            out[key] = _translated(item)
    return out


def _close(schemas: dict[str, Any], raw: dict[str, Any]) -> None:
    """Add everything that the schemas refer to."""
    waiting = list(schemas.values())
    for name in ("DeleteOptions", "Status"):
        schemas[_META + name] = _translated(raw[_META + name])
        waiting.append(schemas[_META + name])
    while waiting:
        for name in _references(waiting.pop()):
            if name not in schemas and name in raw:
                schemas[name] = _translated(raw[name])
                waiting.append(schemas[name])


def _references(value: Any) -> set[str]:
    found: set[str] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("$ref"), str):
                found.add(item["$ref"].rpartition("/")[2])
            stack += item.values()
        elif isinstance(item, list):
            stack += item
    return found


def _paths(kind: Kind, schema: str) -> dict[str, Any]:
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    place = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    collection = _operations(kind, schema, ("list", "create"))
    single = _operations(kind, schema, ("get", "update", "patch"))
    if "delete" in kind.verbs:
        single["delete"] = _operation(kind, "delete", f"{_META}Status", ("dryRun", "gracePeriodSeconds"))
    inside = [_path_parameter("namespace")] if kind.namespaced else []
    paths: dict[str, Any] = {place: {**collection, "parameters": inside}}
    if "get" in kind.verbs:
        paths[f"{place}/{{name}}"] = {**single, "parameters": [*inside, _path_parameter("name")]}
    if kind.namespaced and "list" in kind.verbs:
        paths[f"{root}/{kind.plural}"] = _operations(kind, schema, ("list",))
    if kind.sub("status"):
        status = _operations(kind, schema, ("get", "update", "patch"))
        paths[f"{place}/{{name}}/status"] = {**status, "parameters": [*inside, _path_parameter("name")]}
    return paths


def _operations(kind: Kind, schema: str, verbs: tuple[str, ...]) -> dict[str, Any]:
    made = {}
    for verb in verbs:
        if verb not in kind.verbs:
            continue
        if verb == "list":
            made["get"] = _operation(kind, verb, f"{schema}List", _LIST_PARAMETERS)
        else:
            parameters = () if verb == "get" else _WRITE_PARAMETERS
            made[_ACTIONS[verb]] = _operation(kind, verb, schema, parameters, body=schema)
    return made


def _operation(
    kind: Kind, verb: str, answer: str, parameters: tuple[str, ...], body: str = ""
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "tags": [f"{kind.group.split('.')[0] or 'core'}_{kind.version}"],
        "operationId": f"{verb}{kind.kind}",
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": {"group": kind.group, "kind": kind.kind, "version": kind.version},
        "parameters": [{"name": p, "in": "query", "schema": {"type": "string"}} for p in parameters],
        "responses": {
            "201" if verb == "create" else "200": {"description": "OK", "content": _content(answer)},
            "401": {"description": "Unauthorized"},
        },
    }
    if verb in {"create", "update"}:
        made["requestBody"] = {"content": _content(body), "required": True}
    elif verb == "patch":
        # kubectl chooses its patch by this list, and a custom resource takes no strategic ones.
        media = _PATCHES if kind.crd_version is None else _PATCHES[:-1]
        schema = {"schema": {"type": "object"}}
        made["requestBody"] = {"content": dict.fromkeys(media, schema), "required": True}
    return made


def _content(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
