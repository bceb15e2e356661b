"""Label and field selectors of list and watch requests, parsed with Kubernetes' grammar and messages.

Selectors inside manifests (``spec.selector``) are values already and are compiled by `of_manifest`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshverdict.cluster.errors import bad_request, go_quote
from meshverdict.cluster.names import label_value_problems, qualified_name_problems
from meshverdict.cluster.store import Manifest

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition; operators: ``in notin exists !exists gt lt``."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        """Whether labels meet it."""
        there = self.key in labels
        match self.operator:
            case "in":
                return there and labels[self.key] in self.values
            case "notin":
                return not there or labels[self.key] not in self.values
            case "exists":
                return there
            case "!exists":
                return not there
            case _:
                return there and _compare(labels[self.key], self.operator, next(iter(self.values)))


def _compare(label: str, operator: str, limit: str) -> bool:
    try:
        number = int(label)
    except ValueError:
        return False
    return number > int(limit) if operator == "gt" else number < int(limit)


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Conditions that must all hold; none selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels | None) -> bool:
        """Whether labels are selected."""
        return all(r.matches(labels or {}) for r in self.requirements)


EVERYTHING: Final = LabelSelector()


def of_manifest(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A selector of a manifest: ``{matchLabels, matchExpressions}``."""
    if not selector:
        return EVERYTHING
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!exists"}
    requirements = [
        Requirement(k, "in", frozenset({v})) for k, v in (selector.get("matchLabels") or {}).items()
    ]
    requirements += [
        Requirement(e["key"], operators[e["operator"]], frozenset(e.get("values") or ()))
        for e in selector.get("matchExpressions") or ()
    ]
    return LabelSelector(tuple(requirements))


_SYMBOLS: Final = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+|$)")
_OPERATORS: Final = "in, notin, =, ==, !=, gt, lt"


class _Tokens:
    def __init__(self, text: str) -> None:
        self._all = [m.group(1) for m in _SYMBOLS.finditer(text)]
        self._at = 0

    def peek(self) -> str:
        return self._all[self._at] if self._at < len(self._all) else ""

    def take(self) -> str:
        symbol = self.peek()
        self._at += 1
        return symbol


def _is_name(symbol: str) -> bool:
    return bool(symbol) and symbol not in {"=", "==", "!=", "!", "(", ")", ",", "<", ">"}


def parse_labels(text: str) -> LabelSelector:
    """A ``labelSelector`` query value.

    Raises:
        ApiError: 400, with Kubernetes' message.
    """
    tokens = _Tokens(text)
    requirements: list[Requirement] = []
    while True:
        symbol = tokens.peek()
        if _is_name(symbol) or symbol == "!":
            requirements.append(_requirement(tokens))
            after = tokens.take()
            if after == "":
                return LabelSelector(tuple(requirements))
            if after != ",":
                raise bad_request(f"found '{after}', expected: ',' or 'end of string'")
            following = tokens.peek()
            if not _is_name(following) and following != "!":
                raise bad_request(f"found '{following}', expected: identifier after ','")
        elif symbol == "":
            return LabelSelector(tuple(requirements))
        else:
            raise bad_request(f"found '{symbol}', expected: !, identifier, or 'end of string'")


def _unparsed(why: str) -> Exception:
    return bad_request(f"unable to parse requirement: {why}")


def _requirement(tokens: _Tokens) -> Requirement:
    negated = tokens.peek() == "!"
    if negated:
        tokens.take()
    key = tokens.take()
    if not _is_name(key):
        raise _unparsed(f"found '{key}', expected: identifier")
    if problems := qualified_name_problems(key):
        raise _unparsed(f"<nil>: Invalid value: {go_quote(key)}: {'; '.join(problems)}")
    if negated:
        return Requirement(key, "!exists")
    if tokens.peek() in {"", ","}:
        return Requirement(key, "exists")
    operator = tokens.take()
    if operator in {"in", "notin"}:
        return _checked(Requirement(key, operator, _values(tokens)))
    if operator in {"=", "==", "!="}:
        value = "" if tokens.peek() in {"", ","} else tokens.take()
        if value and not _is_name(value):
            raise _unparsed(f"found '{value}', expected: identifier")
        return _checked(Requirement(key, "notin" if operator == "!=" else "in", frozenset({value})))
    if operator in {"<", ">"}:
        value = tokens.take()
        try:
            int(value)
        except ValueError:
            why = "for 'Gt', 'Lt' operators, the value must be an integer"
            raise _unparsed(f"values[0]: Invalid value: {go_quote(value)}: {why}") from None
        return Requirement(key, "gt" if operator == ">" else "lt", frozenset({value}))
    raise _unparsed(f"found '{operator}', expected: {_OPERATORS}")


def _values(tokens: _Tokens) -> frozenset[str]:
    opening = tokens.take()
    if opening != "(":
        raise _unparsed(f"found '{opening}' expected: '('")
    values: set[str] = set()
    expect_value = True
    while True:
        symbol = tokens.take()
        if symbol == ")":
            if expect_value:
                values.add("")
            return frozenset(values)
        if symbol == ",":
            if expect_value:
                values.add("")
            expect_value = True
        elif _is_name(symbol) and expect_value:
            values.add(symbol)
            expect_value = False
        else:
            expected = "',', ')' or identifier" if expect_value else "',' or ')'"
            raise _unparsed(f"found '{symbol}', expected: {expected}")


def _checked(requirement: Requirement) -> Requirement:
    for index, value in enumerate(sorted(requirement.values)):
        if problems := label_value_problems(value):
            place = f"values[{index}][{requirement.key}]"
            raise _unparsed(f"{place}: Invalid value: {go_quote(value)}: {'; '.join(problems)}")
    return requirement


_ALWAYS: Final = ("metadata.name", "metadata.namespace")
_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "jobs.batch": ("status.successful",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "reason",
        "reportingController",
        "reportingComponent",
        "source",
        "type",
    ),
}
_TERM: Final = re.compile(r"((?:\\.|[^\\=!])*)(==|!=|=)(.*)", re.DOTALL)
FieldTest = Callable[[Manifest], bool]


def parse_fields(text: str, resource: str, selectable: tuple[str, ...] = ()) -> FieldTest | None:
    """A ``fieldSelector`` query value; None selects everything.

    Args:
        text: ``metadata.name=a,status.phase!=Running``.
        resource: Group resource, which decides the fields that may be named.
        selectable: Further fields, of a custom resource.

    Raises:
        ApiError: 400, with Kubernetes' message.
    """
    terms: list[tuple[str, bool, str]] = []
    for part in re.split(r"(?<!\\),", text):
        if not part:
            continue
        match = _TERM.fullmatch(part)
        if match is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        name, operator, value = match.groups()
        if name not in _ALWAYS and name not in _FIELDS.get(resource, ()) and name not in selectable:
            raise bad_request(f"field label not supported: {name}")
        terms.append((name, operator != "!=", re.sub(r"\\(.)", r"\1", value)))
    if not terms:
        return None
    return lambda obj: all((_field(obj, name) == value) == wanted for name, wanted, value in terms)


def _field(obj: Manifest, path: str) -> str:
    value: Any = obj
    for key in path.replace("regarding.", "involvedObject.").split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "false" if path in {"spec.unschedulable", "spec.hostNetwork"} else ""
    return str(value)
