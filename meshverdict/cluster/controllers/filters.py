"""Which nodes a pod can go to, and why not to the others, in Kubernetes' words."""

from __future__ import annotations

from dataclasses import dataclass

from meshverdict.cluster.store import Manifest

from .demand import requests
from .meta import labels_of, matches
from .node_fit import node_matches, tolerated, untolerated
from .placement import Place, Placement, anti_affinity, host_ports, terms

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_SPREAD = "node(s) didn't match pod topology spread constraints"


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a node is out; *final* if giving up other pods would not help."""

    reason: str
    final: bool = True


def misfits(pod: Manifest, place: Place, placement: Placement) -> list[Misfit]:
    """The reasons against a node, in the order in which Kubernetes looks; empty if the pod fits."""
    found = _node_misfit(pod, place.node)
    if found is not None:
        return [found]
    if host_ports(pod) & place.ports:
        return [Misfit("node(s) didn't have free ports for the requested pod ports", final=False)]
    short = _short(pod, place)
    if short:
        return short
    other = _spread_misfit(pod, place, placement) or _affinity_misfit(pod, place, placement)
    return [other] if other else []


def _node_misfit(pod: Manifest, node: Manifest) -> Misfit | None:
    spec = pod["spec"]
    if node["spec"].get("unschedulable") and not tolerated(_UNSCHEDULABLE, spec.get("tolerations") or ()):
        return Misfit("node(s) were unschedulable")
    taints = untolerated(spec, node, ("NoSchedule", "NoExecute"))
    if taints:
        taint = taints[0]
        return Misfit(f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}")
    if not node_matches(spec, node):
        return Misfit("node(s) didn't match Pod's node affinity/selector")
    return None


def _short(pod: Manifest, place: Place) -> list[Misfit]:
    """What the node has too little of; a node that states nothing about a resource has none of it."""
    return [
        Misfit(
            "Too many pods" if name == "pods" else f"Insufficient {name}", final=amount > place.limits[name]
        )
        for name, amount in sorted(requests(pod).items())
        if amount > place.free[name] and not (name == "pods" and "pods" not in place.limits)
    ]


def _spread_misfit(pod: Manifest, place: Place, placement: Placement) -> Misfit | None:
    for constraint in pod["spec"].get("topologySpreadConstraints") or ():
        if constraint["whenUnsatisfiable"] != "DoNotSchedule":
            continue
        key = constraint["topologyKey"]
        domain = place.domain(key)
        if domain is None:
            return Misfit(f"{_SPREAD} (missing required label)")
        wanted = placement.same_namespace(pod, constraint)
        counts = placement.counts(wanted, key)
        domains = {d for p in placement.places if _counted(pod, p, constraint) and (d := p.domain(key))}
        lowest = min((counts[d] for d in domains), default=0)
        if len(domains) < constraint.get("minDomains", 1):
            lowest = 0
        itself = 1 if wanted.accepts(pod) else 0
        if counts[domain] + itself - lowest > constraint["maxSkew"]:
            return Misfit(_SPREAD, final=False)
    return None


def _counted(pod: Manifest, place: Place, constraint: Manifest) -> bool:
    """Whether a node takes part in a spread constraint."""
    if constraint.get("nodeAffinityPolicy", "Honor") == "Honor" and not node_matches(pod["spec"], place.node):
        return False
    if constraint.get("nodeTaintsPolicy", "Ignore") == "Honor":
        return not untolerated(pod["spec"], place.node, ("NoSchedule", "NoExecute"))
    return True


def _affinity_misfit(pod: Manifest, place: Place, placement: Placement) -> Misfit | None:
    for term in terms(pod, "podAffinity", _REQUIRED):
        if not _near(pod, term, place, placement):
            return Misfit("node(s) didn't match pod affinity rules")
    for term in anti_affinity(pod):
        domain = place.domain(term["topologyKey"])
        if domain is not None and placement.counts(placement.term(pod, term), term["topologyKey"])[domain]:
            return Misfit("node(s) didn't match pod anti-affinity rules", final=False)
    for other, where in placement.guarded:
        for term in anti_affinity(other):
            domain = where.domain(term["topologyKey"])
            same = domain is not None and place.domain(term["topologyKey"]) == domain
            if same and placement.term(other, term).accepts(pod):
                return Misfit("node(s) didn't satisfy existing pods anti-affinity rules", final=False)
    return None


def _near(pod: Manifest, term: Manifest, place: Place, placement: Placement) -> bool:
    """Pod affinity; the first pod of a group that likes itself may go anywhere."""
    key = term["topologyKey"]
    domain = place.domain(key)
    if domain is None:
        return False
    wanted = placement.term(pod, term)
    counts = placement.counts(wanted, key)
    if counts[domain]:
        return True
    likes_itself = matches(term.get("labelSelector"), labels_of(pod)) and wanted.accepts(pod)
    return likes_itself and not any(counts.values())
