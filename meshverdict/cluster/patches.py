"""JSON patch, JSON merge patch and strategic merge patch: an object and a patch in, a new object out.

Pure. How a list merges comes from the kind's `Node`; a custom resource has none and takes no strategic patches.
"""

from __future__ import annotations

import copy
from typing import Any, Final

from meshverdict.cluster.errors import ApiError, bad_request
from meshverdict.cluster.schema import Node

_OPERATIONS: Final = frozenset({"add", "remove", "replace", "move", "copy", "test"})
OPERATIONS_LIMIT: Final = 10_000
_DIRECTIVE: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_ORDER: Final = "$setElementOrder/"
_DELETE_FROM: Final = "$deleteFromPrimitiveList/"


def rejected() -> ApiError:
    """What a real server says of every JSON patch that cannot be carried out."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def json_patch(obj: Any, patch: Any) -> Any:
    """Apply RFC 6902.

    Raises:
        ApiError: 400 when the patch is no list of operations, 413 when it has too many, 422 when one fails.
    """
    if not isinstance(patch, list):
        found = "object" if isinstance(patch, dict) else type(patch).__name__
        text = f"json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
        raise bad_request(f"error decoding patch: {text}")
    if len(patch) > OPERATIONS_LIMIT:
        text = f"The allowed maximum operations in a JSON patch is {OPERATIONS_LIMIT}, got {len(patch)}"
        raise ApiError(413, "RequestEntityTooLarge", text)
    root: list[Any] = [copy.deepcopy(obj)]
    for operation in patch:
        if not isinstance(operation, dict) or operation.get("op") not in _OPERATIONS:
            raise rejected()
        try:
            _operate(root, operation)
        except (KeyError, IndexError, ValueError, TypeError):
            raise rejected() from None
    return root[0]


def _operate(root: list[Any], operation: dict[str, Any]) -> None:
    kind = operation["op"]
    path = _pointer(operation["path"])
    match kind:
        case "test":
            if _get(root, path) != operation.get("value"):
                raise rejected()
        case "remove":
            _remove(root, path)
        case "add":
            _add(root, path, copy.deepcopy(operation["value"]))
        case "replace":
            _get(root, path)
            _replace(root, path, copy.deepcopy(operation["value"]))
        case "copy":
            _add(root, path, copy.deepcopy(_get(root, _pointer(operation["from"]))))
        case _:
            source = _pointer(operation["from"])
            if path[: len(source)] == source and len(path) > len(source):
                raise rejected()
            value = _get(root, source)
            _remove(root, source)
            _add(root, path, value)


def _pointer(text: str) -> list[str]:
    if text == "":
        return []
    if not text.startswith("/"):
        raise ValueError(text)
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _step(value: Any, key: str) -> Any:
    if isinstance(value, list):
        return value[_index(key, len(value) - 1)]
    if isinstance(value, dict):
        return value[key]
    raise KeyError(key)


def _index(key: str, last: int) -> int:
    if not key.isdigit() or (len(key) > 1 and key[0] == "0") or int(key) > last:
        raise IndexError(key)
    return int(key)


def _get(root: list[Any], path: list[str]) -> Any:
    value = root[0]
    for key in path:
        value = _step(value, key)
    return value


def _add(root: list[Any], path: list[str], value: Any) -> None:
    if not path:
        root[0] = value
        return
    parent, key = _get(root, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if key == "-" else _index(key, len(parent)), value)
    elif isinstance(parent, dict):
        parent[key] = value
    else:
        raise KeyError(key)


def _replace(root: list[Any], path: list[str], value: Any) -> None:
    if not path:
        root[0] = value
        return
    parent, key = _get(root, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent[_index(key, len(parent) - 1)] = value
    else:
        parent[key] = value


def _remove(root: list[Any], path: list[str]) -> None:
    if not path:
        raise KeyError("")
    parent, key = _get(root, path[:-1]), path[-1]
    if isinstance(parent, list):
        del parent[_index(key, len(parent) - 1)]
    elif isinstance(parent, dict):
        del parent[key]
    else:
        raise KeyError(key)


def merge_patch(obj: Any, patch: Any) -> Any:
    """Apply RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    out = dict(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), value)
    return out


def strategic_patch(obj: Any, patch: Any, node: Node) -> Any:
    """Apply a strategic merge patch.

    Raises:
        ApiError: 400 for a directive that is not known or a list element without its key, 422 for a value that is
            neither object nor list where one is needed.
    """
    if not isinstance(patch, dict):
        return patch
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive is not None and directive != "merge":
        raise bad_request(f"Unknown patch type found: {directive}")
    out = dict(obj) if isinstance(obj, dict) else {}
    keep = patch.get(_RETAIN)
    if isinstance(keep, list):
        out = {k: v for k, v in out.items() if k in keep}
    for key, value in patch.items():
        _strategic_field(out, key, value, node, patch)
    return _reorder(out, patch, node)


def _strategic_field(out: dict[str, Any], key: str, value: Any, node: Node, patch: dict[str, Any]) -> None:
    if key.startswith("$"):
        if key.startswith(_DELETE_FROM):
            name = key.removeprefix(_DELETE_FROM)
            there = out.get(name) or []
            if not isinstance(value, list) or not isinstance(there, list):
                raise bad_request(f"{key} and what it deletes from must be lists")
            out[name] = [item for item in there if item not in value]
        return
    if value is None:
        out.pop(key, None)
        return
    child = node.child(key)
    if isinstance(value, list) and child is not None and child.merges:
        out[key] = _merge_list(out.get(key) or [], value, child, patch.get(_ORDER + key))
    elif isinstance(value, dict):
        if value.get(_DIRECTIVE) == "delete":
            out.pop(key, None)
        else:
            out[key] = strategic_patch(out.get(key), value, child or Node("any"))
    else:
        out[key] = value


def _merge_list(current: list[Any], patch: list[Any], node: Node, order: Any) -> list[Any]:
    key = node.merge_key
    if not key:
        return current + [item for item in patch if item not in current]
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [item for item in patch if not (isinstance(item, dict) and item.get(_DIRECTIVE) == "replace")]
    out = list(current)
    fresh: list[Any] = []
    for item in patch:
        if not isinstance(item, dict):
            raise ApiError(422, "Invalid", "cannot merge a list of objects with other values", {})
        if key not in item:
            raise ApiError(500, "", f"map: {_go_map(item)} does not contain declared merge key: {key}")
        place = next((i for i, c in enumerate(out) if isinstance(c, dict) and c.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            if place is not None:
                del out[place]
        elif place is None:
            fresh.append(strategic_patch({}, item, node.item or Node("any")))
        else:
            out[place] = strategic_patch(out[place], item, node.item or Node("any"))
    # Without an order given, Kubernetes puts what is new in front.
    return out + fresh if isinstance(order, list) else fresh + out


def _go_map(value: dict[str, Any]) -> str:
    return f"map[{' '.join(f'{k}:{v}' for k, v in sorted(value.items()))}]"


def _reorder(out: dict[str, Any], patch: dict[str, Any], node: Node) -> dict[str, Any]:
    for directive, order in patch.items():
        if not directive.startswith(_ORDER) or not isinstance(order, list):
            continue
        name = directive.removeprefix(_ORDER)
        child = node.child(name)
        items = out.get(name)
        if child is None or not isinstance(items, list):
            continue
        key = child.merge_key
        wanted = [_identity(item, key) for item in order]
        out[name] = _ordered(items, wanted, key)
    return out


def _identity(item: Any, key: str) -> Any:
    return item.get(key) if key and isinstance(item, dict) else item


def _ordered(items: list[Any], wanted: list[Any], key: str) -> list[Any]:
    """Elements named in *wanted* in that order; others keep their place relative to what came before them."""
    ranks: list[tuple[int, int]] = []
    last = -1
    for position, item in enumerate(items):
        identity = _identity(item, key)
        if identity in wanted:
            last = wanted.index(identity)
        ranks.append((last, position))
    # Listed elements come in their order; an unlisted one follows the element it stood behind.
    paired = sorted(zip(ranks, items, strict=True), key=lambda pair: pair[0])
    return [item for _, item in paired]
