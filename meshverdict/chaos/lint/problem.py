"""One thing that is wrong with an experiment, as a person and a program read it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what to do.

    Attributes:
        file: The file as it was named.
        line: Line in the file, from 1.
        path: Place in the document, such as ``steady-state-hypothesis.probes[1].tolerance``; empty for the
            document itself.
        severity: ``error``: the experiment cannot run, or not mean what it says; ``warning``: look at it.
        id: Stable name of the rule.
        what: What is wrong.
        fix: The way out.
    """

    file: str
    line: int
    path: str
    severity: Severity
    id: str
    what: str
    fix: str

    def __str__(self) -> str:
        where = f" {self.path}:" if self.path else ""
        return (
            f"{self.file}:{self.line}: {self.severity}:{where} {self.what} [{self.id}]\n    fix: {self.fix}"
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON: the attributes by their names."""
        return asdict(self)
