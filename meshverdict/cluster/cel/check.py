"""What is wrong with a rule before any object is there: names, functions and fields that do not exist. Pure.

Types are not checked here, but for the fields of the schema: an operator with operands of the wrong types is found
when the rule is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from meshverdict.cluster.cel.evaluate import MACROS, TYPES
from meshverdict.cluster.cel.library import ELSEWHERE, FUNCTIONS, METHODS, SPACES
from meshverdict.cluster.cel.syntax import (
    RESERVED,
    Call,
    CelSyntaxError,
    CelUnsupportedError,
    Expression,
    Name,
    Select,
    parse,
    parts,
)

Schema = Mapping[str, Any]
Scope = Mapping[str, Schema | None]
_SIGNS: Final = frozenset(
    ("&&", "||", "?:", "==", "!=", "<", "<=", ">", ">=", "in", "+", "-", "*", "/", "%", "!_", "-_", "[]")
)
_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
_WORDS: Final = RESERVED | {"true", "false", "null", "in"}


@lru_cache(maxsize=4096)
def tree_of(text: str) -> Expression:
    """The tree of a rule; rules are read again and again, at every object.

    Raises:
        CelSyntaxError: It is no expression.
        CelUnsupportedError: It uses what is not evaluated here.
    """
    return parse(text)


def check(text: str, scope: Scope) -> None:
    """Look for what does not exist.

    Args:
        text: The rule.
        scope: The schemas of ``self`` and ``oldSelf``; None where nothing is known.

    Raises:
        CelSyntaxError: Kubernetes refuses the rule.
        CelUnsupportedError: Kubernetes takes the rule, and it is not evaluated here.
    """
    _walk(tree_of(text), scope)


@lru_cache(maxsize=4096)
def evaluated(text: str) -> bool:
    """Whether a rule is evaluated here at all: the others were refused or named when they came."""
    try:
        check(text, dict.fromkeys(("self", "oldSelf")))
    except (CelSyntaxError, CelUnsupportedError):
        return False
    return True


@lru_cache(maxsize=4096)
def mentions(text: str, name: str) -> bool:
    """Whether a rule speaks of a variable."""
    return _mentions(tree_of(text), name)


def escaped(name: str) -> str:
    """A property's name as an identifier of CEL."""
    if name in _WORDS:
        return f"__{name}__"
    for sign, word in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(sign, word)
    return name


def _mentions(tree: Expression, name: str) -> bool:
    return (isinstance(tree, Name) and tree.name == name) or any(_mentions(p, name) for p in parts(tree))


def _walk(tree: Expression, scope: Scope) -> None:
    if isinstance(tree, Name) and tree.name not in scope and tree.name not in TYPES:
        raise CelSyntaxError(f"undeclared reference to '{tree.name}' (in container '')", tree.at)
    if isinstance(tree, Call):
        if _call(tree, scope):
            return
    elif isinstance(tree, Select):
        _schema(tree, scope)
    for part in parts(tree):
        _walk(part, scope)


def _call(call: Call, scope: Scope) -> bool:
    """Check a call; True where its parts have been looked at too."""
    name, count = call.function, len(call.arguments)
    if call.target is None and name == "has" and count == 1:
        if not isinstance(call.arguments[0], Select):
            raise CelSyntaxError("invalid argument to has() macro", call.at)
        return False
    if call.target is not None and name in MACROS and count in {2, 3}:
        _macro(call, call.target, scope)
        return True
    if isinstance(call.target, Name) and call.target.name not in scope:
        space = f"{call.target.name}.{name}"
        if space in SPACES:
            if not SPACES[space][1] <= count <= SPACES[space][2]:
                raise _overload(space, count, call.at)
            for argument in call.arguments:
                _walk(argument, scope)
            return True
        if call.target.name in {
            "optional",
            "cel",
            "format",
            "ip",
            "cidr",
            "semver",
            "sets",
            "math",
            "base64",
        }:
            raise CelUnsupportedError(f"the function {space}")
    if name in _SIGNS and call.target is None:
        return False
    table = METHODS if call.target is not None else FUNCTIONS
    if name in table and table[name][1] <= count <= table[name][2]:
        return False
    if name in ELSEWHERE:
        raise CelUnsupportedError(f"the function {name}")
    if name in table:
        raise _overload(name, count, call.at)
    raise CelSyntaxError(f"undeclared reference to '{name}' (in container '')", call.at)


def _overload(name: str, count: int, at: int) -> CelSyntaxError:
    return CelSyntaxError(f"found no matching overload for '{name}' applied to {count} arguments", at)


def _macro(call: Call, target: Expression, scope: Scope) -> None:
    _walk(target, scope)
    *names, last = call.arguments
    if len(names) == 2 and call.function != "map" and not isinstance(names[1], Name):
        raise CelSyntaxError("argument must be a simple name", call.at)
    inner = dict(scope)
    schema = _schema(target, scope) or {}
    entries = [n for n in names if isinstance(n, Name)]
    if not entries or entries[0] is not names[0]:
        raise CelSyntaxError("argument must be a simple name", call.at)
    if len(names) == 2 and not (len(entries) == 2 and call.function != "map"):
        inner[entries[0].name] = schema.get("items")
        _walk(names[1], inner)  # map with a condition: map(x, condition, value)
    else:
        for entry in entries:
            inner[entry.name] = None
        if len(entries) == 1:
            inner[entries[0].name] = schema.get("items")
    _walk(last, inner)


def _schema(tree: Expression, scope: Scope) -> Schema | None:  # noqa: PLR0911 - one way out for each kind
    """The schema of what an expression selects, as far as it can be told; a field that is not there is refused."""
    if isinstance(tree, Name):
        return scope.get(tree.name)
    if isinstance(tree, Call) and tree.function == "[]":
        holder = _schema(tree.arguments[0], scope) or {}
        extra = holder.get("additionalProperties")
        return holder.get("items") or (extra if isinstance(extra, dict) else None)
    if not isinstance(tree, Select):
        return None
    selected = _schema(tree.operand, scope)
    if selected is None or selected.get("type") != "object":
        return None
    holder = selected
    extra = holder.get("additionalProperties")
    if isinstance(extra, dict):
        return extra
    properties = {escaped(name): value for name, value in (holder.get("properties") or {}).items()}
    if tree.field in properties:
        found: Schema = properties[tree.field]
        return found
    if holder.get(_PRESERVE) or holder.get("x-kubernetes-embedded-resource"):
        return None
    raise CelSyntaxError(f"undefined field '{tree.field}'", tree.at)
