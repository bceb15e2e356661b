"""Label selectors, parsed once, and an index of pods that answers them by set operations.

A policy set of thousands of selectors over hundreds of pods would otherwise compare every pair.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshverdict.model.errors import UnsupportedError
from meshverdict.network.values import NAMESPACE_NAME_LABEL, Labels, Namespaces, PodNet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OPERATORS = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})


@dataclass(frozen=True)
class Requirement:
    """One condition on one label key; ``matchLabels`` entries are ``In`` with one value."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Selector:
    """A label selector: all requirements must hold; with none, everything is selected."""

    requirements: frozenset[Requirement] = frozenset()

    def matches(self, labels: Labels) -> bool:
        """Whether these labels are selected."""
        return all(_holds(requirement, labels) for requirement in self.requirements)


def _holds(requirement: Requirement, labels: Labels) -> bool:
    present = requirement.key in labels
    if requirement.operator == "Exists":
        return present
    if requirement.operator == "DoesNotExist":
        return not present
    chosen = present and labels[requirement.key] in requirement.values
    return chosen if requirement.operator == "In" else not chosen


def parse_selector(value: Mapping[str, Any], field: str) -> Selector:
    """A LabelSelector of a manifest.

    Args:
        value: The manifest's selector.
        field: Its path, for errors.

    Raises:
        UnsupportedError: An operator or a field is not known.
    """
    if unknown := sorted(set(value) - {"matchLabels", "matchExpressions"}):
        raise UnsupportedError(f"{field}.{unknown[0]}", "not a field of a label selector; remove it")
    requirements = [
        Requirement(key, "In", frozenset({wanted}))
        for key, wanted in (value.get("matchLabels") or {}).items()
    ]
    for position, expression in enumerate(value.get("matchExpressions") or ()):
        operator = expression.get("operator")
        if operator not in _OPERATORS:
            raise UnsupportedError(
                f"{field}.matchExpressions[{position}].operator",
                f"{operator!r} is not known; use one of {', '.join(sorted(_OPERATORS))}",
            )
        values = frozenset(expression.get("values") or ())
        if bool(values) != (operator in {"In", "NotIn"}):
            raise UnsupportedError(
                f"{field}.matchExpressions[{position}].values",
                "must be given with In and NotIn, and only with them",
            )
        requirements.append(Requirement(expression["key"], operator, values))
    return Selector(frozenset(requirements))


class _LabelIndex:
    """Things by their labels; answers a selector with the set of things it selects."""

    def __init__(self, labelled: Iterable[tuple[str, Labels]]) -> None:
        self._by_pair: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._by_key: dict[str, set[str]] = defaultdict(set)
        everything = set()
        for name, labels in labelled:
            everything.add(name)
            for pair in labels.items():
                self._by_pair[pair].add(name)
                self._by_key[pair[0]].add(name)
        self.everything = frozenset(everything)
        self._known: dict[Selector, frozenset[str]] = {}

    def select(self, selector: Selector) -> frozenset[str]:
        if selector not in self._known:
            chosen = self.everything
            for requirement in selector.requirements:
                chosen = self._apply(requirement, chosen)
            self._known[selector] = chosen
        return self._known[selector]

    def _apply(self, requirement: Requirement, chosen: frozenset[str]) -> frozenset[str]:
        if requirement.operator in {"Exists", "DoesNotExist"}:
            found = self._by_key.get(requirement.key, set())
        else:
            found = set().union(
                *(self._by_pair.get((requirement.key, value), ()) for value in requirement.values)
            )
        return chosen & found if requirement.operator in {"In", "Exists"} else chosen - found


class PodIndex:
    """Answers a NetworkPolicy's selectors with sets of pod addresses.

    Args:
        pods: All pods of the cluster that have an address.
        namespaces: All namespaces with their labels; each also gets ``kubernetes.io/metadata.name``.
    """

    def __init__(self, pods: Iterable[PodNet], namespaces: Namespaces) -> None:
        pods = list(pods)
        self._pods = _LabelIndex((pod.ip, pod.labels) for pod in pods)
        self._namespaces = _LabelIndex(
            (name, {**labels, NAMESPACE_NAME_LABEL: name}) for name, labels in namespaces.items()
        )
        members: dict[str, set[str]] = defaultdict(set)
        for pod in pods:
            members[pod.namespace].add(pod.ip)
        self._members = {name: frozenset(ips) for name, ips in members.items()}
        self._known: dict[tuple[Selector | str, Selector], frozenset[str]] = {}

    def select(self, namespace: Selector | str, pods: Selector) -> frozenset[str]:
        """Addresses of the pods that *pods* selects, in one namespace by name or in all that are selected."""
        key = (namespace, pods)
        if key not in self._known:
            names = [namespace] if isinstance(namespace, str) else self._namespaces.select(namespace)
            inside = frozenset().union(*(self._members.get(name, frozenset()) for name in names))
            self._known[key] = inside & self._pods.select(pods)
        return self._known[key]
