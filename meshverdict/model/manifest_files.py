"""Kubernetes objects from files, for both halves: the lab starts from them, and experiments apply them to any cluster.

People write them by hand, so what is wrong is named with its file, the document and the field.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from meshverdict.model.errors import UsageError
from meshverdict.model.yaml_text import read_yaml

Manifest = dict[str, Any]
# Folders below manifests/ that are no part of the lab: treatments, which experiments apply, and applications that
# only some labs have.
LEFT_OUT: Final = frozenset({"policies", "pippo", "paperino", "paperino-shards", "canary"})
_ENDINGS: Final = (".yaml", ".yml", ".json")


def read_files(
    path: Path, *, what: str = "manifest", left_out: Collection[str] = (), versioned: bool = True
) -> list[Manifest]:
    """The objects of a YAML or JSON file, or of all such files of a folder, in order of their names.

    Every object has an ``apiVersion`` (if *versioned*), a ``kind`` and ``metadata`` with a ``name``; ``metadata.namespace``, ``labels``
    and ``annotations`` are of their types where they are there. A ``List`` is taken apart.

    Args:
        path: File or folder; a folder's subfolders are included.
        what: How messages begin.
        left_out: Names of subfolders that are not.
        versioned: Whether an object must say its ``apiVersion``; who sends one kind alone knows it.

    Raises:
        UsageError: There is no such file, it cannot be parsed, or it holds something that is no object.
    """
    if not path.exists():
        raise UsageError(f"{what} {path}: there is no such file or folder")
    files = _files_of(path, left_out) if path.is_dir() else [path]
    found = [manifest for file in files for manifest in _documents(file, what, versioned=versioned)]
    if not found:
        ending = (
            f"no object in it (files that end in {', '.join(_ENDINGS)})"
            if path.is_dir()
            else "no object in it"
        )
        raise UsageError(f"{what} {path}: {ending}")
    return found


def _files_of(folder: Path, left_out: Collection[str]) -> list[Path]:
    return [
        p
        for p in sorted(folder.rglob("*"))
        if p.suffix in _ENDINGS and not set(left_out) & set(p.relative_to(folder).parts)
    ]


def _documents(file: Path, what: str, *, versioned: bool) -> Iterator[Manifest]:
    try:
        text = file.read_text(encoding="utf-8")
        documents = [json.loads(text)] if file.suffix == ".json" else read_yaml(text)
    except OSError as error:
        raise UsageError(f"{what} {file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        kind = "JSON" if file.suffix == ".json" else "YAML"
        raise UsageError(f"{what} {file}: not {kind} ({' '.join(str(error).split())})") from error
    for number, document in enumerate(documents, 1):
        where = f"{what} {file}, document {number}" if len(documents) > 1 else f"{what} {file}"
        if document is not None:
            yield from _objects(document, where, versioned=versioned)


def _objects(document: object, where: str, *, versioned: bool) -> Iterator[Manifest]:
    """The object, or those of a ``List``."""
    if isinstance(document, dict) and document.get("kind") == "List":
        items = document.get("items") or []
        if not isinstance(items, list):
            raise UsageError(f"{where}: items of a List must be a list, not {_type(items)}")
        for number, item in enumerate(items):
            yield from _objects(item, f"{where}, items[{number}]", versioned=versioned)
        return
    yield _checked(document, where, versioned=versioned)


def _checked(document: object, where: str, *, versioned: bool) -> Manifest:
    if not isinstance(document, dict):
        raise UsageError(f"{where}: a Kubernetes object is a mapping, this is {_type(document)}")
    for field in ("apiVersion", "kind") if versioned else ("kind",):
        if not isinstance(document.get(field), str) or not document[field]:
            raise UsageError(f"{where}: {field} is missing")
    kind, metadata = document["kind"], document.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise UsageError(f"{where}: {kind}: metadata must be a mapping, not {_type(metadata)}")
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        raise UsageError(f"{where}: {kind} has no metadata.name")
    for field, wanted in (("namespace", str), ("labels", dict), ("annotations", dict)):
        value = metadata.get(field)
        if value is not None and not isinstance(value, wanted):
            must = "a text" if wanted is str else "a mapping"
            raise UsageError(f"{where}: {kind} {name}: metadata.{field} must be {must}, not {_type(value)}")
    spec = document.get("spec")
    if spec is not None and not isinstance(spec, dict):
        raise UsageError(f"{where}: {kind} {name}: spec must be a mapping, not {_type(spec)}")
    return document


def _type(value: object) -> str:
    return {"dict": "a mapping", "list": "a list", "str": "a text", "NoneType": "nothing"}.get(
        type(value).__name__, f"the {type(value).__name__} {value}"
    )
