"""A whole zone dies: everything of the lab that runs in it, callers and caches alike, is cut off at once.

What clients of a real cluster see of it has two parts. First silence: what was sent there is not answered, and since
the control plane has not noticed yet, Services still lead there. Then the nodes are NotReady, and their pods leave
the Services. Here the silence is made by NetworkPolicies on the pods' zone label, and the notice by the embedded
lab's own node controller (:mod:`meshverdict.model.silence`).

A real cluster is refused. Its nodes are not the lab's and nobody but their kubelet says how they are: without that a
policy makes pods that are silent and stay Ready, and cordon with delete makes a polite removal; neither is a zone's death.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

from meshverdict.chaos.ledger import address
from meshverdict.chaos.manifests import Objects
from meshverdict.chaos.session import current
from meshverdict.chaos.zone_rtt import ZONE
from meshverdict.model.errors import LabError, UsageError
from meshverdict.model.silence import NOTICED_AT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.chaos.session import Session

POLICY: Final = "zone-cut-off"
# kube-controller-manager's --node-monitor-grace-period, by default since Kubernetes 1.32.
GRACE_S: Final = 50.0
_POLL_S: Final = 0.2
_NEEDED: Final = (("denied", "drop"), ("established", "cut"), ("network_policy", True))


def fail_zone(zone: str, namespaces: list[str], notice_s: float = GRACE_S) -> dict[str, Any]:
    """Cut everything of these namespaces off that runs in a zone, and let its nodes fall silent.

    Args:
        zone: Such as "zone-b".
        namespaces: Whose pods die; the load's own are left alone, since users live in no zone.
        notice_s: Seconds until the control plane finds the nodes NotReady: 50, as in Kubernetes.
    """
    session = current()
    _refuse_unfit(session, zone)
    nodes = _nodes_of(session, zone)
    policies = [policy(zone, ns) for ns in namespaces]
    outside = sorted(set(namespaces) - set(session.namespaces))
    if outside or not nodes:
        what = f"namespace {outside[0]!r} is not labelled as the lab's" if outside else "it has no node"
        raise UsageError(f"fail_zone: zone {zone!r}: {what}")
    _refuse_last_dns(session, zone, nodes)
    if session.ledger is not None:
        session.ledger.remember([(p, None) for p in policies])
        session.ledger.remember((address("v1", "Node", name), None) for name in nodes)
    objects = Objects(session.access, session.scratch)
    # Silent first: a kubelet that could still speak would take pods out of their Services too early.
    _label(session, nodes, str(math.ceil(time.time() + float(notice_s))))
    for manifest in policies:
        objects.apply(manifest)
    return {"zone": zone, "nodes": nodes, "notice_s": float(notice_s)}


def restore_zone(zone: str, namespaces: list[str], timeout: float = 60.0) -> list[str]:
    """Join a zone to the others again, and wait until its nodes and pods are Ready; nothing to do where it is well.

    Args:
        zone: As in `fail_zone`.
        namespaces: The same.
        timeout: Seconds.
    """
    session = current()
    if session.lab is None:
        return []  # a real cluster's nodes are never touched: `fail_zone` was refused there
    objects, nodes = Objects(session.access, session.scratch), _nodes_of(session, zone)
    for ns in namespaces:
        objects.delete(policy(zone, ns))
    _label(session, nodes, None)
    deadline = time.monotonic() + timeout
    while waiting := _not_ready(session, zone, nodes, namespaces):
        if time.monotonic() > deadline:
            raise LabError(f"zone {zone!r}: after {timeout:g} s not Ready again: {', '.join(waiting)}")
        time.sleep(_POLL_S)
    return nodes


def policy(zone: str, namespace: str) -> dict[str, Any]:
    """Nothing reaches a namespace's pods of this zone, and nothing leaves them."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": POLICY, "namespace": namespace},
        "spec": {"podSelector": {"matchLabels": {ZONE: zone}}, "policyTypes": ["Ingress", "Egress"]},
    }


def unfit(settings: Mapping[str, Any]) -> str | None:
    """Why a lab of these settings cannot lose a zone, in words; None when it can."""
    for key, value in _NEEDED:
        if settings.get(key) != value:
            return f"{key} is {settings.get(key)!r}: a dead zone answers nobody, so it needs {value!r}"
    return None


def _refuse_unfit(session: Session, zone: str) -> None:
    if session.lab is None:
        raise UsageError(
            f"fail_zone: zone {zone!r} of a real cluster is not touched: its nodes are not the lab's. Use the provider's"
            " own zone outage (AWS FIS, stopping the instances), or az-affinity-failover, which kills a zone's caches"
        )
    if why := unfit(session.lab.settings):
        raise UsageError(f"fail_zone: zone {zone!r}: the lab's setting {why}; start it with other options")


def _refuse_last_dns(session: Session, zone: str, nodes: Sequence[str]) -> None:
    """Real clusters have a DNS pod in each zone; the lab has one, and without it nothing is measured."""
    core = session.access.core
    found = session.access.json(core.list_namespaced_pod, "kube-system", label_selector="k8s-app=kube-dns")
    if all(pod["spec"].get("nodeName") in nodes for pod in found["items"]):
        raise UsageError(f"fail_zone: zone {zone!r} has the lab's only DNS in it: let another zone die")


def _nodes_of(session: Session, zone: str) -> list[str]:
    found = session.access.json(session.access.core.list_node, label_selector=f"{ZONE}={zone}")
    return sorted(node["metadata"]["name"] for node in found["items"])


def _label(session: Session, nodes: Sequence[str], value: str | None) -> None:
    for name in nodes:
        session.access.json(
            session.access.core.patch_node, name, {"metadata": {"labels": {NOTICED_AT: value}}}
        )


def _not_ready(session: Session, zone: str, nodes: Sequence[str], namespaces: Sequence[str]) -> list[str]:
    access = session.access
    found = [n for n in access.json(access.core.list_node)["items"] if n["metadata"]["name"] in nodes]
    for ns in namespaces:
        found += access.json(access.core.list_namespaced_pod, ns, label_selector=f"{ZONE}={zone}")["items"]
    return [one["metadata"]["name"] for one in found if not _is_ready(one)]


def _is_ready(one: Mapping[str, Any]) -> bool:
    conditions = (one.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
