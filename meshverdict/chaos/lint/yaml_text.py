"""YAML with positions, built from the parser's events.

Events, because composing recurses: deep nesting and aliases of aliases are then refused here, by counting,
before anything grows. Only the types of the core schema are made; any other tag is refused unread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from meshverdict.chaos.lint.document import MAX_DEPTH, Document, Flaw, Place, UnreadableError, too_deep
from meshverdict.chaos.lint.json_text import duplicate, not_a_number

MAX_NODES: Final = 200_000
_CORE: Final = "tag:yaml.org,2002:"
_MERGE: Final = _CORE + "merge"
_ALLOWED: Final = {_CORE + t for t in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")}
_COLLECTIONS: Final = {_CORE + "map", _CORE + "seq", "!"}


def parse_yaml(text: str) -> Document:
    """The document in *text*.

    Raises:
        UnreadableError: It is not YAML, with line and column, or it is not safe to read.
    """
    try:
        return _Builder(text).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        said = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        flaw = Flaw(
            "syntax",
            f"broken YAML at line {line}, column {column}: {said}",
            "correct the text there; indent with spaces and quote text that holds `: ` or starts with a sign",
            line,
        )
        raise UnreadableError(flaw) from None


@dataclass(slots=True)
class _Anchored:
    value: Any
    size: int


class _Builder:
    """Makes the value of one document from events."""

    def __init__(self, text: str) -> None:
        self._loader: Any = yaml.SafeLoader(text)
        self._lines: dict[Place, int] = {(): 1}
        self._flaws: list[Flaw] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._nodes = 0

    def document(self) -> Document:
        events = self._events()
        value: Any = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refused(
                        "several-documents", "the file holds several documents", "keep one a file", event
                    )
                first = next(events)
                self._lines[()] = first.start_mark.line + 1
                value = self._node(first, (), events)
        return Document(value, self._lines, tuple(self._flaws))

    def _events(self) -> Iterator[Any]:
        while self._loader.check_event():
            yield self._loader.get_event()

    def _node(self, event: Any, place: Place, events: Iterator[Any]) -> Any:
        if len(place) > MAX_DEPTH:
            raise too_deep(event.start_mark.line + 1, place)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        self._count(1, event)
        before = self._nodes
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # until it is whole, nothing in it may point to it
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, place)
        else:
            if event.tag is not None and event.tag not in _COLLECTIONS:
                raise self._tag(event)
            is_list = isinstance(event, yaml.SequenceStartEvent)
            value = self._list(place, events) if is_list else self._object(place, events)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, self._nodes - before + 1)
        return value

    def _alias(self, event: Any) -> Any:
        found = self._anchors.get(event.anchor)
        if found is None:
            raise self._refused(
                "yaml-alias",
                f"the alias *{event.anchor} points to nothing before it, or to what it is part of",
                f"write the value out, or put &{event.anchor} before its first use",
                event,
            )
        self._count(found.size, event)
        return found.value

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self._refused(
                "yaml-alias",
                f"more than {MAX_NODES} values once its aliases are written out",
                "an experiment is small; take the aliases of aliases out",
                event,
            )

    def _list(self, place: Place, events: Iterator[Any]) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            here = (*place, len(found))
            self._lines[here] = event.start_mark.line + 1
            found.append(self._node(event, here, events))
        return found

    def _object(self, place: Place, events: Iterator[Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if self._is_merge(event):
                merged |= {
                    k: v for k, v in self._merge(next(events), place, events).items() if k not in merged
                }
                continue
            key = self._key(event, place)
            here = (*place, key)
            if key in found:
                self._flaws.append(duplicate(key, self._lines[here], line, here))
            self._lines[here] = line
            found[key] = self._node(next(events), here, events)
        return {**merged, **found}

    def _key(self, event: Any, place: Place) -> str:
        value = self._alias(event) if isinstance(event, yaml.AliasEvent) else None
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, place)
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchored(value, 1)
        elif not isinstance(event, yaml.AliasEvent) or isinstance(value, dict | list):
            raise self._refused(
                "syntax", "a key that is itself an object or a list", "a key is a word", event
            )
        if isinstance(value, str):
            return value
        line = event.start_mark.line + 1
        self._flaws.append(
            Flaw("key-not-text", f"the key {value!r} is not text", "put it into quotes", line, place)
        )
        return str(value)

    @staticmethod
    def _is_merge(event: Any) -> bool:
        return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]

    def _merge(self, event: Any, place: Place, events: Iterator[Any]) -> dict[str, Any]:
        value = self._node(event, (*place, "<<"), events)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise self._refused("syntax", "`<<` merges something that is no object", "merge objects", event)
        return {k: v for part in reversed(parts) for k, v in part.items()}

    def _scalar(self, event: Any, place: Place) -> Any:
        tag = event.tag
        if tag in {None, "!"}:
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag not in _ALLOWED:
            raise self._tag(event)
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            value = str(event.value) if tag == _MERGE else self._loader.construct_object(node)
        except (ValueError, KeyError, IndexError, OverflowError, AttributeError):
            # An explicit tag, a date such as 2024-13-45 or a number of thousands of digits.
            raise self._refused(
                "syntax", f"{event.value[:40]!r} cannot be read as {tag[len(_CORE) :]}", "quote it", event
            ) from None
        if isinstance(value, float) and not math.isfinite(value):
            self._flaws.append(not_a_number(event.value, event.start_mark.line + 1, place))
        return value if isinstance(value, str | int | float | bool | None) else str(event.value)

    def _tag(self, event: Any) -> UnreadableError:
        return self._refused(
            "yaml-tag",
            f"the tag {str(event.tag)[:80]} asks for a type that an experiment may not have; nothing was run",
            "take the tag out and write the value itself",
            event,
        )

    @staticmethod
    def _refused(rule: str, what: str, fix: str, event: Any) -> UnreadableError:
        return UnreadableError(Flaw(rule, what, fix, event.start_mark.line + 1))
