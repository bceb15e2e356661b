"""What a pod says of nodes: selectors, affinity, tolerations. The scheduler and DaemonSets ask."""

from __future__ import annotations

from collections.abc import Iterable

from meshverdict.cluster.store import Manifest

from .meta import expression_matches, labels_of, name_of


def node_matches(pod_spec: Manifest, node: Manifest) -> bool:
    """Whether nodeSelector and required node affinity allow the node."""
    labels = labels_of(node)
    wanted = pod_spec.get("nodeSelector") or {}
    if any(labels.get(k) != v for k, v in wanted.items()):
        return False
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(term_matches(t, node) for t in required.get("nodeSelectorTerms") or ())


def term_matches(term: Manifest, node: Manifest) -> bool:
    """One node selector term; an empty one matches nothing."""
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(expression_matches(e, labels_of(node)) for e in expressions) and all(
        expression_matches(f, {"metadata.name": name_of(node)}) for f in fields
    )


def preference(pod_spec: Manifest, node: Manifest) -> int:
    """The weights of the preferred node affinity terms that match."""
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return sum(int(p["weight"]) for p in preferred if term_matches(p["preference"], node))


def tolerated(taint: Manifest, tolerations: Iterable[Manifest]) -> bool:
    """Whether one of the tolerations covers the taint."""
    return any(covers(t, taint) for t in tolerations)


def covers(toleration: Manifest, taint: Manifest) -> bool:
    """Whether one toleration covers the taint; for how long is another question."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return not toleration.get("key") or toleration["key"] == taint["key"]
    same_value = toleration.get("value", "") == taint.get("value", "")
    return bool(toleration.get("key") == taint["key"] and same_value)


def untolerated(pod_spec: Manifest, node: Manifest, effects: Iterable[str]) -> list[Manifest]:
    """The node's taints with one of these effects that the pod does not tolerate."""
    tolerations = pod_spec.get("tolerations") or ()
    return [
        t
        for t in node["spec"].get("taints") or ()
        if t["effect"] in effects and not tolerated(t, tolerations)
    ]
