"""What Envoy refuses in texts that become parts of HTTP: said at admission, since a proxy would say it too late.

Source: the constraints of Envoy's API (``envoy/config/core/v3/base.proto``, ``envoy/config/route/v3/route_components.proto``)
and its format strings; Istio's webhook lets most of these through, and its proxies then refuse the whole configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from meshverdict.mesh.rulebook import Complaints, Spec

_LONGEST_HEADER: Final = 16384
_LONGEST_QUERY_NAME: Final = 1024
_LARGE_BODY: Final = 100 * 1024
# Also what the sidecars are told to allow.
LARGEST_BODY: Final = 1024 * 1024
_SHOWN: Final = 80
# A literal percent sign, or a command with parameters and a length.
_COMMAND: Final = re.compile(r"%%|%[A-Z][A-Z0-9_]*(\(.*?\))?(:[0-9]+)?%", re.DOTALL)


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def one_line(text: Any, where: str, found: Complaints) -> None:
    """A text of a request's or an answer's head: without line breaks and NUL."""
    if isinstance(text, str) and re.search(r"[\0\r\n]", text):
        found.wrong(f"{where} {text[:_SHOWN]!r} must not contain line breaks or NUL")


def header_name(name: str, where: str, found: Complaints) -> None:
    """A header's name, wherever one is written."""
    one_line(name, where, found)
    if _size(name) > _LONGEST_HEADER:
        found.wrong(f"{where} is longer than {_LONGEST_HEADER} bytes")


def header_operations(headers: Spec, found: Complaints) -> None:
    """``headers`` of a route or a destination: names and values that are set, added or removed."""
    for side in ("request", "response"):
        rule = headers.get(side) or {}
        for operation in ("set", "add"):
            where = f"headers.{side}.{operation}"
            for name, value in (rule.get(operation) or {}).items():
                header_name(name, f"{where}: name", found)
                _value(value, f'{where}["{name[:_SHOWN]}"]', found)
        for name in rule.get("remove") or ():
            header_name(name, f"headers.{side}.remove: name", found)


def _value(value: Any, where: str, found: Complaints) -> None:
    if not isinstance(value, str):
        return
    one_line(value, f"{where}: value", found)
    if _size(value) > _LONGEST_HEADER:
        found.wrong(f"{where}: value is longer than {_LONGEST_HEADER} bytes")
    if not _commands(value):
        found.wrong(
            f'{where}: in {value[:_SHOWN]!r} a "%" begins no command such as %REQ(:path)%: write "%%" for a percent sign'
        )


def _commands(value: str) -> bool:
    """Whether every percent sign begins something; over at the first that does not, so the time is linear."""
    place = value.find("%")
    while place >= 0:
        command = _COMMAND.match(value, place)
        if command is None:
            return False
        place = value.find("%", command.end())
    return True


def query_names(match: Spec, found: Complaints) -> None:
    """The names of ``queryParams``."""
    for name in match.get("queryParams") or {}:
        if not name:
            found.wrong("queryParams: name cannot be empty")
        elif _size(name) > _LONGEST_QUERY_NAME:
            found.wrong(f"queryParams: name is longer than {_LONGEST_QUERY_NAME} bytes")


def hash_names(rule: Spec, found: Complaints) -> None:
    """What ``consistentHash`` takes a request's hash from."""
    for field in ("httpHeaderName", "httpQueryParameterName"):
        if rule.get(field) == "":
            found.wrong(f"consistentHash.{field} cannot be empty")
        elif field in rule:
            header_name(rule[field], f"consistentHash.{field}", found)


def direct_body(rule: Spec, found: Complaints) -> None:
    """The body of a ``directResponse``: it travels in every proxy's configuration."""
    body = rule.get("body")
    text = body.get("string") if isinstance(body, Mapping) else None
    size = _size(text) if isinstance(text, str) else 0
    if size > LARGEST_BODY:
        found.wrong("large direct_responses may impact control plane performance, must be less than 1MB")
    elif size > _LARGE_BODY:
        found.odd("large direct_responses may impact control plane performance")
