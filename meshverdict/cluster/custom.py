"""Custom resources: what a CustomResourceDefinition adds to the API, and what its schema says of objects."""

from __future__ import annotations

import copy
from typing import Any, Final

from meshverdict.cluster.crd_schema import check, fill, node_of
from meshverdict.cluster.errors import FieldError
from meshverdict.cluster.kinds import Kind, Kinds, Subresource
from meshverdict.cluster.schema import Node
from meshverdict.cluster.store import Manifest

_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


class CustomResources:
    """The custom kinds of one cluster.

    Args:
        kinds: The table they are added to.
    """

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._nodes: dict[str, Node] = {}

    def refresh(self, definitions: list[Manifest]) -> None:
        """Serve exactly what *definitions* establish."""
        custom = [kind for crd in definitions for kind in self.kinds_of(crd)]
        self._nodes = {kind.api_version + kind.plural: node_of(_schema(kind)) for kind in custom}
        self._kinds.replace_custom(custom)

    def kinds_of(self, crd: Manifest) -> list[Kind]:
        """The kinds that one definition serves, its storage version first."""
        spec = crd["spec"]
        names = spec["names"]
        versions = sorted(spec.get("versions") or [], key=lambda v: not v.get("storage"))
        return [
            Kind(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                namespaced=spec.get("scope") == "Namespaced",
                singular=names.get("singular") or names["kind"].lower(),
                short=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                verbs=_VERBS,
                subresources=_subresources(version, names["kind"]),
                list_kind=names.get("listKind") or f"{names['kind']}List",
                crd_version=version,
            )
            for version in versions
            if version.get("served")
        ]

    def node(self, kind: Kind) -> Node:
        """The schema of a custom kind."""
        return self._nodes[kind.api_version + kind.plural]

    def defaulted(self, kind: Kind, obj: Manifest) -> Manifest:
        """*obj* with the schema's defaults, as a new object."""
        filled = copy.deepcopy(obj)
        fill(filled, _schema(kind))
        return filled

    def errors(self, kind: Kind, obj: Manifest, old: Manifest | None = None) -> list[FieldError]:
        """What the schema refuses in an object that is to replace *old* (None for a new one)."""
        scale = ((kind.crd_version or {}).get("subresources") or {}).get("scale")
        return check(obj, old, _schema(kind), scale)

    def settled(self, crd: Manifest, now: str) -> Manifest:
        """A definition with the status of one that is established."""
        spec = crd["spec"]
        status = dict(crd.get("status") or {})
        status["acceptedNames"] = spec["names"]
        stored = [v["name"] for v in spec.get("versions") or [] if v.get("storage")]
        status["storedVersions"] = sorted({*(status.get("storedVersions") or ()), *stored})
        if not status.get("conditions"):  # null in a new one
            status["conditions"] = [
                _condition("NamesAccepted", "NoConflicts", "no conflicts found", now),
                _condition("Established", "InitialNamesAccepted", _ACCEPTED, now),
            ]
        return {**crd, "status": status}


_ACCEPTED: Final = "the initial names have been accepted"


def _condition(kind: str, reason: str, message: str, now: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message}


def _schema(kind: Kind) -> dict[str, Any]:
    version = kind.crd_version or {}
    schema: dict[str, Any] = (version.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
    return schema


def _subresources(version: dict[str, Any], kind: str) -> tuple[Subresource, ...]:
    given = version.get("subresources") or {}
    verbs = ("get", "patch", "update")
    out = []
    if given.get("status") is not None:
        out.append(Subresource("status", kind, verbs))
    if given.get("scale") is not None:
        out.append(Subresource("scale", "Scale", verbs, "autoscaling/v1"))
    return tuple(out)
