"""Kinds that two APIs show: each is stored in one form, and changed on the way in and out. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from meshverdict.cluster.autoscaler_api import from_v1, to_v1
from meshverdict.cluster.event_api import from_events_api, to_events_api
from meshverdict.cluster.kinds import Kind
from meshverdict.cluster.store import Manifest

_FORMS: Final[
    dict[tuple[str, str], tuple[Callable[[Manifest], Manifest], Callable[[Manifest], Manifest]]]
] = {
    ("events.k8s.io/v1", "Event"): (to_events_api, from_events_api),
    ("autoscaling/v1", "HorizontalPodAutoscaler"): (to_v1, from_v1),
}


def to_shown(kind: Kind, obj: Manifest) -> Manifest:
    """A stored object as *kind* shows it; what is no object of the kind (a Status) stays as it is."""
    forms = _FORMS.get((kind.api_version, obj.get("kind") or ""))
    return forms[0](obj) if forms else obj


def to_stored(kind: Kind, obj: Manifest) -> Manifest:
    """An object that came as *kind*, as it is stored."""
    forms = _FORMS.get((kind.api_version, kind.kind))
    return forms[1](obj) if forms else obj
