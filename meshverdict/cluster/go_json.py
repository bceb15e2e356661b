"""Go's words for text that is no JSON, from the place where Python's parser stopped. Pure."""

from __future__ import annotations

import json
import re
from typing import Final

_LITERALS: Final = ("true", "false", "null")
_TOKENS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def syntax_error(text: str, error: json.JSONDecodeError) -> str:
    """What Go says of the place where Python's parser gave up.

    Args:
        text: The whole document.
        error: Python's complaint.
    """
    found = _in_string(text, error)
    if found:
        return found
    position = error.pos
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    if position >= len(text):
        return "unexpected end of JSON input"
    return _outside(text, position, error.msg)


def _in_string(text: str, error: json.JSONDecodeError) -> str:
    position, message = error.pos, error.msg
    if message.startswith("Unterminated string"):
        return "unexpected end of JSON input"
    if message.startswith("Invalid control character"):
        return f"invalid character {_char(text[position])} in string literal"
    if message.startswith("Invalid \\u"):
        return "invalid character in \\u hexadecimal character escape"
    if message.startswith("Invalid \\escape"):
        escaped = text[position + 1 : position + 2]
        return f"invalid character {_char(escaped)} in string escape code"
    return ""


def _outside(text: str, position: int, message: str) -> str:
    char = _char(text[position])
    places = {
        "Extra data": "after top-level value",
        "Expecting property name": "looking for beginning of object key string",
        "Illegal trailing comma": "looking for beginning of object key string",
        "Expecting ':'": "after object key",
    }
    for start, place in places.items():
        if message.startswith(start):
            return f"invalid character {char} {place}"
    if message.startswith("Expecting ','"):
        place = "object key:value pair" if _inside(text, position) == "{" else "array element"
        return f"invalid character {char} after {place}"
    return _in_literal(text, position) or f"invalid character {char} looking for beginning of value"


def _in_literal(text: str, position: int) -> str:
    for literal in _LITERALS:
        common = _common(text[position : position + len(literal)], literal)
        if not common:
            continue
        if position + common >= len(text):
            return "unexpected end of JSON input"
        wrong = _char(text[position + common])
        return f"invalid character {wrong} in literal {literal} (expecting '{literal[common]}')"
    return ""


def _common(text: str, literal: str) -> int:
    count = 0
    while count < len(text) and text[count] == literal[count]:
        count += 1
    return count


def _char(char: str) -> str:
    if char == "'":
        return "'\\''"
    return f"'{char}'" if char.isprintable() else f"'{char.encode('unicode_escape').decode()}'"


def _inside(text: str, position: int) -> str:
    stack: list[str] = []
    for match in _TOKENS.finditer(text, 0, position):
        symbol = match.group()
        if symbol in "[{":
            stack.append(symbol)
        elif symbol in "]}" and stack:
            stack.pop()
    return stack[-1] if stack else ""
