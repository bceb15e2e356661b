"""A read-only view of a handful of manifests, for plans called directly."""

from meshverdict.cluster.controllers.view import IndexedView
from meshverdict.cluster.store import Store

NOW = 1_800_000_000.0
THEN = "2027-01-15T08:00:00Z"  # NOW, as Kubernetes writes it


def view(**resources):
    """``view(pods=[...], nodes=[...])``; ``__`` in a name stands for a dot."""
    store = Store()
    indexed = IndexedView(store)
    store.subscribe(indexed.see)
    for resource, objects in resources.items():
        for obj in objects:
            meta = {"uid": f"uid-{obj['metadata']['name']}", "creationTimestamp": THEN, **obj["metadata"]}
            store.create(resource.replace("__", "."), {**obj, "metadata": meta})
    return indexed


def node(name, zone="zone-a", *, labels=None, taints=(), unschedulable=False, **allocatable):
    """A node; allocatable is 4 cpu, 8Gi and 110 pods where nothing else is said."""
    resources = {"cpu": "4", "memory": "8Gi", "pods": "110", **allocatable}
    return {
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "topology.kubernetes.io/zone": zone,
                **(labels or {}),
            },
        },
        "spec": {"taints": list(taints), "unschedulable": unschedulable},
        "status": {"allocatable": resources},
    }


def pod(
    name, *, on="", labels=None, phase="Pending", ready=False, owner=None, requests=None, meta=None, **spec
):
    """A pod, with a node, labels, a state and a controller as wanted."""
    conditions = [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": THEN}]
    refs = [{"kind": "ReplicaSet", "name": owner, "uid": f"uid-{owner}", "controller": True}] if owner else []
    container = {"name": "c", "resources": {"requests": requests or {}}}
    return {
        "metadata": {
            "name": name,
            "namespace": "x",
            "labels": labels or {"app": "web"},
            "ownerReferences": refs,
            **(meta or {}),
        },
        "spec": {"containers": [container], **({"nodeName": on} if on else {}), **spec},
        "status": {"phase": phase, "conditions": conditions if ready else []},
    }
