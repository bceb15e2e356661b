"""Leases of nodes: how a kubelet says that it is alive.

The lab's kubelet runs in the process of the API, so the lease says no more than the node's condition; but tools that
watch nodes look here first, and a lease that nobody renews means a dead node to them.
"""

from __future__ import annotations

from datetime import UTC, datetime

from meshverdict.cluster.store import Manifest
from meshverdict.model.silence import noticed_at

from .changes import Change, Create, Requeue, Update, View
from .meta import deleting, is_true, name_of, seconds, uid_of

RESOURCE = "leases.coordination.k8s.io"
NAMESPACE = "kube-node-lease"
SECONDS = 40
RENEWAL = 10.0  # a quarter of the lease, as a kubelet does


def plan(view: View, node: Manifest, now: float) -> list[Change]:
    """Renew the lease of a node that is ready."""
    home = view.get("namespaces", None, NAMESPACE)
    if home is None or deleting(home) or deleting(node):
        return []
    if not is_true(node, "Ready") or noticed_at(node) is not None:
        return []  # a node that is cut off says nothing, before anybody notices too
    lease = view.get(RESOURCE, NAMESPACE, name_of(node))
    spec = {
        "holderIdentity": name_of(node),
        "leaseDurationSeconds": SECONDS,
        "renewTime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    if lease is None:
        owner = {"apiVersion": "v1", "kind": "Node", "name": name_of(node), "uid": uid_of(node)}
        meta = {"name": name_of(node), "namespace": NAMESPACE, "ownerReferences": [owner]}
        made = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
        return [Create(RESOURCE, made), Requeue(RENEWAL)]
    left = seconds((lease.get("spec") or {}).get("renewTime")) + RENEWAL - now
    if left > 0:
        return [Requeue(left)]
    return [Update(RESOURCE, {**lease, "spec": {**(lease.get("spec") or {}), **spec}}), Requeue(RENEWAL)]
