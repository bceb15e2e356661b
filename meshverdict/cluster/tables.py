"""Table answers: what ``kubectl get`` prints, decided by the server as in Kubernetes. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from meshverdict.cluster.durations import age
from meshverdict.cluster.kinds import Kind
from meshverdict.cluster.printers import ROWS
from meshverdict.cluster.store import Manifest

Include = Literal["None", "Metadata", "Object"]
_NAME_TEXT: Final = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may "
    "allow a client to request the generation of an appropriate name automatically. Name is primarily intended "
    "for creation idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column; *wide* ones are printed with ``-o wide``."""

    name: str
    type: str = "string"
    wide: bool = False
    description: str = ""
    format: str = ""

    def definition(self) -> dict[str, Any]:
        """The entry of ``columnDefinitions``."""
        form = "name" if self.name == "Name" else self.format
        return {
            "name": self.name,
            "type": self.type,
            "format": form,
            "description": _NAME_TEXT if self.name == "Name" else self.description,
            "priority": 1 if self.wide else 0,
        }


def _columns(text: str) -> tuple[Column, ...]:
    """``Name, Desired:integer, IP+``: a plus means wide."""
    out = []
    for part in text.split(","):
        name, _, kind = part.strip().partition(":")
        out.append(Column(name.rstrip("+"), kind.rstrip("+") or "string", part.strip().endswith("+")))
    return tuple(out)


_TEMPLATE: Final = "Containers+, Images+, Selector+"
_COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "pods": _columns("Name, Ready, Status, Restarts, Age, IP+, Node+, Nominated Node+, Readiness Gates+"),
    "deployments.apps": _columns(f"Name, Ready, Up-to-date, Available, Age, {_TEMPLATE}"),
    "replicasets.apps": _columns(f"Name, Desired:integer, Current:integer, Ready:integer, Age, {_TEMPLATE}"),
    "daemonsets.apps": _columns(
        "Name, Desired:integer, Current:integer, Ready:integer, Up-to-date:integer, Available:integer, "
        f"Node Selector, Age, {_TEMPLATE}"
    ),
    "statefulsets.apps": _columns("Name, Ready, Age, Containers+, Images+"),
    "jobs.batch": _columns(f"Name, Status, Completions, Duration, Age, {_TEMPLATE}"),
    "cronjobs.batch": _columns(
        f"Name, Schedule, Timezone, Suspend:boolean, Active:integer, Last Schedule, Age, {_TEMPLATE}"
    ),
    "horizontalpodautoscalers.autoscaling": _columns(
        "Name, Reference, Targets, MinPods, MaxPods, Replicas, Age"
    ),
    "services": _columns("Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector+"),
    "namespaces": _columns("Name, Status, Age"),
    "nodes": _columns(
        "Name, Status, Roles, Age, Version, Internal-IP+, External-IP+, OS-Image+, Kernel-Version+, "
        "Container-Runtime+"
    ),
    "configmaps": _columns("Name, Data, Age"),
    "secrets": _columns("Name, Type, Data, Age"),
    "serviceaccounts": _columns("Name, Age"),
    "endpoints": _columns("Name, Endpoints, Age"),
    "events": _columns(
        "Last Seen, Type, Reason, Object, Subobject+, Source+, Message, First Seen+, Count+, Name+"
    ),
    "networkpolicies.networking.k8s.io": _columns("Name, Pod-Selector, Age"),
    "ingresses.networking.k8s.io": _columns("Name, Class, Hosts, Address, Ports, Age"),
    "ingressclasses.networking.k8s.io": _columns("Name, Controller, Parameters, Age"),
    "endpointslices.discovery.k8s.io": _columns("Name, AddressType, Ports, Endpoints, Age"),
    "poddisruptionbudgets.policy": _columns(
        "Name, Min Available, Max Unavailable, Allowed Disruptions:integer, Age"
    ),
    "leases.coordination.k8s.io": _columns("Name, Holder, Age"),
    "roles.rbac.authorization.k8s.io": _columns("Name, Created At:date"),
    "clusterroles.rbac.authorization.k8s.io": _columns("Name, Created At:date"),
    "rolebindings.rbac.authorization.k8s.io": _columns("Name, Role, Age, Users+, Groups+, ServiceAccounts+"),
    "clusterrolebindings.rbac.authorization.k8s.io": _columns(
        "Name, Role, Age, Users+, Groups+, ServiceAccounts+"
    ),
    "controllerrevisions.apps": _columns("Name, Controller, Revision, Age"),
    "customresourcedefinitions.apiextensions.k8s.io": _columns("Name, Created At:date"),
}


def table(
    kind: Kind,
    objects: Sequence[Manifest],
    meta: dict[str, Any],
    *,
    include: Include = "Metadata",
    now: float,
    version: str = "v1",
) -> dict[str, Any]:
    """Objects as a Table.

    Args:
        kind: Their kind.
        objects: The rows.
        meta: List metadata.
        include: What each row carries of its object.
        now: Unix seconds, for ages.
        version: Of meta.k8s.io.
    """
    columns, cells = _layout(kind, now)
    rows = []
    for obj in objects:
        row: dict[str, Any] = {"cells": cells(obj)}
        if conditions := _conditions(kind, obj):
            row["conditions"] = conditions
        if include == "Object":
            row["object"] = obj
        elif include == "Metadata":
            row["object"] = partial(obj, version)
        else:
            row["object"] = None
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": meta,
        "columnDefinitions": [column.definition() for column in columns],
        "rows": rows,
    }


def partial(obj: Manifest, version: str = "v1") -> Manifest:
    """PartialObjectMetadata of an object."""
    head = {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}"}
    return head | {"metadata": obj["metadata"]}


Cells = Callable[[Manifest], list[Any]]


def _layout(kind: Kind, now: float) -> tuple[Sequence[Column], Cells]:
    rows = ROWS.get(kind.resource)
    if rows is not None and kind.resource in _COLUMNS:
        return _COLUMNS[kind.resource], lambda obj: rows(obj, now)
    given = (kind.crd_version or {}).get("additionalPrinterColumns")
    if not given:
        return (Column("Name"), Column("Age", "date")), lambda obj: [
            obj["metadata"]["name"],
            _cell(obj, _AGE, now),
        ]
    columns = (Column("Name"), *(_custom_column(c) for c in given))
    return columns, lambda obj: [obj["metadata"]["name"], *(_cell(obj, c, now) for c in given)]


_AGE: Final = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _custom_column(given: Manifest) -> Column:
    wide = bool(given.get("priority"))
    return Column(given["name"], given["type"], wide, given.get("description", ""), given.get("format", ""))


def _cell(obj: Manifest, column: Manifest, now: float) -> Any:  # noqa: PLR0911 - one way out for each type
    value = json_path(obj, column["jsonPath"])
    kind = column.get("type")
    if value is None:
        return None
    if kind == "date":
        return age(value, now) if isinstance(value, str) else None
    if kind == "integer":
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if kind == "number":
        return value if isinstance(value, int | float) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, separators=(",", ":"))


_STEP: Final = re.compile(
    r"\.((?:[^.\[\]\\]|\\.)+)|\[(\d+|\*)\]|\['([^']+)'\]|\[\?\(@\.(\w+)==[\"']([^\"']*)[\"']\)\]"
)


def json_path(obj: Any, path: str) -> Any:
    """The first value at a simple JSONPath: fields, indices, ``[?(@.type=="Ready")]``; None for none."""
    value = obj
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            return None
        field, index, quoted, key, wanted = match.groups()
        name = quoted or (re.sub(r"\\(.)", r"\1", field) if field else None)
        if name is not None:
            value = value.get(name) if isinstance(value, dict) else None
        elif not isinstance(value, list):
            return None
        elif key is not None:
            value = next((v for v in value if isinstance(v, dict) and str(v.get(key)) == wanted), None)
        elif index == "*":
            value = value[0] if value else None
        else:
            value = value[int(index)] if int(index) < len(value) else None
        if value is None:
            return None
        position = match.end()
    return value


def _conditions(kind: Kind, obj: Manifest) -> list[dict[str, str]]:
    if kind.resource != "pods":
        return []
    texts = {
        "Succeeded": ("Succeeded", "The pod has completed successfully."),
        "Failed": ("Failed", "The pod failed."),
    }
    found = texts.get((obj.get("status") or {}).get("phase", ""))
    if found is None:
        return []
    return [{"type": "Completed", "status": "True", "reason": found[0], "message": found[1]}]
