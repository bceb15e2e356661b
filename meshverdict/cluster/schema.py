"""The official OpenAPI definitions as a graph of small nodes, and decoding of manifests against it.

A manifest is decoded as Kubernetes' JSON decoder does it: unknown fields are left out and reported, nulls and
empty lists and maps vanish, the first value of a wrong type refuses the whole, with Go's own words. The same
graph tells patches how lists merge.

The definitions are one file of 1.6 MB; it is read at the first manifest, and only what the served kinds reach
is kept, without descriptions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

VERSION: Final = "1.36"
_PACKAGE: Final = "kubernetes_validate"
_FILE: Final = f"kubernetes-json-schema/v{VERSION}.0-local/_definitions.json"

Type = Literal[
    "object",
    "map",
    "array",
    "string",
    "int32",
    "int64",
    "number",
    "boolean",
    "bytes",
    "quantity",
    "intstr",
    "time",
    "microtime",
    "any",
]
_SPECIAL: Final[dict[str, Type]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intstr",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": "any",
    "io.k8s.apimachinery.pkg.runtime.RawExtension": "any",
}


@dataclass(slots=True)
class Node:
    """What one value must be.

    Attributes:
        go: Go's name of the type, for messages: ``DeploymentSpec`` or ``v1.ObjectMeta`` after its package.
        item: Element of a list or map.
        required: Names of fields that the definition requires.
        list_type: ``atomic``, ``set`` or ``map``; lists merge by it in server-side apply.
        list_keys: Keys of a ``map`` list.
        merge_key: Key of a list that strategic merge patches merge; ``""`` for primitives.
        merges: Whether a strategic merge patch merges the list.
        retain_keys: Whether fields not in the patch go away when the patch says so.
        atomic: A struct or map that has one owner as a whole.
        preserve: Unknown fields are kept (custom resources).
        raw: The schema of a custom resource, for its value rules.
    """

    type: Type
    go: str = ""
    package: str = "v1"
    fields: dict[str, Node] = field(default_factory=dict)
    item: Node | None = None
    required: frozenset[str] = frozenset()
    list_type: str = "atomic"
    list_keys: tuple[str, ...] = ()
    merge_key: str = ""
    merges: bool = False
    retain_keys: bool = False
    atomic: bool = False
    preserve: bool = False
    raw: dict[str, Any] | None = None

    def child(self, name: str) -> Node | None:
        """The node of a field, or of any entry of a map."""
        return self.fields.get(name) or (self.item if self.type == "map" else None)


ANY: Final = Node("any")
STRING: Final = Node("string", go="string")


class Definitions:
    """Nodes of the definitions, made when first asked for.

    Args:
        raw: The definitions by name.
    """

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw = raw
        self._nodes: dict[str, Node] = {}

    def node(self, name: str) -> Node:
        """The node of a definition such as ``io.k8s.api.apps.v1.Deployment``."""
        if name in self._nodes:
            return self._nodes[name]
        if name in _SPECIAL:
            node = Node(_SPECIAL[name], go=_go_name(name))
            self._nodes[name] = node
            return node
        schema = self._raw[name]
        node = Node("object", go=_go_name(name), package=_go_package(name))
        self._nodes[name] = node  # before its fields: definitions may contain themselves
        if "properties" not in schema:
            node.type = "any"
            return node
        node.fields = {key: self._build(value) for key, value in schema["properties"].items()}
        node.required = frozenset(schema.get("required", ()))
        node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
        return node

    def _build(self, schema: dict[str, Any]) -> Node:
        reference = schema.get("$ref") or _first_reference(schema)
        if reference:
            node = self.node(reference.rpartition("/")[2])
            strategy = schema.get("x-kubernetes-patch-strategy", "")
            if "retainKeys" in strategy or schema.get("x-kubernetes-map-type"):
                node = _copy(node, retain_keys="retainKeys" in strategy)
                node.atomic = node.atomic or schema.get("x-kubernetes-map-type") == "atomic"
            return node
        kind = schema.get("type", "object")
        if isinstance(kind, list):
            kind = next(k for k in kind if k != "null")
        if kind == "array":
            return _array(schema, self._build(schema["items"]))
        if kind == "object":
            extra = schema.get("additionalProperties")
            if isinstance(extra, dict):
                node = Node("map", item=self._build(extra))
                node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
                return node
            return Node("map", item=STRING) if extra else Node("any")
        return _scalar(kind, schema.get("format", ""))


def _first_reference(schema: dict[str, Any]) -> str:
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())):
        if "$ref" in option:
            return str(option["$ref"])
    return ""


def _copy(node: Node, *, retain_keys: bool) -> Node:
    return Node(
        node.type,
        go=node.go,
        package=node.package,
        fields=node.fields,
        item=node.item,
        required=node.required,
        atomic=node.atomic,
        retain_keys=retain_keys,
    )


def _array(schema: dict[str, Any], item: Node) -> Node:
    strategy = schema.get("x-kubernetes-patch-strategy", "").split(",")
    merge_key = schema.get("x-kubernetes-patch-merge-key", "")
    keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
    list_type = schema.get("x-kubernetes-list-type", "")
    if not list_type:
        list_type = "map" if merge_key and "merge" in strategy else "set" if "merge" in strategy else "atomic"
    return Node(
        "array",
        item=item,
        list_type=list_type,
        list_keys=keys or ((merge_key,) if merge_key else ()),
        merge_key=merge_key,
        merges="merge" in strategy,
        retain_keys="retainKeys" in strategy,
    )


def _scalar(kind: str, form: str) -> Node:  # noqa: PLR0911 - a table of formats
    match kind, form:
        case "integer", "int64":
            return Node("int64", go="int64")
        case "integer", _:
            return Node("int32", go="int32")
        case "number", _:
            return Node("number", go="float64")
        case "boolean", _:
            return Node("boolean", go="bool")
        case "string", "byte":
            return Node("bytes", go="[]uint8")
        case "string", "date-time":
            return Node("time", go="string")
        case "string", _:
            return STRING
        case _:
            return ANY


def _go_name(definition: str) -> str:
    return definition.rpartition(".")[2]


def _go_package(definition: str) -> str:
    return definition.split(".")[-2]


@cache
def definitions() -> Definitions:
    """The definitions of Kubernetes `VERSION`."""
    return Definitions(raw_definitions())


def raw_definitions() -> dict[str, Any]:
    """The file's definitions with descriptions; read each time, for OpenAPI answers."""
    text = resources.files(_PACKAGE).joinpath(_FILE).read_bytes()
    loaded: dict[str, Any] = json.loads(text)["$defs"]
    return loaded


def go_type(node: Node) -> str:
    """Go's name of a node's type, as decoding errors print it."""
    if node.type == "object":
        return f"{node.package}.{node.go}"
    if node.type == "array" and node.item is not None:
        return f"[]{go_type(node.item)}"
    if node.type == "map" and node.item is not None:
        return f"map[string]{go_type(node.item)}"
    return node.go or "string"
