"""Namespaces: what every one contains, and how one ends.

The end is pods first, then everything else, so that nothing that runs outlives its policies; the
finalizer ``kubernetes`` goes when nothing is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from meshverdict.cluster.store import Manifest

from .changes import Change, Create, Delete, Requeue, Update, UpdateStatus, View
from .meta import deleting, name_of, namespace_of, seconds, stamp, uid_of, with_status

RESOURCE = "namespaces"
FINALIZER = "kubernetes"
# A real controller waits 5 s before it empties a namespace. `kubectl delete -f FOLDER` relies on the wait: what the
# folder names after its namespace is still there when its turn comes.
GRACE_S = 2.0
ROOT_CA = "kube-root-ca.crt"
_EXPLANATION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints "
    "such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
    "distributions of Kubernetes clusters."
)
_FINE = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": (
        "ContentHasNoFinalizers",
        "All content-preserving finalizers finished",
    ),
}


def planner(root_ca: str) -> Callable[[View, Manifest, float], list[Change]]:
    """The plan for namespaces of a cluster with this certificate (PEM)."""

    def plan(view: View, namespace: Manifest, now: float) -> list[Change]:
        if deleting(namespace):
            return _terminate(view, namespace, now)
        return _furnish(view, name_of(namespace), root_ca)

    return plan


def _furnish(view: View, name: str, root_ca: str) -> list[Change]:
    changes: list[Change] = []
    if view.get("serviceaccounts", name, "default") is None:
        meta = {"name": "default", "namespace": name}
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
        changes.append(Create("serviceaccounts", account))
    current = view.get("configmaps", name, ROOT_CA)
    wanted = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": ROOT_CA,
            "namespace": name,
            "annotations": {"kubernetes.io/description": _EXPLANATION},
        },
        "data": {"ca.crt": root_ca},
    }
    if current is None:
        changes.append(Create("configmaps", wanted))
    elif current.get("data") != wanted["data"]:
        changes.append(Update("configmaps", {**current, "data": wanted["data"]}))
    return changes


def _terminate(view: View, namespace: Manifest, now: float) -> list[Change]:
    wait = seconds(namespace["metadata"]["deletionTimestamp"]) + GRACE_S - now
    if wait > 0:
        return [Requeue(wait)]
    contents = view.contents(name_of(namespace))
    first = {"pods": contents["pods"]} if "pods" in contents else contents
    changes: list[Change] = [
        Delete(resource, namespace_of(obj), name_of(obj), uid_of(obj))
        for resource, objects in first.items()
        for obj in objects
        if not deleting(obj)
    ]
    if changes:  # what cannot go at once is reported by the next plan
        return changes
    status = _status(namespace, contents, now)
    if status != namespace.get("status"):
        changes.append(UpdateStatus(RESOURCE, with_status(namespace, status)))
    spec = namespace.get("spec") or {}
    finalizers = spec.get("finalizers") or []
    if not contents and FINALIZER in finalizers:
        left = [f for f in finalizers if f != FINALIZER]
        changes.append(Update(RESOURCE, {**namespace, "spec": {**spec, "finalizers": left}}))
    return changes


def _status(namespace: Manifest, contents: dict[str, list[Manifest]], now: float) -> Manifest:
    before = namespace.get("status") or {}
    texts = {kind: ("False", *text) for kind, text in _FINE.items()}
    if contents:
        remaining = ", ".join(f"{_dotted(r)} has {len(o)} resource instances" for r, o in contents.items())
        texts["NamespaceContentRemaining"] = (
            "True",
            "SomeResourcesRemain",
            f"Some resources are remaining: {remaining}",
        )
    finalizers = Counter(
        f for objects in contents.values() for o in objects for f in o["metadata"].get("finalizers") or ()
    )
    if finalizers:
        listed = ", ".join(f"{f} in {n} resource instances" for f, n in sorted(finalizers.items()))
        texts["NamespaceFinalizersRemaining"] = (
            "True",
            "SomeFinalizersRemain",
            f"Some content in the namespace has finalizers remaining: {listed}",
        )
    old = {c["type"]: c for c in before.get("conditions") or ()}
    conditions = [_condition(old.get(kind), kind, text, now) for kind, text in texts.items()]
    others = [c for kind, c in old.items() if kind not in texts]
    return {**before, "phase": "Terminating", "conditions": [*others, *conditions]}


def _condition(old: Manifest | None, kind: str, text: tuple[str, str, str], now: float) -> Manifest:
    status, reason, message = text
    same = old is not None and old["status"] == status
    return {
        "type": kind,
        "status": status,
        "lastTransitionTime": old["lastTransitionTime"] if old and same else stamp(now),
        "reason": reason,
        "message": message,
    }


def _dotted(resource: str) -> str:
    """``configmaps.`` and ``deployments.apps``, as Kubernetes' message has them."""
    return resource if "." in resource else f"{resource}."
