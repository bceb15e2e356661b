"""One context of somebody's kubeconfigs, alone in a file of its own: no mistake can then lead to another cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from meshverdict.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILES: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def kubeconfig_of_context(
    name: str, folder: Path, sources: str, *, named_by: str = "MESHVERDICT_CONTEXT="
) -> Path:
    """Write a kubeconfig with the context *name* alone.

    Args:
        name: The context.
        folder: A private folder for the file.
        sources: Paths as in KUBECONFIG.
        named_by: What the person typed before the name.

    Raises:
        UsageError: No kubeconfig has such a context, or the one that has it is broken.
    """
    found = _find_context(sources, name)
    if found is None:
        known = ", ".join(
            str(c.get("name")) for path in _paths(sources) for c in _list(_load(path), "contexts")
        )
        raise UsageError(f"{named_by}{name}: no such context in {sources} (known: {known or 'none'})")
    path, value, context = found
    inner = _inside(context, "context", path)
    cluster = _entry(value, "clusters", inner.get("cluster"), path)
    user = _entry(value, "users", inner.get("user"), path)
    for entry in (_inside(cluster, "cluster", path), _inside(user, "user", path)):
        for key in _FILES:
            if entry.get(key):
                entry[key] = str((path.parent / entry[key]).absolute())
    single = {"apiVersion": "v1", "kind": "Config", "current-context": name}
    return write_private(
        folder / "kubeconfig", single | {"clusters": [cluster], "users": [user], "contexts": [context]}
    )


def _paths(sources: str) -> list[Path]:
    return [Path(p).expanduser() for p in sources.split(os.pathsep) if p]


def _load(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"kubeconfig {path}: cannot be read ({error})") from error
    return value if isinstance(value, dict) else {}


def _list(value: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """The named entries of a kubeconfig; what is none is left out."""
    found = value.get(kind)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _inside(entry: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = entry.get(key)
    if not isinstance(value, dict):
        raise UsageError(
            f"kubeconfig {path}: {key} {entry.get('name')!r} has no mapping `{key}`; correct it, as"
            " `kubectl config view` shows it"
        )
    return value


def _find_context(sources: str, name: str) -> tuple[Path, dict[str, Any], dict[str, Any]] | None:
    for path in _paths(sources):
        value = _load(path)
        for context in _list(value, "contexts"):
            if context.get("name") == name:
                return path, value, context
    return None


def _entry(value: dict[str, Any], kind: str, name: str | None, path: Path) -> dict[str, Any]:
    for entry in _list(value, kind):
        if entry.get("name") == name:
            return entry
    raise UsageError(f"kubeconfig {path}: its {kind} have no {name!r}, which the context names")


def write_private(path: Path, value: Mapping[str, Any]) -> Path:
    """Write a kubeconfig that only we may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(dict(value), file)
    return path
