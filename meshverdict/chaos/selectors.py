"""Which pods a policy selects, by the labels alone.

Enough to see that a policy selects nobody, and for the table of endpoints that Cilium's users know. Pure;
what a policy allows is the cluster's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Manifest = Mapping[str, Any]
ENABLED = "Enabled"
DISABLED = "Disabled"


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a label selector matches; an empty one matches everything.

    >>> matches({"matchLabels": {"app": "redis"}}, {"app": "redis", "v": "1"})
    True
    >>> matches({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["redis"]}]}, {})
    True
    """
    selector = selector or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expression(expression, labels) for expression in selector.get("matchExpressions") or ())


def _expression(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key"), expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return labels.get(str(key)) in values
        case "NotIn":
            return labels.get(str(key)) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def policy_types(policy: Manifest) -> set[str]:
    """The directions that a NetworkPolicy governs, with Kubernetes' defaults."""
    spec = policy.get("spec") or {}
    given = spec.get("policyTypes")
    return set(given) if given else {"Ingress"} | ({"Egress"} if spec.get("egress") else set())


def selected(policy: Manifest, pods: Iterable[Manifest], namespace: str) -> list[Manifest]:
    """The pods of *namespace* that a NetworkPolicy there selects."""
    selector = (policy.get("spec") or {}).get("podSelector")
    return [
        pod
        for pod in pods
        if pod["metadata"]["namespace"] == namespace
        and matches(selector, pod["metadata"].get("labels") or {})
    ]


def endpoints(pods: Iterable[Manifest], policies: Iterable[Manifest]) -> list[dict[str, Any]]:
    """One row a pod: labels, address, whether ingress and egress are enforced (some policy selects it)."""
    pods = list(pods)
    enforced: dict[str, set[str]] = {}
    for policy in policies:
        for pod in selected(policy, pods, policy["metadata"]["namespace"]):
            enforced.setdefault(_name(pod), set()).update(policy_types(policy))
    return [_row(pod, enforced.get(_name(pod), set())) for pod in sorted(pods, key=_name)]


def _row(pod: Manifest, directions: set[str]) -> dict[str, Any]:
    return {
        "pod": _name(pod),
        "labels": dict(pod["metadata"].get("labels") or {}),
        "ipv4": (pod.get("status") or {}).get("podIP", ""),
        "ingress": ENABLED if "Ingress" in directions else DISABLED,
        "egress": ENABLED if "Egress" in directions else DISABLED,
    }


def _name(pod: Manifest) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
