"""Small facts about any object: owners, conditions, times, hashes, selectors, counts in percent."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from meshverdict.cluster.store import Manifest

from .changes import Change, Update, View

# Letters that spell no words, as in Kubernetes' generated names.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def stamp(now: float) -> str:
    """*now* (Unix seconds) as Kubernetes writes it."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str | None) -> float:
    """A Kubernetes time as Unix seconds; 0 for none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def name_of(obj: Manifest) -> str:
    """metadata.name."""
    return str(obj["metadata"]["name"])


def namespace_of(obj: Manifest) -> str:
    """metadata.namespace, ``""`` for cluster-scoped objects."""
    return obj["metadata"].get("namespace") or ""


def uid_of(obj: Manifest) -> str:
    """metadata.uid."""
    return str(obj["metadata"]["uid"])


def labels_of(obj: Manifest) -> dict[str, str]:
    """metadata.labels, empty where there are none."""
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Manifest) -> dict[str, str]:
    """metadata.annotations, empty where there are none."""
    return obj["metadata"].get("annotations") or {}


def deleting(obj: Manifest) -> bool:
    """Whether the object has a deletion timestamp."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def with_meta(obj: Manifest, **fields: Any) -> Manifest:
    """A copy with other metadata fields; None takes a field away."""
    meta = {**obj["metadata"], **fields}
    return {**obj, "metadata": {k: v for k, v in meta.items() if v is not None}}


def with_annotations(obj: Manifest, annotations: Mapping[str, str]) -> Manifest:
    """A copy with these annotations added."""
    return with_meta(obj, annotations={**annotations_of(obj), **annotations})


def with_status(obj: Manifest, status: Manifest) -> Manifest:
    """A copy with another status."""
    return {**obj, "status": status}


def counters(**values: int) -> dict[str, int]:
    """Status counters as Kubernetes writes them: zero is left out."""
    return {name: value for name, value in values.items() if value}


def controller_of(obj: Manifest) -> Manifest | None:
    """The owner reference that says ``controller: true``."""
    for ref in obj["metadata"].get("ownerReferences") or ():
        if ref.get("controller"):
            return dict(ref)
    return None


def owner_reference(owner: Manifest) -> Manifest:
    """The reference that makes *owner* the controller of an object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template_hash(value: Any) -> str:
    """A short name for a JSON value, the same for equal values: 32 bits, spelled as real controllers spell theirs."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    number = str(int.from_bytes(digest[:4], "big"))
    return "".join(_SAFE[ord(figure) % len(_SAFE)] for figure in number)


def matches(selector: Manifest | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects *labels*. None selects nothing, ``{}`` everything."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(k) == v for k, v in wanted.items()) and all(
        expression_matches(e, labels) for e in selector.get("matchExpressions") or ()
    )


def expression_matches(expression: Manifest, labels: Mapping[str, str]) -> bool:
    """One matchExpressions entry, of a label selector or a node selector."""
    value = labels.get(expression["key"])
    values = expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            return _compares(value, values[0], greater=operator == "Gt")
        case other:
            raise ValueError(f"operator {other!r}: use In, NotIn, Exists, DoesNotExist, Gt or Lt")


def _compares(value: str | None, bound: str, *, greater: bool) -> bool:
    try:
        left, right = int(value or ""), int(bound)
    except ValueError:
        return False
    return left > right if greater else left < right


def scaled(value: int | str | None, total: int, *, up: bool) -> int:
    """An IntOrString count: ``25%`` of *total*, rounded *up* or down."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        return int(value)
    exact = total * int(value[:-1]) / 100
    return math.ceil(exact) if up else math.floor(exact)


def condition(obj_or_status: Manifest, kind: str) -> Manifest | None:
    """The condition of this type, of an object or of a status."""
    status = obj_or_status.get("status", obj_or_status)
    for entry in status.get("conditions") or ():
        if entry["type"] == kind:
            return dict(entry)
    return None


def is_true(obj_or_status: Manifest, kind: str) -> bool:
    """Whether the condition of this type is there and True."""
    found = condition(obj_or_status, kind)
    return found is not None and found["status"] == "True"


def namespace_terminating(view: View, namespace: str) -> bool:
    """Whether nothing may be created in the namespace any more."""
    found = view.get("namespaces", "", namespace)
    return found is not None and deleting(found)


def claim(
    view: View, resource: str, owner: Manifest, selector: Manifest | None
) -> tuple[list[Manifest], list[Change]]:
    """The objects that *owner* controls, sorted by name, and the changes that adopt and release.

    Objects with matching labels and no controller are adopted; owned ones that no longer match
    are released. An owner that is being deleted does neither.
    """
    owned = view.owned(resource, uid_of(owner))
    mine = [o for o in owned if matches(selector, labels_of(o))]
    changes: list[Change] = []
    if not deleting(owner):
        changes += [_release(resource, o, owner) for o in owned if not matches(selector, labels_of(o))]
        for orphan in view.orphans(resource, namespace_of(owner)):
            if matches(selector, labels_of(orphan)) and not deleting(orphan):
                refs = [*(orphan["metadata"].get("ownerReferences") or ()), owner_reference(owner)]
                adopted = with_meta(orphan, ownerReferences=refs)
                mine.append(adopted)
                changes.append(Update(resource, adopted))
    return sorted(mine, key=name_of), changes


def _release(resource: str, obj: Manifest, owner: Manifest) -> Update:
    refs = [r for r in obj["metadata"].get("ownerReferences") or () if r["uid"] != uid_of(owner)]
    return Update(resource, with_meta(obj, ownerReferences=refs or None))


def replicas_of(obj: Manifest) -> int:
    """spec.replicas, 1 where nothing is said."""
    value = obj["spec"].get("replicas")
    return 1 if value is None else int(value)


def history_limit(obj: Manifest) -> int:
    """spec.revisionHistoryLimit."""
    value = obj["spec"].get("revisionHistoryLimit")
    return 10 if value is None else int(value)
