"""What a controller may ask for: values, so that a plan can be compared with an expectation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from meshverdict.cluster.store import Manifest

Manifests = list[Manifest]
Dependents = list[tuple[str, Manifest]]  # with their resources
Key = tuple[str, str]  # namespace ("" for cluster-scoped) and name
BURST: Final = 64  # creations or deletions in one plan, so that other objects have their turn


@dataclass(frozen=True, slots=True)
class Emit:
    """Record a v1 Event about *obj*."""

    obj: Manifest
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Create:
    """Create *obj*. *event* is recorded afterwards, with ``{name}`` in its message filled in.

    With *event*, a refusal is recorded as a Warning ``FailedCreate`` about the same object.
    """

    resource: str
    obj: Manifest
    event: Emit | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Replace metadata and spec."""

    resource: str
    obj: Manifest


@dataclass(frozen=True, slots=True)
class UpdateStatus:
    """Replace the status; the rest of *obj* is ignored."""

    resource: str
    obj: Manifest


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one object if it still has this *uid*; *grace* in seconds, None for the object's own."""

    resource: str
    namespace: str
    name: str
    uid: str
    grace: int | None = None
    propagation: Literal["Background", "Foreground", "Orphan"] = "Background"


@dataclass(frozen=True, slots=True)
class Requeue:
    """Plan this object again after *seconds*."""

    seconds: float


Change = Create | Update | UpdateStatus | Delete | Emit | Requeue


class View(Protocol):
    """The objects as they are, read only. Lists are in no particular order unless said otherwise."""

    def get(self, resource: str, namespace: str | None, name: str) -> Manifest | None:
        """One object, or None."""

    def list(self, resource: str, namespace: str | None = None) -> Manifests:
        """All objects of a resource, of one namespace if given."""

    def find(self, uid: str) -> tuple[str, Manifest] | None:
        """The object with this uid and its resource, or None."""

    def owned(self, resource: str, uid: str) -> Manifests:
        """Objects whose controller is *uid*."""

    def orphans(self, resource: str, namespace: str) -> Manifests:
        """Objects of the namespace without a controller."""

    def dependents(self, uid: str) -> Dependents:
        """Objects of any resource that name *uid* among their owners, with their resource."""

    def pods_on(self, node: str) -> Manifests:
        """Pods bound to *node*; ``""`` for pods that have no node yet."""

    def contents(self, namespace: str) -> dict[str, Manifests]:
        """Everything in a namespace, by resource; no empty lists."""


Plan = Callable[[View, Manifest, float], list[Change]]
Mapper = Callable[[View, Manifest], Iterable[Key]]


@dataclass(frozen=True, slots=True)
class Controller:
    """A plan and what wakes it.

    Args:
        name: As in event sources: ``deployment-controller``.
        manager: The field manager of its writes.
        resource: What it plans for. None: it plans once for everything, with an empty object.
        watches: For every other resource that matters, the keys that a changed object wakes.
            ``"*"`` means all resources.
        find: The object of a key, where that is not simply ``view.get(resource, *key)``.
        gone: The plan for a key whose object is not there (any more).
    """

    name: str
    manager: str
    resource: str | None
    plan: Plan
    watches: Mapping[str, Mapper] = field(default_factory=dict)
    find: Callable[[View, Key], Manifest | None] | None = None
    gone: Callable[[View, Key, float], list[Change]] | None = None
