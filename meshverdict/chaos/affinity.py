"""The forms in which callers can be kept in their zone, each a file of manifests: plain Kubernetes', and the mesh's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from meshverdict.chaos.manifests import read_manifests
from meshverdict.model.errors import UsageError

FORMS: Final = ("same-zone", "prefer-close", "distribute", "failover", "labels", "labels-http")
NONE: Final = "none"


def policy_file(manifests: str, form: str) -> Path:
    """The file of a form of affinity.

    Raises:
        UsageError: There is no such form.
    """
    if form not in FORMS:
        raise UsageError(f"affinity {form!r}: one of {', '.join((NONE, *FORMS))}")
    return Path(manifests) / "policies" / f"az-{form}.yaml"


def objects_of(manifests: str, form: str) -> list[dict[str, Any]]:
    """The objects that a form makes or, where it is a Service, changes; nothing for "none"."""
    return [] if form == NONE else read_manifests(policy_file(manifests, form))
