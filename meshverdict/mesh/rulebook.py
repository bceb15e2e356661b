"""What the validators share: the collected complaints, and the checks of names that several kinds have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshverdict.mesh import durations
from meshverdict.model.regex import RegexError, compiled

Spec = Mapping[str, Any]

LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_WILDCARD: Final = re.compile(r"(\*|(\*-)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)")
_LONGEST: Final = 1024


@dataclass
class Complaints:
    """What is wrong (the resource is refused) and what is odd (its author is warned)."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def wrong(self, text: str) -> None:
        """Add an error."""
        self.errors.append(text)

    def odd(self, text: str) -> None:
        """Add a warning."""
        self.warnings.append(text)

    def domain(self, name: str) -> None:
        """A host: DNS labels, the first may be a wildcard."""
        if not name:
            return self.wrong("empty domain name not allowed")
        if len(name) > 255:
            return self.wrong(f'domain name "{name}" too long (max 255)')
        first, *others = name.rstrip(".").split(".")
        if not _WILDCARD.fullmatch(first.lower()):
            return self.wrong(f'domain name "{name}" invalid (label "{first}" invalid)')
        for label in others:
            if not LABEL.fullmatch(label.lower()):
                return self.wrong(f'domain name "{".".join(others)}" invalid (label "{label}" invalid)')
        return None

    def port(self, number: Any) -> None:
        """A port number."""
        if not isinstance(number, int) or not 1 <= number <= 65535:
            self.wrong(f"port number {number} must be in the range 1..65535")

    def regex(self, text: str, where: str) -> None:
        """A regular expression that Envoy (RE2) takes."""
        if not text:
            return self.wrong(f'"{where}": regex string match should not be empty')
        if len(text) > _LONGEST:
            return self.wrong(f'"{where}": regex is too large, max length allowed is {_LONGEST}')
        try:
            compiled(text)
        except RegexError as error:
            advice = "Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"
            self.wrong(f'"{where}": {error}; {advice}')
        return None

    def match(self, rule: Any, where: str) -> None:
        """A string match."""
        if isinstance(rule, Mapping) and "regex" in rule:
            self.regex(rule["regex"], where)
        elif isinstance(rule, Mapping) and rule.get("prefix") == "":
            self.wrong(f'"{where}": prefix string match should not be empty')

    def subset(self, name: str) -> None:
        """A subset's name."""
        if not name:
            self.wrong("subset name cannot be empty")
        elif not LABEL.fullmatch(name):
            self.wrong(f"subset name is invalid: {name}")

    def selector(self, labels: Mapping[str, str]) -> None:
        """A workload selector's labels."""
        for key, value in labels.items():
            if not key:
                self.wrong(f'empty key is not supported in selector: "{key}={value}"')
            if "*" in key or "*" in str(value):
                self.wrong(f'wildcard is not supported in selector: "{key}={value}"')

    def export_to(self, targets: list[str], namespace: str) -> None:
        """``exportTo``: ``*`` alone, ``.`` or names of namespaces, none twice."""
        seen: set[str] = set()
        for target in targets:
            key = namespace if target == "." else target
            if key in seen:
                self.wrong(
                    f"duplicate entries in exportTo: . and current namespace {namespace}"
                    if key != target
                    else f"duplicate entries in exportTo for entry {target}"
                )
            elif key != "*" and not LABEL.fullmatch(key):
                self.wrong(
                    f"only .,*, or a valid DNS 1123 label is allowed as exportTo entry, found {target}"
                )
            seen.add(key)
        if "*" in seen and len(targets) > 1:
            self.wrong("cannot have both public (*) and non-public exportTo values for a resource")


def is_span(text: Any, *, zero: bool = False) -> bool:
    """Whether this is a duration of at least one millisecond (or none, where *zero*)."""
    try:
        value = durations.seconds(text)
    except ValueError:
        return False
    return value * 1000 >= 1 or (zero and value == 0)
