"""The forms in which callers can be kept in their zone, each a file of manifests: plain Kubernetes', and the mesh's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from meshverdict.chaos.manifests import read_manifests
from meshverdict.model.errors import UsageError

FORMS: Final = (
    "same-zone",
    "same-zone-shards",
    "prefer-close",
    "strict",
    "distribute",
    "failover",
    "labels",
    "labels-http",
)
NONE: Final = "none"
# Fields of a Service by which a form keeps callers in their zone, and what they are without it.
FIELDS: Final = {"trafficDistribution": None, "internalTrafficPolicy": "Cluster"}


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


def without(service: dict[str, Any]) -> dict[str, Any]:
    """The fields that a form sets in a Service, as they are without the form."""
    return {key: value for key, value in FIELDS.items() if key in service["spec"]}


def within(service: dict[str, Any]) -> dict[str, Any]:
    """The fields that a form sets in a Service."""
    return {key: service["spec"][key] for key in FIELDS if key in service["spec"]}
