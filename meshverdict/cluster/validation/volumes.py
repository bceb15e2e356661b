"""Rules of a pod's volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from meshverdict.cluster.errors import bad, duplicate, forbidden_field, required
from meshverdict.cluster.names import dns_label_problems
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation.meta import Errors

_MODE: Final = "must be a number between 0 and 0777 (octal), both inclusive"


def volumes_errors(volumes: Sequence[Manifest], path: str) -> Errors:
    """Rules of all volumes of a pod."""
    errors: Errors = []
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        place = f"{path}[{index}]"
        errors += _source_errors(volume, place)
        name = volume.get("name") or ""
        if not name:
            errors.append(required(f"{place}.name"))
        elif name in seen:
            errors.append(duplicate(f"{place}.name", name))
        else:
            errors += [bad(f"{place}.name", name, text) for text in dns_label_problems(name)]
        seen.add(name)
    return errors


def _source_errors(volume: Manifest, path: str) -> Errors:
    sources = [key for key in volume if key != "name"]
    if not sources:
        return [required(path, "must specify a volume type")]
    errors = [
        forbidden_field(f"{path}.{extra}", "may not specify more than 1 volume type") for extra in sources[1:]
    ]
    kind = sources[0]
    source = volume[kind] or {}
    place = f"{path}.{kind}"
    match kind:
        case "configMap":
            errors += _keyed(source, place, "name")
        case "secret":
            errors += _keyed(source, place, "secretName")
        case "downwardAPI":
            errors += _mode(source.get("defaultMode"), f"{place}.defaultMode")
            errors += _items(source.get("items") or [], f"{place}.items", with_key=False)
        case "hostPath":
            errors += _host_path(source, place)
        case "projected":
            errors += _projected(source, place)
        case _:
            pass
    return errors


def _keyed(source: Manifest, path: str, key: str) -> Errors:
    errors = [] if source.get(key) else [required(f"{path}.{key}")]
    errors += _mode(source.get("defaultMode"), f"{path}.defaultMode")
    return errors + _items(source.get("items") or [], f"{path}.items", with_key=True)


def _mode(mode: Any, path: str) -> Errors:
    return [bad(path, mode, _MODE)] if mode is not None and not 0 <= mode <= 0o777 else []


def _items(items: Sequence[Manifest], path: str, *, with_key: bool) -> Errors:
    errors: Errors = []
    for index, item in enumerate(items):
        place = f"{path}[{index}]"
        if with_key and not item.get("key"):
            errors.append(required(f"{place}.key"))
        target = item.get("path") or ""
        if not target:
            errors.append(required(f"{place}.path"))
        errors += local_path_errors(target, f"{place}.path")
        errors += _mode(item.get("mode"), f"{place}.mode")
    return errors


def local_path_errors(target: str, path: str) -> Errors:
    """A path inside a volume: relative, and never up."""
    errors: Errors = []
    if target.startswith("/"):
        errors.append(bad(path, target, "must be a relative path"))
    if ".." in target.split("/"):
        errors.append(bad(path, target, "must not contain '..'"))
    elif target.startswith(".."):
        errors.append(bad(path, target, "must not start with '..'"))
    return errors


def _host_path(source: Manifest, path: str) -> Errors:
    target = source.get("path") or ""
    if not target:
        return [required(f"{path}.path")]
    if ".." in target.split("/"):
        return [bad(f"{path}.path", target, "must not contain '..'")]
    return []


def _projected(source: Manifest, path: str) -> Errors:
    errors: Errors = []
    for index, projection in enumerate(source.get("sources") or []):
        place = f"{path}.sources[{index}]"
        kinds = [key for key in projection if projection[key] is not None]
        if not kinds:
            errors.append(required(place, "must specify a volume type"))
            continue
        inner = projection[kinds[0]]
        if kinds[0] in {"configMap", "secret"}:
            errors += _keyed(inner, f"{place}.{kinds[0]}", "name")
        elif kinds[0] == "downwardAPI":
            errors += _items(inner.get("items") or [], f"{place}.downwardAPI.items", with_key=False)
        elif kinds[0] == "serviceAccountToken":
            target = inner.get("path") or ""
            if not target:
                errors.append(required(f"{place}.serviceAccountToken.path"))
            errors += local_path_errors(target, f"{place}.serviceAccountToken.path")
            seconds = inner.get("expirationSeconds", 3600)
            if seconds < 600:
                text = "may not specify a duration less than 10 minutes"
                errors.append(bad(f"{place}.serviceAccountToken.expirationSeconds", seconds, text))
    return errors
