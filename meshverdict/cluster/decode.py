"""A JSON value to a manifest of its kind, as Kubernetes' decoder reads it.

Unknown fields go, and are named; nulls and empty lists and maps go; the first value of a wrong type refuses
the whole with the message that Go's decoder gives. What a value means is checked later (`validation`).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Any, Final

from meshverdict.cluster.bodies import Number, Obj
from meshverdict.cluster.schema import Node, go_type

_QUANTITY: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?")
_QUANTITY_TEXT: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_BITS: Final = {"int32": 32, "int64": 64}
# Fields whose Go type is a string with a name of its own.
_NAMED: Final = {
    "protocol": "Protocol",
    "restartPolicy": "RestartPolicy",
    "dnsPolicy": "DNSPolicy",
    "imagePullPolicy": "PullPolicy",
    "terminationMessagePolicy": "TerminationMessagePolicy",
    "sessionAffinity": "ServiceAffinity",
    "addressType": "AddressType",
    "pathType": "PathType",
    "ServiceSpec.type": "ServiceType",
    "Secret.type": "SecretType",
    "DeploymentStrategy.type": "DeploymentStrategyType",
    "NetworkPolicySpec.policyTypes": "PolicyType",
    "Taint.effect": "TaintEffect",
    "Toleration.effect": "TaintEffect",
    "Toleration.operator": "TolerationOperator",
    "LabelSelectorRequirement.operator": "LabelSelectorOperator",
}
# Empty lists that Go does write, because clients require the field.
_KEEP_EMPTY: Final = frozenset({"containers", "endpoints", "rules"})


class DecodeError(Exception):
    """A value has the wrong type; the message is Go's."""


@dataclass(slots=True)
class Decoded:
    """A manifest and what was left out of it.

    Attributes:
        value: The manifest, with known fields only.
        problems: ``unknown field "spec.x"`` and ``duplicate field "spec.y"``, in the order of the text.
    """

    value: Any
    problems: list[str] = field(default_factory=list)


def decode(value: Any, node: Node) -> Decoded:
    """Decode a whole manifest.

    Raises:
        DecodeError: A value of the wrong type.
    """
    decoder = _Decoder()
    if not isinstance(value, dict):
        raise DecodeError(f"json: cannot unmarshal {_json_type(value)} into Go value of type {go_type(node)}")
    return Decoded(decoder.object(value, node, ""), decoder.problems)


class _Decoder:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self._names: list[str] = []
        self._struct = ""

    def object(self, value: dict[str, Any], node: Node, path: str) -> dict[str, Any]:
        duplicates = set(value.duplicates) if isinstance(value, Obj) else ()
        out: dict[str, Any] = {}
        fields = node.fields
        for key, item in value.items():
            child = fields.get(key)
            place = f"{path}.{key}" if path else key
            if child is None:
                if not node.preserve:
                    self.problems.append(f'unknown field "{place}"')
                    continue
                out[key] = item
                continue
            if key in duplicates:
                self.problems.append(f'duplicate field "{place}"')
            if item is None:
                continue
            self._names.append(key)
            before, self._struct = self._struct, node.go
            decoded = self.value(item, child, place)
            self._struct = before
            self._names.pop()
            if decoded in ({}, []) and child.type in {"array", "map"} and key not in _KEEP_EMPTY:
                continue
            out[key] = decoded
        return out

    def value(self, value: Any, node: Node, path: str) -> Any:  # noqa: PLR0911 - one way out for each type
        kind = node.type
        if kind == "string":
            if type(value) is str:
                return value
        elif kind == "object":
            if isinstance(value, dict):
                return self.object(value, node, path)
        elif kind == "array":
            if isinstance(value, list):
                return self._list(value, node, path)
        elif kind == "map":
            if isinstance(value, dict):
                return self._map(value, node, path)
        elif kind == "any":
            return value
        elif kind == "boolean":
            if isinstance(value, bool):
                return value
        else:
            return self._scalar(value, node)
        raise self._mismatch(value, node)

    def _list(self, value: list[Any], node: Node, path: str) -> list[Any]:
        item = node.item
        if item is None:
            return value
        return [
            self.value(v, item, f"{path}[{i}]") if v is not None else _zero(item) for i, v in enumerate(value)
        ]

    def _map(self, value: dict[str, Any], node: Node, path: str) -> dict[str, Any]:
        item = node.item
        if isinstance(value, Obj):
            self.problems += [f'duplicate field "{path}.{key}"' for key in value.duplicates]
        if item is None:
            return dict(value)
        return {
            k: self.value(v, item, f"{path}.{k}") if v is not None else _zero(item) for k, v in value.items()
        }

    def _scalar(self, value: Any, node: Node) -> Any:
        match node.type:
            case "int32" | "int64":
                if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
                    raise self._mismatch(value, node, number=True)
                if type(value) is int:
                    limit = 1 << (_BITS[node.type] - 1)
                    if -limit <= value < limit:
                        return value
                    raise self._mismatch(value, node, number=True)
                raise self._mismatch(value, node, number=isinstance(value, float))
            case "number":
                if isinstance(value, int | float) and not isinstance(value, bool):
                    return value
            case "quantity":
                return _quantity(value)
            case "intstr":
                return self._int_or_string(value)
            case "bytes":
                return self._bytes(value, node)
            case "time" | "microtime":
                if isinstance(value, str):
                    return _time(value)
        raise self._mismatch(value, node)

    def _int_or_string(self, value: Any) -> Any:
        if type(value) is int and -(2**31) <= value < 2**31:
            return value
        if isinstance(value, str):
            return value
        number = isinstance(value, int | float) and not isinstance(value, bool)
        raise self._mismatch(value, Node("int32", go="int32"), number=number)

    def _bytes(self, value: Any, node: Node) -> str:
        if not isinstance(value, str):
            raise self._mismatch(value, node)
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            position = next(
                (i for i, c in enumerate(value) if not (c.isascii() and (c.isalnum() or c in "+/"))),
                len(value) - len(value) % 4,
            )
            raise DecodeError(f"illegal base64 data at input byte {position}") from None
        return value

    def _mismatch(self, value: Any, node: Node, *, number: bool = False) -> DecodeError:
        found = f"number {_number(value)}" if number else _json_type(value)
        key = self._names[-1] if self._names else ""
        named = _NAMED.get(f"{self._struct}.{key}") or _NAMED.get(key)
        target = f"v1.{named}" if named and node.type == "string" else go_type(node)
        place = f"{self._struct}.{'.'.join(self._names)}"
        return DecodeError(f"json: cannot unmarshal {found} into Go struct field {place} of type {target}")


def _zero(node: Node) -> Any:
    zeros: dict[str, Any] = {
        "string": "",
        "bytes": "",
        "object": {},
        "map": {},
        "array": [],
        "boolean": False,
    }
    return zeros.get(node.type, 0 if node.type in {"int32", "int64", "number", "intstr"} else None)


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    names: dict[type, str] = {str: "string", list: "array", type(None): "null"}
    return names.get(type(value), "object")


def _number(value: float) -> str:
    if isinstance(value, Number):
        return value.text
    return f"{value:g}" if isinstance(value, float) and not value.is_integer() else repr(value)


def _quantity(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and _QUANTITY.fullmatch(value):
        return value
    raise DecodeError(_QUANTITY_TEXT)


def _time(value: str) -> str:
    layout = "2006-01-02T15:04:05Z07:00"
    if _RFC3339.fullmatch(value):
        try:
            dt.datetime.fromisoformat(value)
        except ValueError:
            raise DecodeError(f'parsing time "{value}": day out of range') from None
        return value
    raise DecodeError(f'parsing time "{value}" as "{layout}": cannot parse "{value}" as "2006"')
