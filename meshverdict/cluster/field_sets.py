"""Which fields an object has, as sets of paths: the material of managedFields.

A path is a tuple of Kubernetes' own steps: ``f:name`` for a field, ``k:{...}`` for an element of a list with
keys, ``v:...`` for an element of a set. A member that has members below it is written as ``.`` in fieldsV1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final

from meshverdict.cluster.schema import ANY, Node

Path = tuple[str, ...]
Leaves = dict[Path, Any]
_PRESENT: Final = object()
_UNTRACKED: Final = frozenset({"apiVersion", "kind"})
_META: Final = ("labels", "annotations", "finalizers", "ownerReferences", "generateName")
# Structs that Go embeds by value: they are always there, so nobody owns their being there.
_EMBEDDED: Final = frozenset(
    {"metadata", "spec", "status", "template", "strategy", "updateStrategy", "resources", "roleRef", "names"}
)
_ALWAYS: Final = frozenset({"containers", "versions", "rules", "addresses"})
_KEY_DEFAULTS: Final = {"protocol": "TCP"}


@cache
def _field(name: str) -> str:
    return f"f:{name}"


def leaves(obj: dict[str, Any], node: Node, *, applied: bool = False) -> Leaves:
    """Every field of an object that someone can own, with its value.

    Args:
        obj: A manifest.
        node: Its kind.
        applied: Paths as an apply owns them: containers of fields only where they are entries or empty.
    """
    out: Leaves = {}
    for key, value in obj.items():
        if key in _UNTRACKED:
            continue
        child = node.child(key) or ANY
        if key == "metadata":
            allowed = {k: v for k, v in value.items() if k in _META}
            _fields(allowed, child, ("f:metadata",), out, applied=applied)
        else:
            _value(value, child, (_field(key),), out, name=key, applied=applied)
    return out


def _value(value: Any, node: Node, path: Path, out: Leaves, *, name: str, applied: bool) -> None:
    if isinstance(value, dict) and value and not node.atomic and node.type != "any":
        if not applied and name not in _EMBEDDED:
            out[path] = _PRESENT
        _fields(value, node, path, out, applied=applied)
    elif isinstance(value, dict) and value and node.type == "any" and node.preserve:
        _fields(value, node, path, out, applied=applied)
    elif isinstance(value, list) and value and node.list_type != "atomic":
        if not applied and name not in _ALWAYS:
            out[path] = _PRESENT
        _elements(value, node, path, out, applied=applied)
    else:
        out[path] = value


def _fields(value: dict[str, Any], node: Node, path: Path, out: Leaves, *, applied: bool) -> None:
    is_map = node.type == "map"
    for key, item in value.items():
        place = (*path, _field(key))
        child = node.child(key) or ANY
        _value(item, child, place, out, name="" if is_map else key, applied=applied)
        if applied and is_map and place not in out:
            out[place] = _PRESENT


def _elements(value: list[Any], node: Node, path: Path, out: Leaves, *, applied: bool) -> None:
    child = node.item or ANY
    for item in value:
        if node.list_type == "set":
            out[*path, f"v:{json.dumps(item)}"] = item
        elif isinstance(item, dict):
            place = (*path, element_key(item, node))
            out[place] = _PRESENT
            _fields(item, child, place, out, applied=applied)


def element_key(item: dict[str, Any], node: Node) -> str:
    """The step of a list element with keys."""
    keys = {}
    for key in node.list_keys:
        value = item.get(key, _KEY_DEFAULTS.get(key))
        if value is not None:
            keys[key] = value
    return "k:" + json.dumps(keys, sort_keys=True, separators=(",", ":"))


def tree(paths: Iterable[Path]) -> dict[str, Any]:
    """Paths as fieldsV1."""
    root: dict[str, Any] = {}
    members = set(paths)
    for path in sorted(members):
        place = root
        for step in path:
            place = place.setdefault(step, {})
    for path in members:
        place = root
        for step in path:
            place = place[step]
        if place:
            place["."] = {}
    return root


def paths_of(fields: dict[str, Any] | None) -> set[Path]:
    """fieldsV1 as paths."""
    return set(_walk(fields or {}, ()))


def _walk(fields: dict[str, Any], path: Path) -> Iterator[Path]:
    for step, below in fields.items():
        if step == ".":
            yield path
        elif not below:
            yield (*path, step)
        else:
            yield from _walk(below, (*path, step))


def shown(path: Path) -> str:
    """A path as people read it: ``.spec.containers[name="c"].image``."""
    out = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            out += f".{rest}"
        elif kind == "k":
            keys = json.loads(rest)
            out += f"[{','.join(f'{k}={json.dumps(v)}' for k, v in keys.items())}]"
        else:
            out += f"[={rest}]"
    return out
