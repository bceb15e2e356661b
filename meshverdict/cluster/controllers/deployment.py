"""Deployment: one ReplicaSet for each template it ever had, and the walk from one to the next.

    template -> new ReplicaSet -> scaling (rollout) -> status (deployment_status)

Each plan takes one step; the change that it makes wakes it again for the next one.
"""

from __future__ import annotations

from meshverdict.cluster.store import Manifest

from . import deployment_status, rollout
from .changes import Change, Create, Delete, Emit, Update, UpdateStatus, View
from .meta import (
    annotations_of,
    claim,
    deleting,
    history_limit,
    name_of,
    namespace_of,
    namespace_terminating,
    owner_reference,
    replicas_of,
    seconds,
    template_hash,
    with_annotations,
    with_status,
)

RESOURCE = "deployments.apps"
REPLICASETS = "replicasets.apps"
HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    rollout.DESIRED,
    rollout.MAXIMUM,
    "deprecated.deployment.rollback.to",
}


def plan(view: View, deployment: Manifest, now: float) -> list[Change]:
    """The next step of a rollout, and the status."""
    sets, changes = claim(view, REPLICASETS, deployment, deployment["spec"]["selector"])
    sets.sort(key=lambda rs: (seconds(rs["metadata"].get("creationTimestamp")), name_of(rs)))
    new = _find_new(deployment, sets)
    stored = deployment.get("status")
    if deleting(deployment):
        return changes + deployment_status.plan(deployment, sets, new, now, stored=stored, track=False)
    paused = bool(deployment["spec"].get("paused"))
    noted = deployment_status.note_pause(deployment, now)
    if new is None and not paused and not namespace_terminating(view, namespace_of(deployment)):
        if _must_wait(view, deployment, sets):
            changes += rollout.scale_down_all(deployment, sets)
            return changes + deployment_status.plan(noted, sets, None, now, stored=stored)
        return changes + _create_new(view, noted, sets, now)
    old = [rs for rs in sets if rs is not new]
    noted, kept = _keep_revision(noted, new, old, now)
    changes += kept
    if not kept:  # else the next plan sees the new revision first
        changes += _step(deployment, new, old)
    changes += deployment_status.plan(noted, sets, new, now, stored=stored, track=not paused)
    if not paused and deployment_status.complete(deployment, deployment.get("status") or {}):
        changes += _forget_old(deployment, old)
    return changes


def _step(deployment: Manifest, new: Manifest | None, old: list[Manifest]) -> list[Change]:
    """Scaling: proportionally after a change of spec.replicas or while paused, else by the strategy."""
    sets = [*old, new] if new else old
    if deployment["spec"].get("paused") or rollout.was_scaled(deployment, sets):
        return rollout.proportional(deployment, new, old)
    if new is None:
        return []
    if _recreates(deployment):
        return rollout.scale_down_all(deployment, old) or rollout.scale_up_new(deployment, new, old)
    return rollout.rolling(deployment, new, old)


def _recreates(deployment: Manifest) -> bool:
    return bool((deployment["spec"].get("strategy") or {}).get("type") == "Recreate")


def _must_wait(view: View, deployment: Manifest, sets: list[Manifest]) -> bool:
    """Recreate: the old pods have to be gone, the terminating ones too, before a new one starts."""
    return _recreates(deployment) and rollout.any_running(view, sets)


def _bare(template: Manifest) -> Manifest:
    """A template without the label that the controller added."""
    meta = template.get("metadata") or {}
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH_LABEL}
    return {**template, "metadata": {**meta, "labels": labels}}


def _find_new(deployment: Manifest, sets: list[Manifest]) -> Manifest | None:
    """The oldest ReplicaSet with the Deployment's template."""
    wanted = _bare(deployment["spec"]["template"])
    return next((rs for rs in sets if _bare(rs["spec"]["template"]) == wanted), None)


def _create_new(view: View, deployment: Manifest, sets: list[Manifest], now: float) -> list[Change]:
    status = deployment.get("status") or {}
    collisions = int(status.get("collisionCount", 0))
    template = _bare(deployment["spec"]["template"])
    digest = template_hash([template, collisions] if collisions else template)
    name = f"{name_of(deployment)}-{digest}"
    if view.get(REPLICASETS, namespace_of(deployment), name) is not None:
        counted = {**status, "collisionCount": collisions + 1}
        return [UpdateStatus(RESOURCE, with_status(deployment, counted))]
    revision = str(max([_revision(rs) for rs in sets], default=0) + 1)
    replicas = rollout.new_replicas(deployment, 0, sets)
    rs = _replicaset(deployment, name, digest, replicas, revision)
    changes: list[Change] = [Create(REPLICASETS, rs)]
    if replicas:
        text = f"Scaled up replica set {name} from 0 to {replicas}"
        changes.append(Emit(deployment, "Normal", "ScalingReplicaSet", text))
    changes += deployment_status.created(deployment, name, now)
    if annotations_of(deployment).get(REVISION) != revision:
        changes.append(Update(RESOURCE, with_annotations(deployment, {REVISION: revision})))
    return changes


def _replicaset(deployment: Manifest, name: str, digest: str, replicas: int, revision: str) -> Manifest:
    spec = deployment["spec"]
    template = spec["template"]
    meta = template.get("metadata") or {}
    labels = {**(meta.get("labels") or {}), HASH_LABEL: digest}
    selector = spec["selector"]
    wanted = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    optional = {k: spec[k] for k in ("minReadySeconds",) if spec.get(k)}
    copied = {k: v for k, v in annotations_of(deployment).items() if k not in _NOT_COPIED}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": namespace_of(deployment),
            "labels": labels,
            "annotations": {**copied, **rollout.scale_annotations(deployment), REVISION: revision},
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {
            "replicas": replicas,
            **optional,
            "selector": {**selector, "matchLabels": wanted},
            "template": {**template, "metadata": {**meta, "labels": labels}},
        },
    }


def _keep_revision(
    deployment: Manifest, new: Manifest | None, old: list[Manifest], now: float
) -> tuple[Manifest, list[Change]]:
    """Give a ReplicaSet that is in use again (undo) the highest revision; copy annotations to it."""
    if new is None:
        return deployment, []
    current = _revision(new)
    highest = max([_revision(rs) for rs in old], default=0) + 1
    wanted = {k: v for k, v in annotations_of(deployment).items() if k not in _NOT_COPIED}
    if current < highest:
        history = annotations_of(new).get(HISTORY, "")
        wanted[REVISION] = str(highest)
        wanted[HISTORY] = ",".join(filter(None, [history, str(current) if current else ""]))
    changes: list[Change] = []
    revised = with_annotations(new, {k: v for k, v in wanted.items() if v})
    min_ready = deployment["spec"].get("minReadySeconds", 0)
    if new["spec"].get("minReadySeconds", 0) != min_ready:
        revised = {**revised, "spec": {**revised["spec"], "minReadySeconds": min_ready}}
    if revised != new:
        changes.append(Update(REPLICASETS, revised))
    revision = annotations_of(revised)[REVISION]
    if annotations_of(deployment).get(REVISION) != revision:
        changes.append(Update(RESOURCE, with_annotations(deployment, {REVISION: revision})))
    found = deployment_status.found(deployment, name_of(new), now)
    return found, changes


def _revision(rs: Manifest) -> int:
    try:
        return int(annotations_of(rs).get(REVISION, "0"))
    except ValueError:
        return 0


def _forget_old(deployment: Manifest, old: list[Manifest]) -> list[Change]:
    """Delete the oldest empty ReplicaSets beyond spec.revisionHistoryLimit."""
    empty = [rs for rs in old if not deleting(rs)]
    surplus = sorted(empty, key=_revision)[: max(len(empty) - history_limit(deployment), 0)]
    return [
        Delete(REPLICASETS, namespace_of(rs), name_of(rs), rs["metadata"]["uid"])
        for rs in surplus
        if replicas_of(rs) == 0 and not (rs.get("status") or {}).get("replicas")
    ]
