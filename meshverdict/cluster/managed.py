"""Who owns which field: managedFields after updates, and server-side apply with its conflicts.

Pure: objects in, objects out; the time is an argument.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

from meshverdict.cluster.errors import ApiError
from meshverdict.cluster.field_sets import Leaves, Path, element_key, leaves, paths_of, shown, tree
from meshverdict.cluster.schema import ANY, Node
from meshverdict.cluster.store import Manifest


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: the field manager, through which subresource, in which version, and when."""

    manager: str
    api_version: str
    time: str
    subresource: str = ""

    def entry(self, operation: str, paths: set[Path]) -> dict[str, Any]:
        """The entry of managedFields."""
        made = {
            "manager": self.manager,
            "operation": operation,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": tree(paths),
        }
        return made | ({"subresource": self.subresource} if self.subresource else {})

    def is_of(self, entry: dict[str, Any], operation: str) -> bool:
        """Whether an entry is this author's."""
        return (
            entry.get("manager") == self.manager
            and entry.get("operation") == operation
            and entry.get("subresource", "") == self.subresource
        )


def track(old: Manifest | None, new: Manifest, node: Node, author: Author) -> list[dict[str, Any]]:
    """ManagedFields after *author* changed *old* to *new* by create, update or patch."""
    after = leaves(new, node)
    before: Leaves = leaves(old, node) if old is not None else {}
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    entries: list[dict[str, Any]] = []
    mine = set(changed)
    previous: dict[str, Any] | None = None
    for entry in (old or {}).get("metadata", {}).get("managedFields") or []:
        owned = paths_of(entry.get("fieldsV1"))
        if author.is_of(entry, "Update"):
            previous = entry
            mine |= owned & after.keys()
            continue
        left = {path for path in owned - changed if path in after}
        if left == owned:
            entries.append(entry)
        elif left:
            entries.append({**entry, "fieldsV1": tree(left)})
    if mine:
        unchanged = previous is not None and paths_of(previous.get("fieldsV1")) == mine and not changed
        entries.append(previous if unchanged and previous else author.entry("Update", mine))
    return entries


def apply(live: Manifest, config: Manifest, node: Node, author: Author, *, force: bool) -> Manifest:
    """Server-side apply of *config* onto *live*.

    Returns:
        The merged object with its managedFields.

    Raises:
        ApiError: 409 when others own fields that would change, unless *force*.
    """
    wanted = leaves(config, node, applied=True)
    present = leaves(live, node)
    mine: set[Path] = set()
    others: list[tuple[dict[str, Any], set[Path]]] = []
    for entry in live["metadata"].get("managedFields") or []:
        if author.is_of(entry, "Apply"):
            mine = paths_of(entry.get("fieldsV1"))
        else:
            others.append((entry, paths_of(entry.get("fieldsV1"))))
    changing = {path for path, value in wanted.items() if path in present and present[path] != value}
    conflicts = [(entry, path) for entry, owned in others for path in sorted(owned & changing)]
    if conflicts and not force:
        raise _conflict(conflicts)
    merged = _merge(live, config, node)
    kept_by_others: set[Path] = set().union(*(owned for _, owned in others)) if others else set()
    for path in sorted(mine - wanted.keys(), key=len, reverse=True):
        needed = kept_by_others | wanted.keys()
        if not any(other[: len(path)] == path for other in needed):
            merged = _without(merged, path, node)
    entries = []
    for entry, owned in others:
        left = owned - changing
        if left == owned:
            entries.append(entry)
        elif left:
            entries.append({**entry, "fieldsV1": tree(left)})
    meta = {k: v for k, v in merged["metadata"].items() if k != "managedFields"}
    own = author.entry("Apply", set(wanted))
    before = next((e for e in live["metadata"].get("managedFields") or [] if author.is_of(e, "Apply")), None)
    if before is not None and paths_of(before.get("fieldsV1")) == set(wanted):
        own = before
    return {**merged, "metadata": {**meta, "managedFields": [own, *entries]}}


def _conflict(conflicts: list[tuple[dict[str, Any], Path]]) -> ApiError:
    causes = []
    lines: dict[str, list[str]] = {}
    for entry, path in conflicts:
        who = f'"{entry["manager"]}"'
        if entry.get("subresource"):
            who += f' with subresource "{entry["subresource"]}"'
        if entry.get("operation") == "Update":
            who += f" using {entry.get('apiVersion')}"
        causes.append({"reason": "FieldManagerConflict", "message": f"conflict with {who}"})
        causes[-1]["field"] = shown(path)
        lines.setdefault(who, []).append(shown(path))
    count = len(conflicts)
    if count == 1:
        who, fields = next(iter(lines.items()))
        text = f"Apply failed with 1 conflict: conflict with {who}: {fields[0]}"
    else:
        parts = [
            f"conflict with {who}: {fields[0]}"
            if len(fields) == 1
            else f"conflicts with {who}:\n- " + "\n- ".join(fields)
            for who, fields in lines.items()
        ]
        text = f"Apply failed with {count} conflicts: " + "\n".join(parts)
    return ApiError(409, "Conflict", text, {"causes": causes})


def _merge(live: Any, config: Any, node: Node) -> Any:
    if isinstance(config, dict) and isinstance(live, dict) and not node.atomic:
        out = dict(live)
        for key, value in config.items():
            child = node.child(key) or ANY
            out[key] = _merge(live[key], value, child) if key in live else copy.deepcopy(value)
        return out
    if isinstance(config, list) and isinstance(live, list) and node.list_type == "map":
        return _merge_elements(live, config, node)
    if isinstance(config, list) and isinstance(live, list) and node.list_type == "set":
        return live + [item for item in config if item not in live]
    return copy.deepcopy(config)


def _merge_elements(live: list[Any], config: list[Any], node: Node) -> list[Any]:
    keys = [element_key(item, node) for item in live]
    out = list(live)
    for item in config:
        key = element_key(item, node)
        if key in keys:
            place = keys.index(key)
            out[place] = _merge(out[place], item, node.item or ANY)
        else:
            out.append(copy.deepcopy(item))
    return out


def _without(value: Any, path: Path, node: Node) -> Any:  # noqa: PLR0911 - one way out for each kind of step
    """*value* without what is at *path*; unchanged when nothing is there."""
    step, rest = path[0], path[1:]
    kind, _, name = step.partition(":")
    if kind == "f" and isinstance(value, dict) and name in value:
        if not rest:
            return {k: v for k, v in value.items() if k != name}
        child = node.child(name) or ANY
        inner = _without(value[name], rest, child)
        if inner in ({}, []) and value[name] != inner and child.type in {"map", "array"}:
            return {k: v for k, v in value.items() if k != name}
        return {**value, name: inner}
    if kind == "k" and isinstance(value, list):
        if not rest:
            return [i for i in value if not (isinstance(i, dict) and element_key(i, node) == step)]
        return [
            _without(i, rest, node.item or ANY) if isinstance(i, dict) and element_key(i, node) == step else i
            for i in value
        ]
    if kind == "v" and isinstance(value, list):
        return [i for i in value if i != json.loads(name)]
    return value
