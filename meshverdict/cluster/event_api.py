"""Events in their two APIs: stored as v1, shown and taken as events.k8s.io/v1 too. Pure."""

from __future__ import annotations

from meshverdict.cluster.store import Manifest

_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_BACK = {new: old for old, new in _RENAMED.items()}


def to_events_api(event: Manifest) -> Manifest:
    """A v1 Event as events.k8s.io/v1."""
    shown = {_RENAMED.get(key, key): value for key, value in event.items()}
    shown.setdefault("eventTime", None)
    return shown | {"apiVersion": "events.k8s.io/v1"}


def from_events_api(event: Manifest) -> Manifest:
    """An events.k8s.io/v1 Event as v1."""
    stored = {_BACK.get(key, key): value for key, value in event.items()}
    return stored | {"apiVersion": "v1"}
