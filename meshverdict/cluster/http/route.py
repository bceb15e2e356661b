"""A URL's path as what it asks for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Route:
    """A path below ``/api/v1`` or ``/apis/GROUP/VERSION``.

    Attributes:
        namespace: ``""`` for cluster-scoped resources and for all namespaces.
        name: ``""`` for a collection.
        subresource: ``log``, ``status``...
        rest: What follows the subresource, for proxies: ``/stats``.
    """

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def parse(raw_path: str) -> tuple[list[str], str]:
    """The segments of a raw path, each decoded on its own, so that ``%2f`` never splits one."""
    segments = raw_path.split("/")[1:]
    return [unquote(s) for s in segments], raw_path


def resource_route(segments: list[str], raw_path: str) -> Route | None:
    """The route of a resource; None when the path is not of that form."""
    if segments[0] == "api" and len(segments) > 2:
        group, version, parts = "", segments[1], segments[2:]
        used = 2
    elif segments[0] == "apis" and len(segments) > 3:
        group, version, parts = segments[1], segments[2], segments[3:]
        used = 3
    else:
        return None
    if parts and parts[-1] == "" and len(parts) <= 4 and "proxy" not in parts:
        parts = parts[:-1]
    if not parts or not parts[0]:
        return None
    namespace = ""
    # namespaces/NAME/status and /finalize are the namespace's own subresources, and no resources in it.
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in {"status", "finalize"}:
        namespace, parts = parts[1], parts[2:]
        used += 2
    name = parts[1] if len(parts) > 1 else ""
    subresource = parts[2] if len(parts) > 2 else ""
    rest = ""
    if len(parts) > 3:
        rest = "/" + "/".join(raw_path.split("/")[1 + used + 3 :])
    return Route(group, version, parts[0], namespace, name, subresource, rest)
