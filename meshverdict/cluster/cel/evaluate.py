"""The value of a CEL expression: a walk over its tree, with a budget of steps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from meshverdict.cluster.cel.cost import cost
from meshverdict.cluster.cel.library import FUNCTIONS, METHODS, SPACES
from meshverdict.cluster.cel.syntax import Call, Expression, ListOf, Literal, MapOf, Name, Select
from meshverdict.cluster.cel.values import (
    OVERLOAD,
    CelError,
    TypeOf,
    arithmetic,
    compare,
    contains,
    equal,
    index,
    is_number,
    type_name,
    whole_number,
)

BUDGET: Final = 100_000  # steps: a fraction of a second of anybody's machine
MACROS: Final = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
TYPES: Final = frozenset(
    {"int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"}
)


def evaluate(tree: Expression, variables: Mapping[str, Any], budget: list[int] | None = None) -> Any:
    """The value of an expression.

    Args:
        tree: The expression.
        variables: What ``self`` and the like are.
        budget: Steps that are left, in a list of one that is counted down: several expressions may share it.

    Raises:
        CelError: It has none.
    """
    return _Run(budget if budget is not None else [BUDGET]).value(tree, variables)


class _Run:
    def __init__(self, budget: list[int]) -> None:
        self._budget = budget

    def value(self, tree: Expression, names: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - by kind
        """The value of a part."""
        self._spend(1)
        match tree:
            case Literal(value=value):
                return value
            case Name(name=name):
                if name in names:
                    return names[name]
                if name in TYPES:
                    return TypeOf(name)
                raise CelError(f"no such attribute(s): {name}")
            case Select(operand=operand, field=field):
                holder = self.value(operand, names)
                if not isinstance(holder, dict):
                    raise CelError(OVERLOAD)
                return index(holder, field)
            case ListOf(items=items):
                return [self.value(item, names) for item in items]
            case MapOf(items=items):
                return {self._key(k, names): self.value(v, names) for k, v in items}
            case Call():
                return self._call(tree, names)

    def _spend(self, steps: int) -> None:
        self._budget[0] -= steps
        if self._budget[0] < 0:
            raise CelError("operation cancelled: actual cost limit exceeded")

    def _call(self, call: Call, names: Mapping[str, Any]) -> Any:
        match call.function:
            case "&&" | "||":
                return self._logic(call, names)
            case "?:":
                chosen = 1 if self._truth(call.arguments[0], names) else 2
                return self.value(call.arguments[chosen], names)
            case "has" if call.target is None:
                return self._has(call.arguments[0], names)
            case name if call.target is not None and name in MACROS and len(call.arguments) in {2, 3}:
                return self._macro(call, call.target, names)
        name, target = call.function, call.target
        function: Callable[..., Any]
        if isinstance(target, Name) and f"{target.name}.{name}" in SPACES:
            name, target = f"{target.name}.{name}", None
            function = SPACES[name][0]
        elif target is not None:
            function = METHODS[name][0]
        elif name in FUNCTIONS:
            function = FUNCTIONS[name][0]
        else:
            function = partial(operate, name)
        values = [self.value(a, names) for a in call.arguments]
        if target is not None:
            values.insert(0, self.value(target, names))
        beside = call.arguments[1:] if target is None else call.arguments
        known = all(isinstance(a, Literal) for a in beside)
        self._spend(cost(name, values, max(0, self._budget[0]), known_pattern=known))
        try:
            return function(*values)
        except (ArithmeticError, ValueError) as error:
            raise CelError(str(error)) from None

    def _key(self, tree: Expression, names: Mapping[str, Any]) -> Any:
        key = self.value(tree, names)
        if not isinstance(key, str | int):
            raise CelError(f"unsupported key type: {type_name(key)}")
        return key

    def _truth(self, tree: Expression, names: Mapping[str, Any]) -> bool:
        value = self.value(tree, names)
        if not isinstance(value, bool):
            raise CelError(OVERLOAD)
        return value

    def _logic(self, call: Call, names: Mapping[str, Any]) -> bool:
        """And and or: one side that decides is enough, even if the other side has no value."""
        decides = call.function == "||"
        failed = None
        for argument in call.arguments:
            try:
                if self._truth(argument, names) is decides:
                    return decides
            except CelError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return not decides

    def _has(self, tree: Expression, names: Mapping[str, Any]) -> bool:
        if not isinstance(tree, Select):
            raise CelError("invalid argument to has() macro")
        holder = self.value(tree.operand, names)
        if not isinstance(holder, dict):
            raise CelError(OVERLOAD)
        return tree.field in holder

    def _macro(self, call: Call, target: Expression, names: Mapping[str, Any]) -> Any:
        holder = self.value(target, names)
        if not isinstance(holder, list | dict):
            raise CelError(OVERLOAD)
        self._spend(len(holder))
        name, *steps = call.arguments
        if not isinstance(name, Name):
            raise CelError("argument must be a simple name")
        kind = call.function
        if len(steps) == 2 and kind != "map" and isinstance(steps[0], Name):
            pairs = holder.items() if isinstance(holder, dict) else enumerate(holder)
            scopes = [{**names, name.name: k, steps[0].name: v} for k, v in pairs]
            steps = steps[1:]
        else:
            scopes = [{**names, name.name: item} for item in holder]
        if kind == "filter":
            return [item for item, scope in zip(holder, scopes, strict=True) if self._truth(steps[0], scope)]
        if kind == "map":
            kept = [s for s in scopes if len(steps) == 1 or self._truth(steps[0], s)]
            return [self.value(steps[-1], s) for s in kept]
        if kind in {"exists_one", "existsOne"}:
            return sum(self._truth(steps[0], s) for s in scopes) == 1
        return self._quantified(steps[0], scopes, decides=kind == "exists")

    def _quantified(self, step: Expression, scopes: list[dict[str, Any]], *, decides: bool) -> bool:
        failed = None
        for scope in scopes:
            try:
                if self._truth(step, scope) is decides:
                    return decides
            except CelError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return not decides


def _negative(value: Any) -> Any:
    if not is_number(value):
        raise CelError(OVERLOAD)
    return -value if isinstance(value, float) else whole_number(-int(value))


def _not(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError(OVERLOAD)
    return not value


_OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "in": contains,
    "[]": index,
    "!_": _not,
    "-_": _negative,
}


def operate(sign: str, *values: Any) -> Any:
    """The value of an operator."""
    if sign in _OPERATORS:
        return _OPERATORS[sign](*values)
    if sign in {"<", "<=", ">", ">="}:
        return compare(sign, *values)
    return arithmetic(sign, *values)
