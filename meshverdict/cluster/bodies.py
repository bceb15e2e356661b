"""Bytes of a request to a JSON value, within bounds, refused with the words of Go's decoders.

Python's own parsers accept more (NaN), allow more (alias bombs, tags that run code) and complain differently,
and clients show the complaint to people. Keys that occur twice are remembered on the object they are in.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn, Self

import yaml

from meshverdict.cluster.go_json import syntax_error

BODY_LIMIT: Final = 3 * 1024 * 1024
DEPTH_LIMIT: Final = 200
NODE_LIMIT: Final = 500_000  # values in one document after aliases are expanded
_SUMMARY: Final = 30


class SyntaxProblem(Exception):  # noqa: N818 - the message is one half of a sentence, not an error by itself
    """The text is not JSON or YAML; the message is Go's."""


class Number(float):
    """A number with a point or exponent; ``text`` is how it was written, which refusals quote."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        """From the digits of a document."""
        made = super().__new__(cls, text)
        made.text = text
        return made


class YamlRoot(dict[str, Any]):
    """The root of a YAML document that had keys twice; ``problem`` names them with their lines, as Go does."""

    __slots__ = ("problem",)

    def __init__(self, value: dict[str, Any], problem: str) -> None:
        super().__init__(value)
        self.problem = problem


class Obj(dict[str, Any]):
    """An object that had keys twice; ``duplicates`` names them."""

    __slots__ = ("duplicates",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.duplicates: list[str] = []
        for key, _ in pairs:
            if key in seen and key not in self.duplicates:
                self.duplicates.append(key)
            seen.add(key)


# What is left alone (an escaped backslash, a pair of surrogates), and half a pair, which is no text: U+FFFD in Go.
_SURROGATES: Final = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def parse_json(body: bytes) -> Any:
    """The JSON value in *body*; bytes that are no UTF-8 become U+FFFD, as in Go.

    Raises:
        SyntaxProblem: It is none, or nested deeper than `DEPTH_LIMIT`.
    """
    text = body.decode("utf-8", "replace")
    if "\\ud" in text or "\\uD" in text:
        text = _SURROGATES.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
    try:
        value = json.loads(
            text, object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=Number
        )
    except json.JSONDecodeError as error:
        raise SyntaxProblem(syntax_error(text, error)) from None
    except RecursionError:
        raise SyntaxProblem("exceeded max depth") from None
    _check_depth(value, DEPTH_LIMIT)
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else Obj(pairs)


def _constant(name: str) -> NoReturn:
    place = "in numeric literal" if name[0] == "-" else "looking for beginning of value"
    raise SyntaxProblem(f"invalid character '{name.lstrip('-')[0]}' {place}")


def _integer(text: str) -> int | float:
    # Python refuses to convert endless digits, and Kubernetes has no integers longer than 64 bits.
    return int(text) if len(text) <= 20 else float(text)


def _check_depth(value: Any, limit: int) -> None:
    level: list[Any] = [value]
    for _ in range(limit):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise SyntaxProblem("exceeded max depth")


class _Excess(Exception):  # noqa: N818 - never leaves this module
    """Aliases would make the document too big."""


_BOOL: Final = dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True)
_BOOL.update(
    dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False)
)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_INT: Final = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]+|[0-9][0-9_]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NAN: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG: Final = "tag:yaml.org,2002:"


def parse_yaml(body: bytes) -> Any:
    """The first YAML document in *body* as a JSON value; YAML 1.1 words such as ``on`` are booleans, as in Go.

    Raises:
        SyntaxProblem: It is no YAML, or its aliases expand beyond `NODE_LIMIT`.
    """
    text = body.decode("utf-8", "replace")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        root = next(iter(yaml.compose_all(text, Loader=loader)), None)
    except yaml.MarkedYAMLError as error:
        raise SyntaxProblem(_go_yaml_error(error)) from None
    except yaml.YAMLError:
        raise SyntaxProblem("yaml: control characters are not allowed") from None
    except RecursionError:
        raise SyntaxProblem("yaml: exceeded max depth") from None
    if root is None:
        return None
    try:
        converter = _Converter()
        value = converter.convert(root, 0)
    except _Excess:
        raise SyntaxProblem("yaml: document contains excessive aliasing") from None
    if converter.doubled and isinstance(value, dict):
        lines = "".join(
            f"\n  line {line}: key {json.dumps(key)} already set in map" for line, key in converter.doubled
        )
        return YamlRoot(value, f"yaml: unmarshal errors:{lines}")
    return value


def _go_yaml_error(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "cannot be read"
    if problem.startswith("mapping values are not allowed"):
        problem = "mapping values are not allowed in this context"
    if problem.startswith("found undefined alias"):
        name = problem.rpartition(" ")[2].strip("'")
        return f"yaml: unknown anchor '{name}' referenced"
    mark = error.problem_mark or error.context_mark
    return f"yaml: line {mark.line + 1}: {problem}" if mark else f"yaml: {problem}"


class _Converter:
    def __init__(self) -> None:
        self._count = 0
        self.doubled: list[tuple[int, str]] = []

    def convert(self, node: yaml.Node, depth: int) -> Any:
        self._count += 1
        if self._count > NODE_LIMIT:
            raise _Excess
        if depth > DEPTH_LIMIT:
            raise SyntaxProblem("yaml: exceeded max depth")
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, depth + 1) for item in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        pairs: list[tuple[str, Any]] = []
        merged: list[tuple[str, Any]] = []
        seen: set[str] = set()
        for key_node, value_node in node.value:
            if key_node.value == "<<" and not getattr(key_node, "style", None):
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for source in sources:
                    value = self.convert(source, depth + 1)
                    if isinstance(value, dict):
                        merged = [*value.items(), *merged]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise SyntaxProblem(f"yaml: invalid map key: {key_node.id}")
            key = _key(_scalar(key_node))
            if key in seen:
                self.doubled.append((key_node.start_mark.line + 1, key))
            seen.add(key)
            pairs.append((key, self.convert(value_node, depth + 1)))
        own = {key for key, _ in pairs}
        pairs = [*[(k, v) for k, v in merged if k not in own], *pairs]
        # Go turns YAML into JSON with sorted keys before it decodes.
        return dict(sorted(dict(pairs).items()))


def _key(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _scalar(node: yaml.Node) -> Any:  # noqa: PLR0911 - YAML 1.1's table of scalars
    text: str = node.value
    if getattr(node, "style", None):
        return text
    if node.tag == f"{_TAG}str" and text not in _BOOL:
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return _yaml_int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _NAN.fullmatch(text):
        name = "NaN" if "n" in text.lower()[1:2] else "-Inf" if text[0] == "-" else "+Inf"
        raise SyntaxProblem(f"json: unsupported value: {name}")
    return text


def _yaml_int(text: str) -> int | float | str:
    digits = text.replace("_", "")
    sign = -1 if digits[0] == "-" else 1
    digits = digits.lstrip("+-")
    try:
        if len(digits) > 66:
            return sign * float(digits)  # beyond 64 bits in any notation, as a float is
        if digits[:2] in {"0x", "0b", "0o"}:
            return sign * int(digits, 0)
        if len(digits) > 20:
            return sign * float(digits)
        return sign * int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
    except ValueError:
        return text


def summarize(body: bytes) -> str:
    """What a refusal quotes of a body: text of JSON, hexadecimal of anything else."""
    if not body:
        return "<empty>"
    head = body[:_SUMMARY]
    more = " ..." if len(body) > _SUMMARY else ""
    if body[:1] == b"{":
        return head.decode("utf-8", "replace") + more
    return head.hex() + more
