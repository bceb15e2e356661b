"""Create, read, update and delete of any kind over HTTP."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from meshverdict.cluster import deletion, escalation
from meshverdict.cluster.decode import DecodeError, decode
from meshverdict.cluster.errors import ApiError, bad, bad_request, invalid, not_found, unsupported
from meshverdict.cluster.http.answers import answer
from meshverdict.cluster.http.call import Call, parse_body
from meshverdict.cluster.http.lists import page, selection
from meshverdict.cluster.http.patching import patch_object
from meshverdict.cluster.http.watch import present
from meshverdict.cluster.schema import definitions
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.tables import partial, table
from meshverdict.cluster.versions import to_stored

_DELETE_OPTIONS: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
_PROPAGATIONS: Final = ("Background", "Foreground", "Orphan")
_CREATE_ON_UPDATE: Final = frozenset(
    {
        "leases.coordination.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "events",
    }
)
_CONDITIONAL: Final = frozenset(
    {
        "leases.coordination.k8s.io",
        "poddisruptionbudgets.policy",
        "customresourcedefinitions.apiextensions.k8s.io",
    }
)


def show(call: Call, obj: Manifest, status: int = 200) -> web.Response:
    """One object in the form asked for."""
    shown: Any = present(call, obj)
    if call.form.shape == "Table":
        meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        include: Any = call.query("includeObject") or "Metadata"
        version = call.form.version
        now = call.objects.clock()
        shown = table(call.kind, [shown], meta, include=include, now=now, version=version)
    elif call.form.shape == "PartialObjectMetadata":
        shown = partial(shown, call.form.version)
    return answer(shown, status, form=call.form, warnings=call.warnings)


async def get(call: Call) -> web.Response:
    """``GET`` of one object."""
    return show(call, stored(call))


def stored(call: Call) -> Manifest:
    """The object that the URL names.

    Raises:
        ApiError: 404.
    """
    route, kind = call.route, call.kind
    obj = call.objects.get(kind.resource, route.namespace, route.name)
    if obj is None:
        raise not_found(kind.plural, kind.group, route.name)
    return obj


async def list_objects(call: Call) -> web.Response:
    """``GET`` of a collection."""
    found = page(call)
    kind = call.kind
    if call.form.shape == "Table":
        include: Any = call.query("includeObject") or "Metadata"
        items = [present(call, obj) for obj in found.items]
        version, now = call.form.version, call.objects.clock()
        shown = table(kind, items, found.meta, include=include, now=now, version=version)
        return answer(shown, form=call.form, warnings=call.warnings)
    head: dict[str, Any] = {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": found.meta}
    if call.form.shape == "PartialObjectMetadata":
        head |= {
            "kind": "PartialObjectMetadataList",
            "apiVersion": f"meta.k8s.io/{call.form.version}",
        }
        items = [partial(obj, call.form.version) for obj in found.items]
    elif kind.crd_version is not None:
        items = found.items
    else:
        # Items of a built-in list carry no kind and no version, as Go writes them.
        items = [
            {k: v for k, v in present(call, obj).items() if k not in {"kind", "apiVersion"}}
            for obj in found.items
        ]
    return answer(head | {"items": items}, form=call.form, warnings=call.warnings)


async def create(call: Call) -> web.Response:
    """``POST`` to a collection."""
    write = call.write("CreateOptions")
    obj = await call.manifest()
    _place(call, obj)
    obj = to_stored(call.kind, obj)
    escalation.check(call.objects.store, call.user, call.kind.resource, obj, None)
    made = call.objects.create_with(call.kind.resource, obj, write)
    call.warnings += call.objects.warnings(call.kind.resource, made)
    return show(call, made, 201)


def _place(call: Call, obj: Manifest) -> None:
    """Give a new object the namespace of the URL.

    Raises:
        ApiError: 400 when it names another one.
    """
    meta = obj["metadata"]
    wanted = call.route.namespace
    if call.kind.namespaced and not wanted and "create" in call.kind.verbs:
        raise ApiError(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
        )
    if meta.get("namespace") and meta["namespace"] != wanted and call.kind.namespaced:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if wanted:
        meta["namespace"] = wanted


async def update(call: Call) -> web.Response:
    """``PUT`` of one object, or of its status."""
    write = call.write("UpdateOptions", call.route.subresource)
    obj = await call.manifest()
    _named(call, obj)
    kind, route = call.kind, call.route
    old = call.objects.get(kind.resource, route.namespace, route.name)
    escalation.check(call.objects.store, call.user, kind.resource, obj, old)
    if old is None:
        if write.subresource or obj["metadata"].get("uid") or kind.resource not in _CREATE_ON_UPDATE:
            raise not_found(kind.plural, kind.group, route.name)
        call.require_create()
        made = call.objects.create_with(kind.resource, obj, write)
        return show(call, made, 201)
    obj = to_stored(kind, obj)
    _require_version(call, obj)
    made = call.objects.update_with(kind.resource, obj, write)
    call.warnings += call.objects.warnings(kind.resource, made) if not write.subresource else []
    return show(call, made)


def _require_version(call: Call, obj: Manifest) -> None:
    if obj["metadata"].get("resourceVersion"):
        return
    if call.kind.crd_version is not None or call.kind.resource in _CONDITIONAL:
        error = bad("metadata.resourceVersion", 0, "must be specified for an update")
        raise invalid(call.kind.kind, call.kind.group, call.route.name, [error])


def _named(call: Call, obj: Manifest) -> None:
    meta = obj["metadata"]
    name, wanted = meta.get("name") or "", call.route.name
    if name and name != wanted:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({wanted})")
    if not name:
        raise bad_request("name must be provided")
    _place(call, obj)


async def patch(call: Call) -> web.Response:
    """``PATCH`` of one object, or of its status."""
    made, created = await patch_object(call)
    call.warnings += call.objects.warnings(call.kind.resource, made) if not call.route.subresource else []
    return show(call, made, 201 if created else 200)


async def delete(call: Call) -> web.Response:
    """``DELETE`` of one object."""
    kind, route = call.kind, call.route
    options = await _delete_options(call)
    decision = call.objects.delete_with(kind.resource, route.namespace, route.name, **options)
    obj = decision.obj
    if decision.do == "remove" and kind.resource not in deletion.ANSWERS_OBJECT:
        details = {"name": route.name, "group": kind.group, "kind": kind.plural} | {
            "uid": obj["metadata"]["uid"]
        }
        body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        kept = {k: v for k, v in details.items() if v}
        return answer(body | {"details": kept}, form=call.form, warnings=call.warnings)
    return show(call, obj)


async def _delete_options(call: Call) -> dict[str, Any]:
    body = await call.body()
    options: Manifest = {}
    if body:
        media = call.request.headers.get("Content-Type", "application/json").partition(";")[0].strip()
        value = parse_body(body, media, "DeleteOptions")
        try:
            options = decode(value, definitions().node(_DELETE_OPTIONS)).value
        except DecodeError as error:
            text = f'DeleteOptions in version "v1" cannot be handled as a DeleteOptions: {error}'
            raise bad_request(text) from None
    grace = options.get("gracePeriodSeconds", call.integer("gracePeriodSeconds"))
    propagation = options.get("propagationPolicy") or call.query("propagationPolicy") or None
    if options.get("orphanDependents") is not None and propagation is None:
        propagation = "Orphan" if options["orphanDependents"] else "Background"
    _check_delete(call, propagation, options)
    conditions = options.get("preconditions") or {}
    dry = options.get("dryRun") or call.request.query.getall("dryRun", [])
    return {
        "grace": grace,
        "propagation": propagation,
        "uid": conditions.get("uid"),
        "version": conditions.get("resourceVersion"),
        "dry_run": bool(dry),
    }


def _check_delete(call: Call, propagation: str | None, options: Manifest) -> None:
    errors = []
    if propagation is not None and propagation not in _PROPAGATIONS:
        supported = ("Foreground", "Background", "Orphan", "nil")
        errors.append(unsupported("propagationPolicy", propagation, supported))
    dry = [*(options.get("dryRun") or ()), *call.request.query.getall("dryRun", [])]
    if any(value != "All" for value in dry):
        errors.append(unsupported("dryRun", dry[0], ("All",)))
    if errors:
        raise invalid("DeleteOptions", "meta.k8s.io", "", errors)


async def delete_collection(call: Call) -> web.Response:
    """``DELETE`` of a collection."""
    options = await _delete_options(call)
    chosen = selection(call)
    kind = call.kind
    removed = []
    for obj in call.objects.list(kind.resource, call.route.namespace or None):
        if not chosen.matches(obj):
            continue
        meta = obj["metadata"]
        done = call.objects.delete_with(kind.resource, meta.get("namespace"), meta["name"], **options)
        removed.append(done.obj)
    revision = {"resourceVersion": str(call.objects.store.revision)}
    head = {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": revision}
    items = [{k: v for k, v in o.items() if k not in {"kind", "apiVersion"}} for o in removed]
    return answer(head | {"items": items}, form=call.form, warnings=call.warnings)
