"""What an Istio resource's status says: whether the sidecars serve it. ``kubectl wait --for=condition=Reconciled`` reads it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from meshverdict.cluster.errors import ApiError
from meshverdict.mesh.bootstrap import DRAIN_SECONDS
from meshverdict.mesh.sidecar import Translation, useless_patches
from meshverdict.runtime.mesh_snapshot import ISTIO

if TYPE_CHECKING:
    from meshverdict.cluster.store import Manifest
    from meshverdict.mesh.values import Mesh, Resource
    from meshverdict.runtime.node_services import KubeletObjects

_MANAGER: Final = "meshverdict-mesh"
_MAX_TEXTS: Final = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a snapshot was received.

    Attributes:
        failures: What went wrong, one text a sidecar; empty when all serve it.
        sidecars: How many there are.
        translations: Their configurations.
    """

    failures: tuple[str, ...]
    sidecars: int = 0
    translations: tuple[Translation, ...] = ()


def conditions(resource: Resource, outcome: Outcome, old: Manifest, now: str) -> list[dict[str, Any]]:
    """The status conditions of a resource; times of what has not changed are kept."""
    if outcome.failures:
        texts = "; ".join(outcome.failures[:_MAX_TEXTS])
        found = [_condition("Reconciled", "False", "NotServed", texts)]
    else:
        text = (
            f"served by all {outcome.sidecars} sidecars; connections from before a change of"
            f" policy live {DRAIN_SECONDS} s longer"
        )
        found = [_condition("Reconciled", "True", "Served", text)]
    if resource.kind == "EnvoyFilter" and not outcome.failures:
        found.append(_patches(resource, outcome))
    before = {c["type"]: c for c in (old.get("status") or {}).get("conditions") or ()}
    for condition in found:
        known = before.get(condition["type"]) or {}
        same = known.get("status") == condition["status"]
        condition["observedGeneration"] = resource.generation
        condition["lastTransitionTime"] = known.get("lastTransitionTime", now) if same else now
    return found


def _patches(resource: Resource, outcome: Outcome) -> dict[str, Any]:
    useless = useless_patches(outcome.translations).get((resource.namespace, resource.name))
    if not useless:
        return _condition("PatchesApplied", "True", "Applied", "every patch takes hold in some sidecar")
    places = ", ".join(f"spec.configPatches[{number}]" for number in useless)
    return _condition("PatchesApplied", "False", "NoMatch", f"matches nothing in any sidecar: {places}")


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def write_statuses(objects: KubeletObjects, mesh: Mesh, outcome: Outcome) -> None:
    """Write the status of every Istio resource of a snapshot, where it has changed."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for resource in mesh.resources:
        stored = objects.get(ISTIO[resource.kind], resource.namespace, resource.name)
        if stored is None or stored["metadata"].get("deletionTimestamp"):
            continue
        status = {
            **(stored.get("status") or {}),
            "observedGeneration": resource.generation,
            "conditions": conditions(resource, outcome, stored, now),
        }
        if status != stored.get("status"):
            with contextlib.suppress(ApiError):  # it has gone in the meantime
                objects.update_status(ISTIO[resource.kind], {**stored, "status": status}, manager=_MANAGER)
