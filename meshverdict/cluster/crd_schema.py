"""A CustomResourceDefinition's own schema: pruning, defaults, and Kubernetes' messages for what it refuses."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

from meshverdict.cluster.crd_rules import definition_problems, has_rules, rule_errors
from meshverdict.cluster.errors import OMITTED, FieldError, bad, required, unsupported
from meshverdict.cluster.schema import Node, definitions
from meshverdict.cluster.store import Manifest
from meshverdict.model.regex import RegexError, compiled, encodable

Schema = dict[str, Any]
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
_BLOCKING: Final = frozenset(
    {
        "FieldValueRequired",
        "FieldValueTypeInvalid",
        "FieldValueNotSupported",
        "FieldValueTooLong",
        "FieldValueTooMany",
    }
)
_INT32: Final = (1 << 31) - 1
_GO: Final = (
    (bool, "bool"),
    (int, "int64"),
    (float, "float64"),
    (str, "string"),
    (list, "[]interface {}"),
    (dict, "map[string]interface {}"),
)
_JSON: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


def unchecked(crd: Manifest) -> Iterator[str]:
    """What a definition asks for and this server does not check, for Warnings."""
    for index, version in enumerate((crd.get("spec") or {}).get("versions") or []):
        root = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        path = f"spec.versions[{index}].schema.openAPIV3Schema"
        yield from (found for found in definition_problems(root, path) if isinstance(found, str))


def pattern_problems(schema: Any, path: str) -> Iterator[FieldError]:
    """The patterns of a schema that are no regular expressions.

    Args:
        schema: Of a definition, or a part of one.
        path: Where it stands in the definition.
    """
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from pattern_problems(item, f"{path}[{index}]")
    if not isinstance(schema, dict):
        return
    if isinstance(pattern := schema.get("pattern"), str) and pattern:
        try:
            compiled(pattern)
        except RegexError as error:
            text = f"must be a valid regular expression, but isn't: {error}"
            yield bad(f"{path}.pattern", pattern, text)
    for key in ("items", "not", "allOf", "anyOf", "oneOf", "additionalProperties"):
        yield from pattern_problems(schema.get(key), f"{path}.{key}")
    for name, part in (schema.get("properties") or {}).items():
        yield from pattern_problems(part, f"{path}.properties[{name}]")


def node_of(schema: Schema) -> Node:
    """The schema of one version as a `Node`; metadata is Kubernetes' own."""
    root = _node(schema)
    root.type = "object"
    root.fields = {
        **root.fields,
        "apiVersion": Node("any"),
        "kind": Node("any"),
        "metadata": definitions().node(_META),
    }
    return root


def _node(schema: Schema) -> Node:
    preserve = bool(schema.get(_PRESERVE))
    kind = schema.get("type")
    if kind == "object" and schema.get("properties"):
        fields = {key: _node(value) for key, value in schema["properties"].items()}
        node = Node("object", fields=fields, preserve=preserve)
    elif kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        node = Node("map", item=_node(schema["additionalProperties"]))
    elif kind == "object" and not preserve and not schema.get("additionalProperties"):
        node = Node("object")
    elif kind == "array":
        node = Node("array", item=_node(schema.get("items") or {}))
        node.list_type = schema.get("x-kubernetes-list-type", "atomic")
        node.list_keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
    else:
        node = Node("any", preserve=preserve)
    node.atomic = schema.get("x-kubernetes-map-type") == "atomic"
    return node


def prune(value: Any, node: Node, path: str, problems: list[str]) -> Any:
    """*value* without unknown fields; they are named in *problems*."""
    if isinstance(value, dict) and node.type == "object":
        out = {}
        for key, item in value.items():
            child = node.fields.get(key)
            place = f"{path}.{key}" if path else key
            if child is None and not node.preserve:
                problems.append(f'unknown field "{place}"')
            else:
                out[key] = prune(item, child, place, problems) if child is not None else item
        return out
    if isinstance(value, dict) and node.type == "map" and node.item is not None:
        return {k: prune(v, node.item, f"{path}.{k}", problems) for k, v in value.items()}
    if isinstance(value, list) and node.type == "array" and node.item is not None:
        item = node.item
        return [prune(v, item, f"{path}[{i}]", problems) for i, v in enumerate(value)]
    return value


def fill(value: Any, schema: Schema) -> None:
    """Fill in defaults, in place; a null that may not be one gives way to its default."""
    if isinstance(value, dict):
        for key, child in (schema.get("properties") or {}).items():
            if "default" in child and (
                key not in value or (value[key] is None and not child.get("nullable"))
            ):
                value[key] = copy.deepcopy(child["default"])
            if key in value:
                fill(value[key], child)
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            for item in value.values():
                fill(item, extra)
    elif isinstance(value, list):
        for item in value:
            fill(item, schema.get("items") or {})


def check(
    obj: Manifest, old: Manifest | None, schema: Schema, scale: Manifest | None = None
) -> list[FieldError]:
    """What the schema refuses in an object that is to replace *old* (None for a new one).

    Rules see nothing but objects that are otherwise right.

    Args:
        obj: The object.
        old: What it replaces.
        schema: Of its version.
        scale: The ``scale`` subresource of the definition, whose paths must lead to numbers.
    """
    root = {k: v for k, v in obj.items() if k not in {"apiVersion", "kind", "metadata"}}
    trimmed = {
        **schema,
        "properties": {
            k: v
            for k, v in (schema.get("properties") or {}).items()
            if k not in {"apiVersion", "kind", "metadata"}
        },
    }
    errors = list(_check(root, trimmed, ""))
    order = sorted(errors, key=lambda error: error.type == "FieldValueNotSupported")
    order += _scale(obj, scale or {})
    if not has_rules(schema):
        return order
    if any(error.type in _BLOCKING for error in errors):
        return [*order, FieldError("FieldValueInvalid", "<nil>", OMITTED, None)]
    return order + rule_errors(obj, old, schema)


def _scale(obj: Manifest, scale: Manifest) -> Iterator[FieldError]:
    """What ``scale`` could not read: replicas that are no number, or none that an int32 holds."""
    for key in ("specReplicasPath", "statusReplicasPath"):
        path = scale.get(key)
        if not path:
            continue
        value: Any = obj
        steps = path.removeprefix(".").split(".")
        for done, step in enumerate(steps):
            if not isinstance(value, dict):
                where = "." + ".".join(steps[:done])
                yield bad(path, 0, _accessor(where, value, "map[string]interface{}"))
                break
            value = value.get(step)
            if value is None:
                break
        else:
            if not isinstance(value, int) or isinstance(value, bool):
                yield bad(path, 0, _accessor(path, value, "int64"))
            elif value < 0:
                yield bad(path, value, "should be a non-negative integer")
            elif value > _INT32:
                yield bad(path, value, f"should be less than or equal to {_INT32}")


def _accessor(path: str, value: Any, wanted: str) -> str:
    kind = next(name for types, name in _GO if isinstance(value, types))
    shown = str(value).lower() if isinstance(value, bool) else value
    return f"{path} accessor error: {shown} is of the type {kind}, expected {wanted}"


def _check(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    shown = path or "<nil>"
    if value is None:
        if not schema.get("nullable") and schema.get("type"):
            text = f'{path} in body must be of type {schema["type"]}: "null"'
            yield FieldError("FieldValueTypeInvalid", shown, text, "null")
        return
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        kind = "integer" if isinstance(value, int) and not isinstance(value, bool) else "string"
    if kind and not _is(value, kind):
        name = _type_name(value)
        text = f'{path} in body must be of type {kind}: "{name}"'
        yield FieldError("FieldValueTypeInvalid", shown, text, name)
        return
    yield from _scalar(value, schema, path)
    if isinstance(value, dict):
        yield from _object(value, schema, path)
    elif isinstance(value, list):
        yield from _array(value, schema, path)


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _JSON.get(kind, (object,)))


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    for name in ("string", "integer", "number", "object", "array"):
        if isinstance(value, _JSON[name]):
            return name
    return "null"


def _scalar(value: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    if "enum" in schema and value not in schema["enum"]:
        yield unsupported(
            path, value, [str(v) if isinstance(v, str) else json.dumps(v) for v in schema["enum"]]
        )
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(value, schema, path)
    if not isinstance(value, str):
        return
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        limit = schema["maxLength"]
        yield FieldError("FieldValueTooLong", path, f"may not be more than {limit} bytes")
    if len(value) < schema.get("minLength", 0):
        text = f"{path} in body should be at least {schema['minLength']} chars long"
        yield bad(path, value, text)
    pattern = schema.get("pattern")
    if pattern and compiled(pattern).search(encodable(value)) is None:
        yield bad(path, value, f"{path} in body should match '{pattern}'")


def _number(value: float, schema: Schema, path: str) -> Iterator[FieldError]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and (value <= low if schema.get("exclusiveMinimum") else value < low):
        words = "greater than" if schema.get("exclusiveMinimum") else "greater than or equal to"
        yield bad(path, value, f"{path} in body should be {words} {low}")
    if high is not None and (value >= high if schema.get("exclusiveMaximum") else value > high):
        words = "less than" if schema.get("exclusiveMaximum") else "less than or equal to"
        yield bad(path, value, f"{path} in body should be {words} {high}")
    if (step := schema.get("multipleOf")) and value % step:
        yield bad(path, value, f"{path} in body should be a multiple of {step}")


def _object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[FieldError]:
    for name in schema.get("required") or ():
        if name not in value:
            yield required(f"{path}.{name}" if path else name)
    properties = schema.get("properties") or {}
    for key in sorted(value):
        place = f"{path}.{key}" if path else key
        if key in properties:
            yield from _check(value[key], properties[key], place)
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from _check(value[key], schema["additionalProperties"], place)
    if len(value) > schema.get("maxProperties", len(value)):
        limit = schema["maxProperties"]
        yield FieldError("FieldValueTooMany", path, f"must have at most {limit} items", len(value))


def _array(value: list[Any], schema: Schema, path: str) -> Iterator[FieldError]:
    if len(value) > schema.get("maxItems", len(value)):
        limit = schema["maxItems"]
        yield FieldError("FieldValueTooMany", path, f"must have at most {limit} items", len(value))
    if len(value) < schema.get("minItems", 0):
        yield bad(path, len(value), f"{path} in body should have at least {schema['minItems']} items")
    for index, item in enumerate(value):
        yield from _check(item, schema.get("items") or {}, f"{path}[{index}]")
