"""Reading CEL: text to a tree. Grammar: https://github.com/google/cel-spec, chapter "Syntax". Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

_LONGEST_INT: Final = 30  # 64 bits in any notation
_DEPTH: Final = 50  # nested brackets; reading and evaluating call themselves for each
_TALL: Final = 100  # nested parts in all, chains of operators included
_LONGEST: Final = 100_000
RESERVED: Final = frozenset(
    (
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    )
)


class CelSyntaxError(ValueError):
    """A text that is no expression; *position* is an index into it."""

    def __init__(self, text: str, position: int) -> None:
        super().__init__(text)
        self.position = position


class CelUnsupportedError(ValueError):
    """An expression that Kubernetes evaluates and this evaluator does not."""


class Uint(int):
    """An unsigned integer: CEL keeps it apart from the signed ones."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, text, bytes, truth value or null."""

    value: Any
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    """An identifier."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Select:
    """``operand.field``."""

    operand: Expression
    field: str
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function, method or operator: operators are named by their sign, ``[]`` and ``?:`` included."""

    function: str
    target: Expression | None
    arguments: tuple[Expression, ...]
    at: int


@dataclass(frozen=True, slots=True)
class ListOf:
    """``[a, b]``."""

    items: tuple[Expression, ...]
    at: int


@dataclass(frozen=True, slots=True)
class MapOf:
    """``{k: v}``."""

    items: tuple[tuple[Expression, Expression], ...]
    at: int


Expression = Literal | Name | Select | Call | ListOf | MapOf

_TOKEN: Final = re.compile(
    r"""(?P<space>[\s]+|//[^\n]*)
    |(?P<float>\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
    |(?P<int>0x[0-9a-fA-F]+[uU]?|\d+[uU]?)
    |(?P<text>(?:[bB]?[rR]?|[rR][bB])(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''
      |\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>\|\||&&|==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
_BINARY: Final = (("||",), ("&&",), ("==", "!=", "<=", ">=", "<", ">", "in"), ("+", "-"), ("*", "/", "%"))
_ESCAPES: Final = dict(zip("abfnrtv\\?\"'`", "\a\b\f\n\r\t\v\\?\"'`", strict=True))
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Expression:
    """The tree of an expression.

    Raises:
        CelSyntaxError: It is none.
        CelUnsupportedError: It uses optional values, or is nested too deeply.
    """
    if len(text) > _LONGEST:
        raise CelSyntaxError(f"expression code point size exceeds limit: {_LONGEST}", 0)
    tree = _Parser(text).whole()
    layer: list[Expression] = [tree]
    for _ in range(_TALL):
        layer = [part for parent in layer for part in parts(parent)]
        if not layer:
            return tree
    raise CelUnsupportedError(f"room for expressions nested deeper than {_TALL}")


def parts(tree: Expression) -> tuple[Expression, ...]:
    """What an expression is made of."""
    match tree:
        case Select(operand=operand):
            return (operand,)
        case Call(target=target, arguments=arguments):
            return (target, *arguments) if target is not None else arguments
        case ListOf(items=items):
            return items
        case MapOf(items=pairs):
            return tuple(part for pair in pairs for part in pair)
        case _:
            return ()


def _tokens(text: str) -> list[_Token]:
    found = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise CelSyntaxError(f"Syntax error: token recognition error at: '{text[position]}'", position)
        if match.lastgroup != "space":
            found.append(_Token(match.lastgroup or "", match.group(), position))
        position = match.end()
    return [*found, _Token("end", "<EOF>", len(text))]


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0
        self._depth = 0

    def whole(self) -> Expression:
        """The expression, and nothing behind it."""
        tree = self._expression()
        if self._here.kind != "end":
            raise self._unexpected()
        return tree

    @property
    def _here(self) -> _Token:
        return self._tokens[self._next]

    def _take(self, *signs: str) -> _Token | None:
        token = self._here
        if token.kind in {"sign", "name"} and token.text in signs:
            self._next += 1
            return token
        return None

    def _need(self, sign: str) -> _Token:
        token = self._take(sign)
        if token is None:
            raise self._unexpected()
        return token

    def _unexpected(self) -> CelSyntaxError:
        token = self._here
        return CelSyntaxError(f"Syntax error: mismatched input '{token.text}'", token.at)

    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > _DEPTH:
            raise CelUnsupportedError(f"room for expressions nested deeper than {_DEPTH}")
        first = self._binary(0)
        if mark := self._take("?"):
            middle = self._binary(0)
            self._need(":")
            first = Call("?:", None, (first, middle, self._expression()), mark.at)
        self._depth -= 1
        return first

    def _binary(self, level: int) -> Expression:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while sign := self._take(*_BINARY[level]):
            right = self._binary(level + 1)
            if level < 2 and isinstance(left, Call) and left.function == sign.text:
                left = Call(
                    sign.text, None, (*left.arguments, right), left.at
                )  # flat, however many there are
            else:
                left = Call(sign.text, None, (left, right), sign.at)
        return left

    def _unary(self) -> Expression:
        signs = []
        while sign := self._take("!", "-"):
            signs.append(sign)
            if len(signs) > _DEPTH:
                raise CelUnsupportedError(f"room for expressions nested deeper than {_DEPTH}")
        value = self._member()
        for sign in reversed(signs):
            # The sign of a literal is part of it once: -9223372036854775808 is a number, and its opposite is none.
            positive = isinstance(value, Literal) and type(value.value) in {int, float} and value.value >= 0
            if sign.text == "-" and isinstance(value, Literal) and positive:
                value = Literal(-value.value, sign.at)
            else:
                value = Call(f"{sign.text}_", None, (value,), sign.at)
        return value

    def _member(self) -> Expression:
        value = self._primary()
        while True:
            if dot := self._take("."):
                if self._here.text == "?":
                    raise CelUnsupportedError("optional values")
                value = self._field(value, dot)
            elif mark := self._take("["):
                if self._here.text == "?":
                    raise CelUnsupportedError("optional values")
                value = Call("[]", None, (value, self._expression()), mark.at)
                self._need("]")
            else:
                return value

    def _field(self, value: Expression, dot: _Token) -> Expression:
        token = self._here
        if token.kind != "name":
            raise self._unexpected()
        self._next += 1
        if self._take("("):
            return Call(token.text, value, self._arguments(")"), dot.at)
        return Select(value, token.text, dot.at)

    def _arguments(self, end: str) -> tuple[Expression, ...]:
        found: list[Expression] = []
        while not self._take(end):
            if found:
                self._need(",")
                if self._take(end):
                    break
            found.append(self._expression())
        return tuple(found)

    def _primary(self) -> Expression:  # noqa: PLR0911 - one way out for each kind
        token = self._here
        self._next += 1
        match token.kind, token.text:
            case (("int" | "float" | "text"), _):
                return Literal(_value(token), token.at)
            case "name", ("true" | "false" | "null") as word:
                return Literal({"true": True, "false": False, "null": None}[word], token.at)
            case "name", word if word not in RESERVED and word != "in":
                if self._take("("):
                    return Call(word, None, self._arguments(")"), token.at)
                return Name(word, token.at)
            case "sign", "(":
                inner = self._expression()
                self._need(")")
                return inner
            case "sign", "[":
                return ListOf(self._arguments("]"), token.at)
            case "sign", "{":
                return self._map(token.at)
        self._next -= 1
        raise self._unexpected()

    def _map(self, at: int) -> Expression:
        found: list[tuple[Expression, Expression]] = []
        while not self._take("}"):
            if found:
                self._need(",")
            key = self._expression()
            self._need(":")
            found.append((key, self._expression()))
        return MapOf(tuple(found), at)


def _value(token: _Token) -> Any:
    if token.kind == "float":
        return float(token.text)
    if token.kind == "int":
        unsigned = token.text[-1] in "uU"
        if len(token.text) > _LONGEST_INT:
            raise CelSyntaxError("Syntax error: invalid int literal", token.at)
        number = int(token.text.rstrip("uU"), 0 if "x" in token.text else 10)
        if number >= 1 << (64 if unsigned else 63) and (unsigned or number > 1 << 63):
            raise CelSyntaxError("Syntax error: invalid int literal", token.at)
        return Uint(number) if unsigned else number
    prefix = re.match("[bBrR]*", token.text)
    letters = prefix.group().lower() if prefix else ""
    body = token.text[len(letters) :]
    body = body[3:-3] if body.startswith(('"""', "'''")) else body[1:-1]
    try:
        text = body if "r" in letters else _ESCAPE.sub(_escaped, body)
        text.encode()
    except ValueError:  # beyond Unicode, or half of a surrogate pair
        raise CelSyntaxError("Syntax error: invalid escape sequence", token.at) from None
    return text.encode() if "b" in letters else text


def _escaped(match: re.Match[str]) -> str:
    code = match.group(1)
    if code[0] in "xuU" and len(code) > 1:
        return chr(int(code[1:], 16))
    if len(code) == 3:
        return chr(int(code, 8))
    return _ESCAPES.get(code, match.group())
