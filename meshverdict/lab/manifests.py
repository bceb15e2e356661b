"""Read the manifests that a lab is started with; what is wrong is named with its file and line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from meshverdict.model.errors import UsageError

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
# Treatments, which experiments apply, and applications that only some labs have.
LEFT_OUT = frozenset({"policies", "pippo", "paperino", "canary"})
_ENDINGS = (".yaml", ".yml", ".json")
# kubectl sorts nothing; it retries nothing either. Namespaces first spares the folders an order.
_FIRST = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "ConfigMap", "Secret", "Service")


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """The manifest files of files and folders; a folder's own subfolders are included, in order of name.

    Folders called as in ``LEFT_OUT`` are taken only where they are named themselves.
    """
    for path in paths:
        if path.is_file():
            yield path
        elif path.is_dir():
            found = [
                p
                for p in sorted(path.rglob("*"))
                if p.suffix in _ENDINGS and LEFT_OUT.isdisjoint(p.relative_to(path).parts)
            ]
            if not found:
                raise UsageError(f"--manifests {path}: no .yaml, .yml or .json file in it")
            yield from found
        else:
            raise UsageError(f"--manifests {path}: no such file or folder")


def load(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """All objects, namespaces before what lies in them, otherwise in the order of the files.

    Raises:
        UsageError: A file is missing, is not YAML, or holds something that is no Kubernetes object.
    """
    objects = [obj for file in files(paths) for obj in _objects(file)]
    rank = {kind: i for i, kind in enumerate(_FIRST)}
    return sorted(objects, key=lambda o: rank.get(o["kind"], len(rank)))


def as_applied(obj: dict[str, Any]) -> dict[str, Any]:
    """The object with kubectl's note of what was applied, so that a later `kubectl apply` is a clean update."""
    metadata = dict(obj.get("metadata") or {})
    bare = {
        **metadata,
        "annotations": {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED},
    }
    note = (
        json.dumps({**obj, "metadata": bare}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        + "\n"
    )
    # Go's encoder writes these three as escapes; a note that differs would be a change to kubectl.
    for character in "<>&":
        note = note.replace(character, f"\\u{ord(character):04x}")
    metadata["annotations"] = {**bare["annotations"], LAST_APPLIED: note}
    return {**obj, "metadata": metadata}


def _objects(file: Path) -> Iterator[dict[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(file.read_text()))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        where = f"{file}, document {number}"
        if not isinstance(document, dict):
            raise UsageError(
                f"{where}: a Kubernetes object is a mapping, this is a {type(document).__name__}"
            )
        if document.get("kind") == "List":
            yield from document.get("items") or ()
            continue
        for field in ("apiVersion", "kind"):
            if not isinstance(document.get(field), str):
                raise UsageError(f"{where}: {field} is missing")
        if not isinstance((document.get("metadata") or {}).get("name"), str):
            raise UsageError(f"{where}: {document['kind']} has no metadata.name")
        yield document
