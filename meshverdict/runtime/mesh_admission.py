"""The mesh's part in admission: sidecars for new pods, and Istio resources refused as a real cluster does.

A rule that is silently not enforced makes a wrong verdict, so what the lab's proxies do not do is refused by field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshverdict import mesh
from meshverdict.cluster.errors import ApiError, bad_request, forbidden_field, invalid
from meshverdict.mesh.admission import GROUPS, check_identities
from meshverdict.mesh.validation import WEBHOOK_PREFIX, InvalidResourceError
from meshverdict.model.errors import UnsupportedError
from meshverdict.runtime.mesh_snapshot import snapshot
from meshverdict.runtime.sidecar_injection import injected, wants_sidecar

if TYPE_CHECKING:
    from meshverdict.cluster.store import Manifest, Store


class MeshWebhook:
    """A `cluster.webhooks.Webhook`.

    Args:
        store: Where namespaces and the rest of the mesh are read.
        everywhere: Inject into all of the lab's own namespaces.
    """

    def __init__(self, store: Store, *, everywhere: bool) -> None:
        self._store = store
        self._everywhere = everywhere

    def mutate(self, resource: str, obj: Manifest) -> Manifest:
        """A new pod with its sidecar, where it gets one.

        Raises:
            ApiError: 422: an annotation that the lab does not follow.
        """
        if resource != "pods":
            return obj
        namespace = self._store.get("namespaces", None, obj["metadata"].get("namespace") or "")
        if namespace is None or not wants_sidecar(obj, namespace, everywhere=self._everywhere):
            return obj
        try:
            return injected(obj)
        except UnsupportedError as error:
            name = obj["metadata"].get("name") or ""
            raise invalid("Pod", "", name, [forbidden_field(error.field, error.reason)]) from error

    def check(self, resource: str, obj: Manifest) -> None:
        """Refuse an Istio resource that a real cluster refuses, or that would not be enforced.

        Raises:
            ApiError: 400 or 422 with the words of whoever refuses it there.
        """
        group = _group(resource)
        if group not in GROUPS:
            return
        name = obj["metadata"].get("name") or ""
        try:
            mesh.check(obj)
            if obj["kind"] == "AuthorizationPolicy":
                check_identities(obj, snapshot(self._store))
        except UnsupportedError as error:
            raise invalid(obj["kind"], group, name, [forbidden_field(error.field, error.reason)]) from error
        except InvalidResourceError as error:
            raise _refusal(error, obj["kind"], group, name) from error

    def warnings(self, resource: str, obj: Manifest) -> list[str]:
        """What Istio's webhook warns of."""
        return mesh.warnings(obj) if _group(resource) in GROUPS else []


def _group(resource: str) -> str:
    return resource.partition(".")[2]


def _refusal(error: InvalidResourceError, kind: str, group: str, name: str) -> ApiError:
    if error.answer == "decoder":
        return bad_request(error.text)
    if error.answer == "webhook":
        return ApiError(400, "", WEBHOOK_PREFIX + error.text)
    required = error.text.startswith("Required value")
    cause = {
        "reason": "FieldValueRequired" if required else "FieldValueInvalid",
        "message": error.text,
        "field": error.field,
    }
    details: dict[str, Any] = {"name": name, "group": group, "kind": kind, "causes": [cause]}
    message = f'{kind}.{group} "{name}" is invalid: {error.field}: {error.text}'
    return ApiError(422, "Invalid", message, details)
