"""A node that is cut off from its cluster, as both halves know it: by a label.

The embedded lab's nodes share one machine, so that none of them can fall silent by itself. The label says that one
has, and from when on the control plane knows. It is a label because what a killed run leaves is put back by labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# Its value: the unix second, whole, at which the control plane notices that the node's kubelet says nothing.
NOTICED_AT: Final = "meshverdict.io/silent-noticed-at"
# What the node controller writes into the conditions of such a node, as in Kubernetes.
STATUS_UNKNOWN: Final = "NodeStatusUnknown"


def noticed_at(node: Mapping[str, Any]) -> float | None:
    """When the node's silence is noticed, unix seconds; None for a node that is not cut off.

    A value that is no number means at once.

    >>> noticed_at({"metadata": {"labels": {NOTICED_AT: "1790000000"}}})
    1790000000.0
    >>> noticed_at({"metadata": {"name": "node-a"}})
    """
    value = (node["metadata"].get("labels") or {}).get(NOTICED_AT)
    if value is None:
        return None
    return float(value) if str(value).isascii() and str(value).isdigit() else 0.0
