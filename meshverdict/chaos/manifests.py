"""Manifests from files into a cluster and out again; chaosk8s's own apply fails with today's client."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from meshverdict.chaos.cluster import TIMEOUT_S, KubeAccess
from meshverdict.model.errors import LabError
from meshverdict.model.manifest_files import Manifest, read_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Manifest"]
T = TypeVar("T")
_GONE_TIMEOUT_S = 60.0
_CONFLICTS_S = 10.0
ACCOUNT_TIMEOUT_S = 30.0
FORBIDDEN = 403
NOT_FOUND = 404
CONFLICT = 409


def read_manifests(path: Path) -> list[Manifest]:
    """The objects of a file, or of all files of a folder, for an activity: chaosk8s knows the version of a policy.

    Raises:
        UsageError: There is no such file, it cannot be parsed, or it holds something that is no object.
    """
    return read_files(path, versioned=False)


def until_account(create: Callable[[], T], *, patience_s: float = ACCOUNT_TIMEOUT_S) -> T:
    """Create a pod; a namespace that was made a moment ago has no default ServiceAccount yet, so try again.

    Raises:
        ApiException: The server refuses it for another reason, or for longer than *patience_s*.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return create()
        except ApiException as error:
            if not _is_early(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _is_early(error: ApiException) -> bool:
    """Whether a refusal is only about the moment."""
    said = str(error.body or "")
    return error.status == FORBIDDEN and "service account" in said and "not found" in said


def named(manifest: Mapping[str, Any], namespace: str | None = None) -> str:
    """How messages name an object: ``NetworkPolicy d-redis/isolate-namespace``."""
    metadata = manifest.get("metadata") or {}
    where = metadata.get("namespace") or namespace
    return f"{manifest.get('kind')} {where + '/' if where else ''}{metadata.get('name')}"


class Objects:
    """Any kind of object in one cluster.

    Args:
        access: The cluster. scratch: A folder of this run alone; what the cluster knows is remembered
        there, not in the library's file
            under /tmp, which would outlive the lab.
    """

    def __init__(self, access: KubeAccess, scratch: Path) -> None:
        self._client = DynamicClient(access.api, cache_file=str(scratch / "discovery.json"))  # type: ignore[no-untyped-call]

    def _resource(self, manifest: Mapping[str, Any]) -> Any:
        try:
            return self._client.resources.get(
                api_version=manifest.get("apiVersion"), kind=manifest.get("kind")
            )
        except ResourceNotFoundError as error:
            raise LabError(
                f"{named(manifest)}: the cluster does not know {manifest.get('apiVersion')}; install its"
                " definition first"
            ) from error

    def knows(self, manifest: Mapping[str, Any]) -> bool:
        """Whether the cluster knows the kind: where it does not, nothing of it can be there."""
        try:
            self._resource(manifest)
        except LabError:
            return False
        return True

    def exists(self, manifest: Mapping[str, Any], namespace: str | None = None) -> bool:
        """Whether an object of that name is there."""
        return self.get(manifest, namespace) is not None

    def get(self, manifest: Mapping[str, Any], namespace: str | None = None) -> Manifest | None:
        """The object of that kind and name as it is now; None when there is none."""
        name, where = _address(manifest, namespace)
        try:
            found = self._resource(manifest).get(name=name, namespace=where, _request_timeout=TIMEOUT_S)
        except ApiException as error:
            if error.status == NOT_FOUND:
                return None
            raise
        value: Manifest = found.to_dict()
        return value

    def restore(self, manifest: Mapping[str, Any], namespace: str | None = None) -> None:
        """Bring an object to exactly this form, whatever it is now; one that is gone is made anew.

        Controllers write to the object, its status for one, at the same time: a conflict with them is tried again.

        Raises:
            ApiException: The cluster refuses it, or its conflicts do not end within seconds.
        """
        deadline = time.monotonic() + _CONFLICTS_S
        while True:
            found = self.get(manifest, namespace)
            if found is None:
                self.apply(manifest, namespace)
                return
            _, where = _address(manifest, namespace)
            version = {"resourceVersion": found["metadata"]["resourceVersion"]}
            body = {**manifest, "metadata": {**manifest["metadata"], **version}}
            try:
                self._resource(manifest).replace(body=body, namespace=where, _request_timeout=TIMEOUT_S)
            except ApiException as error:
                if error.status not in (CONFLICT, NOT_FOUND) or time.monotonic() > deadline:
                    raise
            else:
                return

    def apply(self, manifest: Mapping[str, Any], namespace: str | None = None) -> None:
        """Create the object, or bring an existing one to this form."""
        name, where = _address(manifest, namespace)
        resource = self._resource(manifest)
        try:
            until_account(
                partial(resource.create, body=dict(manifest), namespace=where, _request_timeout=TIMEOUT_S)
            )
        except ApiException as error:
            if error.status != CONFLICT:
                raise
            resource.patch(
                name=name,
                body=dict(manifest),
                namespace=where,
                content_type="application/merge-patch+json",
                _request_timeout=TIMEOUT_S,
            )

    def delete(self, manifest: Mapping[str, Any], namespace: str | None = None) -> bool:
        """Delete the object and wait until it is gone; False when it was not there.

        Raises:
            LabError: It does not go away.
        """
        if not self.knows(manifest):
            return False
        name, where = _address(manifest, namespace)
        try:
            self._resource(manifest).delete(name=name, namespace=where, _request_timeout=TIMEOUT_S)
        except ApiException as error:
            if error.status == NOT_FOUND:
                return False
            raise
        deadline = time.monotonic() + _GONE_TIMEOUT_S
        while self.exists(manifest, namespace):
            if time.monotonic() > deadline:
                raise LabError(f"{named(manifest, namespace)} does not go away; look for its finalizers")
            time.sleep(0.05)
        return True


def _address(manifest: Mapping[str, Any], namespace: str | None) -> tuple[str, str | None]:
    metadata = manifest.get("metadata") or {}
    return str(metadata.get("name")), metadata.get("namespace") or namespace
