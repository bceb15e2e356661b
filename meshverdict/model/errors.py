"""The errors a person may see: each names what was wrong, in which object, and the way out.

The command line turns them into a message and an exit code; nothing else in the package
calls ``sys.exit``. Exit codes (design: interfaces): 0 holds, 1 deviates or differs,
2 usage, 3 could not measure.
"""

from __future__ import annotations

EXIT_HOLDS = 0
EXIT_DEVIATES = 1
EXIT_USAGE = 2
EXIT_INVALID = 3


class MeshverdictError(Exception):
    """Something a person can mend; the message says how."""

    exit_code = EXIT_INVALID


class UsageError(MeshverdictError):
    """The command, a file or an option is wrong."""

    exit_code = EXIT_USAGE


class LabError(MeshverdictError):
    """The embedded lab could not do what was asked (not up, port taken, no user namespaces...)."""


class UnsupportedError(MeshverdictError):
    """A manifest asks for something that the embedded lab cannot enforce, so it is refused.

    Args:
        field: Path of the field, as Kubernetes writes it: ``spec.ingress[0].ports[1].endPort``.
        reason: What cannot be done, and the way out.
    """

    exit_code = EXIT_USAGE

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class RecordError(MeshverdictError):
    """A record, journal or run folder cannot be read as what it claims to be."""
