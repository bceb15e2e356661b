"""The only writer of the store: creates, updates and deletes as Kubernetes does.

    request or controller -> Objects: admit, default, complete, validate, own -> Store -> watches

Used alike by the HTTP API, the controllers' runner and the kubelet. Objects that come in are never changed, and
what goes out is the stored object, which nobody may change.
"""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from meshverdict.cluster import admission, checks, deletion, strategies
from meshverdict.cluster import errors as refuse
from meshverdict.cluster.custom import CustomResources
from meshverdict.cluster.defaults import defaulted
from meshverdict.cluster.errors import ApiError, FieldError
from meshverdict.cluster.events import EventRecorder
from meshverdict.cluster.kinds import Kind, Kinds
from meshverdict.cluster.managed import Author, track
from meshverdict.cluster.random_names import random_suffix
from meshverdict.cluster.schema import Node, definitions
from meshverdict.cluster.service_ips import Addresses, ServiceIps
from meshverdict.cluster.store import Manifest, Store
from meshverdict.cluster.validation import validate, validate_update
from meshverdict.cluster.webhooks import Webhook
from meshverdict.network.addresses import ServiceAddresses

NAMESPACES: Final = "namespaces"
# `Objects.list` hides the built-in name in the class's annotations.
Errors = list[FieldError]
Entries = list[Any]
Manifests = list[Manifest]
Webhooks = list[Webhook]
Texts = list[str]
CRDS: Final = "customresourcedefinitions.apiextensions.k8s.io"
_NAME_ATTEMPTS: Final = 8
_PROTECTED: Final = frozenset({"default", "kube-system", "kube-public"})


@dataclass(frozen=True, slots=True)
class Write:
    """How a write is done.

    Attributes:
        manager: The field manager.
        dry_run: Do everything but store.
        subresource: ``""``, ``status`` or ``scale``.
        trusted: A part of the lab writes: it may set what clients may not (a namespace's finalizers).
    """

    manager: str
    dry_run: bool = False
    subresource: str = ""
    trusted: bool = False


class Objects:
    """The objects of one cluster.

    Args:
        store: Where they are kept; nobody else writes it.
        addresses: ClusterIPs to give out; by default those of the lab's Service range.
        clock: Unix seconds.
    """

    def __init__(
        self,
        store: Store,
        *,
        addresses: Addresses | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.kinds = Kinds()
        self.clock = clock
        self.custom = CustomResources(self.kinds)
        self._ips = ServiceIps(addresses or ServiceAddresses())
        self._recorder = EventRecorder(self)
        self.webhooks: Webhooks = []

    # ---- reading

    def get(self, resource: str, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None."""
        return self.store.get(resource, namespace, name)

    def list(self, resource: str, namespace: str | None = None) -> Manifests:
        """All objects, of one namespace if given, ordered by namespace and name."""
        return self.store.list(resource, namespace)

    def kind(self, resource: str) -> Kind:
        """The kind of a group resource.

        Raises:
            ApiError: 404.
        """
        kind = self.kinds.of_resource(resource)
        if kind is None:
            raise refuse.no_such_resource()
        return kind

    def node(self, kind: Kind) -> Node:
        """The schema of a kind."""
        if kind.definition:
            return definitions().node(kind.definition)
        return self.custom.node(kind)

    def now(self) -> str:
        """The time as objects carry it: RFC 3339, whole seconds."""
        return timestamp(self.clock())

    # ---- creating

    def create(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Create an object.

        Raises:
            ApiError: Refused; with Kubernetes' code, reason and message.
        """
        return self.create_with(resource, obj, Write(manager, trusted=True))

    def create_with(self, resource: str, obj: Manifest, write: Write) -> Manifest:
        """Create an object, as `write` says.

        Raises:
            ApiError: Refused.
        """
        kind = self.kind(resource)
        meta = obj.get("metadata") or {}
        if meta.get("resourceVersion"):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        checks.namespace(self.store, kind, meta)
        if meta.get("name") or not meta.get("generateName"):
            return self._create_named(kind, obj, meta, write)
        for _ in range(_NAME_ATTEMPTS):
            named = {**meta, "name": f"{meta['generateName'][:58]}{random_suffix()}"}
            if self.store.get(resource, meta.get("namespace"), named["name"]) is None:
                return self._create_named(kind, obj, named, write)
        raise refuse.already_exists(kind.plural, kind.group, meta["generateName"])

    def _create_named(self, kind: Kind, obj: Manifest, meta: Manifest, write: Write) -> Manifest:
        name, namespace = meta.get("name") or "", meta.get("namespace")
        uid = str(uuid.uuid4())
        own = strategies.bare_meta(meta) | {"uid": uid, "creationTimestamp": self.now()}
        if strategies.has_generation(kind):
            own["generation"] = 1
        new = {"kind": kind.kind, "apiVersion": kind.api_version, **obj, "metadata": own}
        if "kind" in obj:
            new |= {"kind": kind.kind, "apiVersion": kind.api_version}
        new = strategies.without_status(kind, new)
        for webhook in self.webhooks:
            new = webhook.mutate(kind.resource, new)
        new = strategies.completed(kind, self._defaulted(kind, new), uid)
        if kind.resource == "pods":
            new = checks.with_account(self.store, new)
        self._check(kind, new, self._errors(kind, new))
        self._admit(kind, new)
        if self.store.get(kind.resource, namespace, name) is not None:
            raise refuse.already_exists(kind.plural, kind.group, name)
        if not write.trusted:
            self.store.require_room(new)
        if kind.resource == "services":
            new = self._ips.assign(new)
        author = self._author(kind, write)
        managed = meta.get("managedFields") if write.subresource == "apply" else None
        new["metadata"] = {
            **new["metadata"],
            "managedFields": managed or track(None, new, self.node(kind), author),
        }
        if write.dry_run:
            if kind.resource == "services":
                self._ips.release(new)
            return new
        made = self.store.create(kind.resource, new)
        return self._after(kind, made)

    def _defaulted(self, kind: Kind, obj: Manifest) -> Manifest:
        if kind.crd_version is not None:
            return self.custom.defaulted(kind, obj)
        return defaulted(kind.resource, obj)

    def _errors(self, kind: Kind, obj: Manifest) -> Errors:
        errors = validate(kind.resource, obj, namespaced=kind.namespaced)
        return errors + self.custom.errors(kind, obj) if kind.crd_version is not None else errors

    def _check(self, kind: Kind, obj: Manifest, errors: Errors) -> None:
        if errors:
            raise refuse.invalid(kind.kind, kind.group, obj["metadata"].get("name") or "", errors)

    def _admit(self, kind: Kind, obj: Manifest) -> None:
        admission.check(kind.kind, kind.group, kind.resource, obj)
        for webhook in self.webhooks:
            webhook.check(kind.resource, obj)

    def warnings(self, resource: str, obj: Manifest) -> Texts:
        """What the author of an accepted object should know, for Warning headers."""
        found = admission.warnings(resource, obj)
        return found + [text for webhook in self.webhooks for text in webhook.warnings(resource, obj)]

    def _author(self, kind: Kind, write: Write) -> Author:
        return Author(write.manager, kind.api_version, self.now(), _OWNERSHIP.get(write.subresource, ""))

    def _after(self, kind: Kind, made: Manifest) -> Manifest:
        """What follows a stored write; custom resource definitions change what this API serves."""
        if kind.resource != CRDS:
            return made
        settled = self.custom.settled(made, self.now())
        if settled != made:
            self.store.update(CRDS, settled)
        self.custom.refresh(self.store.list(CRDS))
        return made

    # ---- updating

    def update(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Replace metadata and spec; the status stays. With a resourceVersion, only if it is current.

        Raises:
            ApiError: Refused.
        """
        return self.update_with(resource, obj, Write(manager, trusted=True))

    def update_status(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Replace the status; all else of *obj* is ignored.

        Raises:
            ApiError: Refused.
        """
        return self.update_with(resource, obj, Write(manager, subresource="status", trusted=True))

    def update_with(self, resource: str, obj: Manifest, write: Write) -> Manifest:
        """Replace an object, or its status, as `write` says.

        Raises:
            ApiError: Refused.
        """
        kind = self.kind(resource)
        meta = obj["metadata"]
        old = self.store.get(resource, meta.get("namespace"), meta["name"])
        if old is None:
            raise refuse.not_found(kind.plural, kind.group, meta["name"])
        checks.current(kind, meta, old["metadata"])
        new = self._replacing(kind, obj, old, write)
        if write.subresource == "status":
            self._check(kind, new, [])
        else:
            self._check(kind, new, self._update_errors(kind, new, old))
            self._admit(kind, new)
        if resource == "services" and not write.subresource:
            new = self._ips.change(new, old)
        return self._replace(kind, new, old, write, managed=meta.get("managedFields"))

    def _replacing(self, kind: Kind, obj: Manifest, old: Manifest, write: Write) -> Manifest:
        """The object that is to be stored, defaults filled in, before it is validated."""
        before = old["metadata"]
        if write.subresource == "status":
            new = strategies.only_status(obj, old)
            if not write.trusted:
                keys = ("labels", "annotations")
                asked = {k: obj["metadata"][k] for k in keys if k in obj["metadata"]}
                new = {**new, "metadata": {**before, **asked} if asked else before}
            return new
        system = {k: before[k] for k in ("uid", "resourceVersion", "creationTimestamp") if k in before}
        for key in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"):
            if key in before:
                system[key] = before[key]
        new = {**obj, "metadata": strategies.bare_meta(obj["metadata"]) | system}
        new = strategies.keep_status(kind, new, old)
        if kind.resource == NAMESPACES and not write.trusted:
            new["spec"] = old.get("spec") or {}
        new = self._defaulted(kind, new)
        if kind.resource == "services":
            new = self._ips.keep(new, old)
        new = strategies.carried(kind, new, old)
        number = strategies.generation(kind, new, old)
        if number:
            new["metadata"] = {**new["metadata"], "generation": number}
        return new

    def _update_errors(self, kind: Kind, new: Manifest, old: Manifest) -> Errors:
        errors = validate_update(kind.resource, new, old, namespaced=kind.namespaced)
        if kind.crd_version is not None:
            errors += self.custom.errors(kind, new, old)
        return errors

    def _replace(
        self, kind: Kind, new: Manifest, old: Manifest, write: Write, managed: Entries | None
    ) -> Manifest:
        before = old["metadata"]
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": before["resourceVersion"]}}
        applied = write.subresource == "apply"
        if applied:
            new["metadata"]["managedFields"] = managed
        elif before.get("managedFields"):
            new["metadata"]["managedFields"] = before["managedFields"]
        if new == old:
            return old  # nothing changed: no new revision, no event
        if not applied:
            author = self._author(kind, write)
            # An empty list is how clients reset ownership.
            entries = [] if managed == [{}] else track(old, new, self.node(kind), author)
            new["metadata"]["managedFields"] = entries
        if not new["metadata"].get("managedFields"):
            new["metadata"].pop("managedFields", None)
        if write.dry_run:
            return new
        if deletion.finished(kind.resource, new):
            self._gone(kind, new)
            return new
        if not write.trusted:
            self.store.require_room(new, old)
        return self._after(kind, self.store.update(kind.resource, new))

    # ---- deleting

    def delete(
        self,
        resource: str,
        namespace: str | None,
        name: str,
        *,
        grace: int | None = None,
        propagation: str = "Background",
        uid: str | None = None,
        manager: str,
    ) -> None:
        """Delete an object, or begin to; *uid* must match if given.

        Raises:
            ApiError: It is not there, or it is another one.
        """
        del manager
        choice: deletion.Propagation | None = None
        if propagation in {"Foreground", "Orphan"}:
            choice = "Foreground" if propagation == "Foreground" else "Orphan"
        self.delete_with(resource, namespace, name, grace=grace, propagation=choice, uid=uid)

    def delete_with(
        self,
        resource: str,
        namespace: str | None,
        name: str,
        *,
        grace: int | None = None,
        propagation: deletion.Propagation | None = None,
        uid: str | None = None,
        version: str | None = None,
        dry_run: bool = False,
    ) -> deletion.Decision:
        """Delete an object, or begin to; answers what was done.

        Raises:
            ApiError: It is not there, or a precondition does not hold.
        """
        kind = self.kind(resource)
        obj = self.store.get(resource, namespace, name)
        if obj is None:
            raise refuse.not_found(kind.plural, kind.group, name)
        checks.preconditions(kind, obj, uid, version)
        if resource == NAMESPACES and name in _PROTECTED:
            raise refuse.forbidden(NAMESPACES, "", name, "this namespace may not be deleted")
        seconds = deletion.effective_grace(resource, obj, grace)
        decision = deletion.decide(
            resource,
            obj,
            now=self.now(),
            later=timestamp(self.clock() + seconds),
            grace=seconds,
            propagation=propagation,
        )
        if dry_run:
            return decision
        if decision.do == "mark":
            stored = self.store.update(resource, decision.obj)
            return deletion.Decision("mark", stored)
        if decision.do == "remove":
            return deletion.Decision("remove", self._gone(kind, decision.obj))
        return decision

    def _gone(self, kind: Kind, last: Manifest) -> Manifest:
        meta = last["metadata"]
        removed = self.store.remove(kind.resource, meta.get("namespace"), meta["name"], last=last)
        if kind.resource == "services":
            self._ips.release(last)
        elif kind.resource == CRDS:
            for custom in self.custom.kinds_of(last):
                for obj in self.store.list(custom.resource):
                    own = obj["metadata"]
                    self.store.remove(custom.resource, own.get("namespace"), own["name"])
            self.custom.refresh(self.store.list(CRDS))
        return removed

    def finish_pod(self, namespace: str, name: str, uid: str) -> None:
        """The kubelet's last word: the pod is gone from its node. Its finalizers still hold its object."""
        pod = self.store.get("pods", namespace, name)
        if pod is not None and pod["metadata"]["uid"] == uid:
            self.delete_with("pods", namespace, name, grace=0, uid=uid)

    # ---- events

    def event(
        self,
        obj: Manifest,
        *,
        type: str,  # noqa: A002 - the API's own name
        reason: str,
        message: str,
        source: str,
        field_path: str = "",
    ) -> None:
        """Record a v1 Event about *obj*; one that repeats is counted.

        Raises:
            ApiError: The namespace is not there.
        """
        self._recorder.record(
            obj, kind=type, reason=reason, message=message, source=source, field_path=field_path
        )


_OWNERSHIP: Final = {"status": "status", "scale": "scale"}


def timestamp(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC."""
    return dt.datetime.fromtimestamp(int(seconds), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
