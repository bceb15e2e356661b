"""Node lifecycle: a pod cannot stay on a node that is not there."""

from __future__ import annotations

from meshverdict.cluster.store import Manifest

from .changes import Change, Delete, Key, View
from .meta import name_of, namespace_of, uid_of


def plan(view: View, node: Manifest, now: float) -> list[Change]:
    """A node that is there keeps its pods."""
    del view, node, now
    return []


def gone(view: View, key: Key, now: float) -> list[Change]:
    """The pods of a node that is gone, at once: no kubelet is left to confirm their end."""
    del now
    return [
        Delete("pods", namespace_of(pod), name_of(pod), uid_of(pod), grace=0) for pod in view.pods_on(key[1])
    ]
