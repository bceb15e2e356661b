"""The shape of an Istio resource as one tree, from which both the refusals and the CRDs are made.

A field of Istio's that the lab does not enforce is in the tree too, as `Refused`: so it is refused by name and with its
reason on every way in, where a schema that left it out would let lenient clients lose it silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Scalar:
    """``string``, ``integer``, ``number`` or ``boolean``."""

    type: str


@dataclass(frozen=True)
class Span:
    """A duration of at least one millisecond; *zero* allows ``0s`` for none."""

    zero: bool = False


@dataclass(frozen=True)
class Choice:
    """One of some words, in the order in which Istio's CRD lists them."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Items:
    """A list."""

    of: Shape


@dataclass(frozen=True)
class Map:
    """An object with free keys."""

    of: Shape


@dataclass(frozen=True)
class Object:
    """An object with known fields."""

    fields: Mapping[str, Shape] = field(default_factory=dict)
    required: tuple[str, ...] = ()


@dataclass(frozen=True)
class Free:
    """Any JSON: Envoy's own configuration in an EnvoyFilter."""


@dataclass(frozen=True)
class Refused:
    """A field that Istio has and the lab does not enforce.

    Args:
        reason: Why not, and the way out.
    """

    reason: str


Shape = Scalar | Span | Choice | Items | Map | Object | Free | Refused

TEXT = Scalar("string")
WHOLE = Scalar("integer")
NUMBER = Scalar("number")
FLAG = Scalar("boolean")


@dataclass(frozen=True)
class Finding:
    """Something wrong at a path: ``refused``, ``unknown``, ``enum``, ``duration`` or ``required``; the value found."""

    kind: str
    path: str
    shape: Shape
    value: Any


def findings(value: Any, shape: Shape, path: str) -> Iterator[Finding]:
    """What a value has that its shape does not allow, except plain type errors, which the CRD's schema answers."""
    if isinstance(shape, Refused):
        yield Finding("refused", path, shape, value)
    elif isinstance(shape, Object) and isinstance(value, Mapping):
        yield from _of_object(value, shape, path)
    elif isinstance(shape, Map) and isinstance(value, Mapping):
        for key, item in value.items():
            yield from findings(item, shape.of, f"{path}[{key}]")
    elif isinstance(shape, Items) and isinstance(value, list):
        for number, item in enumerate(value):
            yield from findings(item, shape.of, f"{path}[{number}]")
    elif isinstance(shape, Choice) and isinstance(value, str) and value not in shape.words:
        yield Finding("enum", path, shape, value)
    elif isinstance(shape, Span):
        yield Finding("duration", path, shape, value)


def _of_object(value: Mapping[str, Any], shape: Object, path: str) -> Iterator[Finding]:
    for key in shape.required:
        if key not in value:
            yield Finding("required", f"{path}.{key}", shape, None)
    for key, item in value.items():
        child = shape.fields.get(key)
        if child is None:
            yield Finding("unknown", f"{path}.{key}", shape, item)
        else:
            yield from findings(item, child, f"{path}.{key}")


def openapi(shape: Shape) -> dict[str, Any]:
    """The shape as an OpenAPI schema of a CRD."""
    if isinstance(shape, Object):
        found: dict[str, Any] = {"type": "object"}
        if shape.required:
            found["required"] = list(shape.required)
        if shape.fields:
            found["properties"] = {key: openapi(child) for key, child in shape.fields.items()}
        return found
    if isinstance(shape, Map):
        return {"type": "object", "additionalProperties": openapi(shape.of)}
    if isinstance(shape, Items):
        return {"type": "array", "items": openapi(shape.of)}
    return _openapi_of_value(shape)


def _openapi_of_value(shape: Shape) -> dict[str, Any]:
    if isinstance(shape, Choice):
        return {"type": "string", "enum": list(shape.words)}
    if isinstance(shape, Scalar):
        return {"type": shape.type}
    if isinstance(shape, Span):
        rule = "duration(self) >= duration('1ms')"
        rule = f"{rule} || duration(self) == duration('0s')" if shape.zero else rule
        message = "must be a valid duration greater than 1ms"
        return {"type": "string", "x-kubernetes-validations": [{"message": message, "rule": rule}]}
    found: dict[str, Any] = {"x-kubernetes-preserve-unknown-fields": True}
    if isinstance(shape, Refused):
        found["description"] = f"Not enforced, and refused: {shape.reason}"
    return found
