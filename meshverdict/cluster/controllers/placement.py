"""Where pods are, for the scheduler: nodes with what is left of them, and counts by topology domain.

Counts are kept between the pods of one plan, so that placing 256 pods costs 256 steps, not 256 x 256.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from meshverdict.cluster.store import Manifest

from . import pods as pod_facts
from .changes import View
from .demand import requests, thousandths
from .meta import controller_of, labels_of, matches, name_of, namespace_of

Ports = set[tuple[str, str, int]]  # protocol, address, port


@dataclass(slots=True)
class Place:
    """One node and what the pods on it use. ``free`` is in thousandths."""

    node: Manifest
    pods: list[Manifest] = field(default_factory=list)
    free: Counter[str] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)
    ports: Ports = field(default_factory=set)

    @property
    def name(self) -> str:
        """The node's name."""
        return name_of(self.node)

    def domain(self, key: str) -> str | None:
        """The node's value of a topology label."""
        return labels_of(self.node).get(key)

    def add(self, pod: Manifest) -> None:
        """Count a pod in."""
        self.pods.append(pod)
        self.free.subtract(requests(pod))
        self.ports |= host_ports(pod)


@dataclass(frozen=True, slots=True)
class PodFilter:
    """Pods of some namespaces with matching labels; *text* tells filters apart."""

    text: str
    accepts: Callable[[Manifest], bool]


class Placement:
    """All nodes, and where the pods are that a filter accepts."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.places = [_place(view, node) for node in view.list("nodes")]
        self._counts: dict[tuple[str, str], tuple[PodFilter, Counter[str]]] = {}
        self.guarded = [(pod, p) for p in self.places for pod in p.pods if anti_affinity(pod)]

    def put(self, pod: Manifest, place: Place) -> None:
        """Take note that *pod* goes to *place*."""
        place.add(pod)
        if anti_affinity(pod):
            self.guarded.append((pod, place))
        for (_, key), (wanted, counts) in self._counts.items():
            domain = place.domain(key)
            if domain is not None and wanted.accepts(pod):
                counts[domain] += 1

    def counts(self, wanted: PodFilter, key: str) -> Counter[str]:
        """How many pods each domain of the topology label *key* has."""
        known = self._counts.get((wanted.text, key))
        if known is None:
            counts: Counter[str] = Counter()
            for place in self.places:
                domain = place.domain(key)
                if domain is not None:
                    counts[domain] += sum(map(wanted.accepts, place.pods))
            known = self._counts[wanted.text, key] = (wanted, counts)
        return known[1]

    def siblings(self, pod: Manifest) -> PodFilter | None:
        """The pods with the same controller."""
        owner = controller_of(pod)
        if owner is None:
            return None
        uid = owner["uid"]
        return PodFilter(f"controller {uid}", lambda p: (controller_of(p) or {}).get("uid") == uid)

    def same_namespace(self, pod: Manifest, constraint: Manifest) -> PodFilter:
        """The pods that a topology spread constraint of *pod* counts."""
        selector = dict(constraint.get("labelSelector") or {})
        mine = labels_of(pod)
        extra = {k: mine[k] for k in constraint.get("matchLabelKeys") or () if k in mine}
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), **extra}
        chosen = selector if constraint.get("labelSelector") is not None else None
        return _selected({namespace_of(pod)}, chosen)

    def term(self, pod: Manifest, term: Manifest) -> PodFilter:
        """The pods that a term of pod (anti-)affinity of *pod* means."""
        namespaces = set(term.get("namespaces") or ())
        selector = term.get("namespaceSelector")
        if selector is not None:
            spaces = self._view.list("namespaces")
            namespaces |= {name_of(n) for n in spaces if matches(selector, labels_of(n))}
        elif not namespaces:
            namespaces = {namespace_of(pod)}
        return _selected(namespaces, term.get("labelSelector"))


def anti_affinity(pod: Manifest) -> list[Manifest]:
    """The required anti-affinity terms of a pod."""
    return terms(pod, "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution")


def terms(pod: Manifest, kind: str, when: str) -> list[Manifest]:
    """One list of ``spec.affinity``."""
    affinity = (pod["spec"].get("affinity") or {}).get(kind) or {}
    return list(affinity.get(when) or ())


def host_ports(pod: Manifest) -> Ports:
    """The ports of the node that a pod takes."""
    host = bool(pod["spec"].get("hostNetwork"))
    return {
        (p.get("protocol", "TCP"), p.get("hostIP") or "0.0.0.0", number)  # noqa: S104 - a key, not a listener
        for c in pod["spec"].get("containers") or ()
        for p in c.get("ports") or ()
        if (number := p.get("hostPort") or (p["containerPort"] if host else 0))
    }


def _place(view: View, node: Manifest) -> Place:
    limits = thousandths((node.get("status") or {}).get("allocatable"))
    place = Place(node, free=Counter(limits), limits=limits)
    for pod in view.pods_on(name_of(node)):
        if not pod_facts.finished(pod):
            place.add(pod)
    return place


def _selected(namespaces: set[str], selector: Manifest | None) -> PodFilter:
    def accepts(pod: Manifest) -> bool:
        return namespace_of(pod) in namespaces and matches(selector, labels_of(pod))

    return PodFilter(json.dumps([sorted(namespaces), selector], sort_keys=True), accepts)
