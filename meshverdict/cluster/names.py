"""The rules for names, labels and keys; each answers a list of problems, empty when there are none."""

from __future__ import annotations

import re
from typing import Final

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN: Final = rf"{_LABEL}(\.{_LABEL})*"
_DNS_LABEL: Final = re.compile(_LABEL)
_DNS_SUBDOMAIN: Final = re.compile(_SUBDOMAIN)
_DNS_1035: Final = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_QUALIFIED_NAME: Final = re.compile(_QUALIFIED)
_LABEL_VALUE: Final = re.compile(f"({_QUALIFIED})?")
_CONFIG_KEY: Final = re.compile("[-._a-zA-Z0-9]+")
_ENV_NAME: Final = re.compile("[-._a-zA-Z][-._a-zA-Z0-9]*")
_PORT_CHARS: Final = re.compile("[-a-z0-9]+")
_ALNUM_ENDS: Final = "start and end with an alphanumeric character"
_TAIL: Final = "regex used for validation is"

DNS_LABEL_TEXT: Final = (
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must {_ALNUM_ENDS}"
    f" (e.g. 'my-name',  or '123-abc', {_TAIL} '{_LABEL}')"
)
DNS_SUBDOMAIN_TEXT: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must"
    f" {_ALNUM_ENDS} (e.g. 'example.com', {_TAIL} '{_SUBDOMAIN.replace(chr(92), chr(92))}')"
)
DNS_1035_TEXT: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
    f"{_TAIL} '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_TEXT: Final = (
    f"name part must consist of alphanumeric characters, '-', '_' or '.', and must {_ALNUM_ENDS}"
    f" (e.g. 'MyName',  or 'my.name',  or '123-abc', {_TAIL} '{_QUALIFIED}')"
)
_LABEL_VALUE_TEXT: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must"
    f" {_ALNUM_ENDS} (e.g. 'MyValue',  or 'my_value',  or '12345', {_TAIL} '({_QUALIFIED})?')"
)
_CONFIG_KEY_TEXT: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    f"'KEY_NAME',  or 'key-name', {_TAIL} '[-._a-zA-Z0-9]+')"
)


def max_length(limit: int) -> str:
    """The text for a string that is too long."""
    return f"must be no more than {limit} characters"


def dns_label_problems(value: str) -> list[str]:
    """RFC 1123 label: names of namespaces, containers, volumes."""
    problems = [max_length(63)] if len(value) > 63 else []
    return problems if _DNS_LABEL.fullmatch(value) else [*problems, DNS_LABEL_TEXT]


def dns_subdomain_problems(value: str) -> list[str]:
    """RFC 1123 subdomain: names of most objects."""
    problems = [max_length(253)] if len(value) > 253 else []
    return problems if _DNS_SUBDOMAIN.fullmatch(value) else [*problems, DNS_SUBDOMAIN_TEXT]


def dns_1035_problems(value: str) -> list[str]:
    """RFC 1035 label: begins with a letter."""
    problems = [max_length(63)] if len(value) > 63 else []
    return problems if _DNS_1035.fullmatch(value) else [*problems, DNS_1035_TEXT]


def path_segment_problems(value: str) -> list[str]:
    """Names of RBAC objects: anything that can stand between two slashes of a URL."""
    if value in {".", ".."}:
        return [f"may not be '{value}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in value]


def qualified_name_problems(value: str) -> list[str]:
    """A label key: ``[prefix/]name``."""
    parts = value.split("/")
    if len(parts) > 2:
        text = (
            "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must "
            f"{_ALNUM_ENDS} (e.g. 'MyName',  or 'my.name',  or '123-abc', {_TAIL} '{_QUALIFIED}') "
            "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )
        return [text]
    problems: list[str] = []
    if len(parts) == 2:
        if not parts[0]:
            problems.append("prefix part must be non-empty")
        else:
            problems += [f"prefix part {text}" for text in dns_subdomain_problems(parts[0])]
    name = parts[-1]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 bytes")
    if not _QUALIFIED_NAME.fullmatch(name):
        problems.append(_QUALIFIED_TEXT)
    return problems


def label_value_problems(value: str) -> list[str]:
    """A label's value."""
    problems = ["must be no more than 63 bytes"] if len(value) > 63 else []
    return problems if _LABEL_VALUE.fullmatch(value) else [*problems, _LABEL_VALUE_TEXT]


def config_key_problems(value: str) -> list[str]:
    """A key of a ConfigMap or Secret: it becomes a file name."""
    problems = [max_length(253)] if len(value) > 253 else []
    if not _CONFIG_KEY.fullmatch(value):
        problems.append(_CONFIG_KEY_TEXT)
    if value in {".", ".."}:
        problems.append(f"must not be '{value}'")
    elif value.startswith(".."):
        problems.append("must not start with '..'")
    return problems


def env_name_problems(value: str) -> list[str]:
    """A variable's name: printable ASCII without ``=``."""
    if value and all(" " <= c <= "~" and c != "=" for c in value):
        return []
    return [
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
    ]


def port_name_problems(value: str) -> list[str]:
    """An IANA service name."""
    problems = []
    if len(value) > 15:
        problems.append(max_length(15))
    if not _PORT_CHARS.fullmatch(value):
        problems.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not any("a" <= c <= "z" for c in value):
        problems.append("must contain at least one letter (a-z)")
    if "--" in value:
        problems.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        problems.append("must not begin or end with a hyphen")
    return problems


def port_number_problems(value: int) -> list[str]:
    """A TCP or UDP port."""
    return [] if 1 <= value <= 65535 else ["must be between 1 and 65535, inclusive"]
