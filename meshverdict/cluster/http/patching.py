"""``PATCH``: the four kinds of patch over HTTP, with the refusals of each."""

from __future__ import annotations

import json
from typing import Any, Final

from meshverdict.cluster import escalation
from meshverdict.cluster.bodies import SyntaxProblem, parse_json, parse_yaml
from meshverdict.cluster.crd_schema import prune
from meshverdict.cluster.decode import DecodeError, decode
from meshverdict.cluster.errors import ApiError, bad, bad_request, conflict, invalid, not_found
from meshverdict.cluster.field_sets import element_key
from meshverdict.cluster.http.call import Call, complete_head
from meshverdict.cluster.http.watch import present
from meshverdict.cluster.managed import Author, apply
from meshverdict.cluster.objects import Write
from meshverdict.cluster.patches import json_patch, merge_patch, strategic_patch
from meshverdict.cluster.schema import Node
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.versions import to_stored

JSON: Final = "application/json-patch+json"
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
APPLY_CBOR: Final = "application/apply-patch+cbor"
_BUILT_IN: Final = (JSON, MERGE, STRATEGIC, APPLY)
_CUSTOM: Final = (JSON, MERGE, APPLY)


async def patch_object(call: Call) -> tuple[Manifest, bool]:
    """Patch the object of the URL; also answers whether an apply created it.

    Raises:
        ApiError: Refused.
    """
    media = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    accepted = _CUSTOM if call.kind.crd_version is not None else _BUILT_IN
    if media not in accepted:
        text = "the body of the request was in an unknown format - accepted media types include: "
        raise ApiError(415, "UnsupportedMediaType", text + ", ".join(accepted))
    body = await call.body()
    write = call.write("PatchOptions", call.route.subresource, apply=media == APPLY)
    if media == APPLY:
        return _apply(call, body, write)
    obj = _current(call)
    patch = _read(body)
    changed = _changed(call, obj, patch, media)
    escalation.check(call.objects.store, call.user, call.kind.resource, changed, obj)
    return call.objects.update_with(call.kind.resource, changed, write), False


def _current(call: Call) -> Manifest:
    kind, route = call.kind, call.route
    obj = call.objects.get(kind.resource, route.namespace, route.name)
    if obj is None:
        raise not_found(kind.plural, kind.group, route.name)
    return present(call, obj)


def _read(body: bytes) -> Any:
    try:
        return parse_json(body)
    except SyntaxProblem as problem:
        raise bad_request(f"error decoding patch: {problem}") from None


def _changed(call: Call, obj: Manifest, patch: Any, media: str) -> Manifest:
    """The patched object, decoded again."""
    if media == JSON:
        value = json_patch(obj, patch)
    else:
        if not isinstance(patch, dict):
            found = {list: "array", str: "string", bool: "bool", type(None): "null"}.get(
                type(patch), "number"
            )
            text = f"json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            raise bad_request(f"error decoding patch: {text}")
        node = call.objects.node(call.kind)
        try:
            value = merge_patch(obj, patch) if media == MERGE else strategic_patch(obj, patch, node)
        except RecursionError:
            raise bad_request("error decoding patch: exceeded max depth") from None
    if not isinstance(value, dict):
        raise ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})
    _check_identity(call, value)
    made = _typed(call, value, media)
    return to_stored(call.kind, made)


def _check_identity(call: Call, value: dict[str, Any]) -> None:
    meta = value.get("metadata")
    if meta is None:
        meta = {}
    if not isinstance(meta, dict):
        return  # the decoder says what is wrong with it
    name, wanted = meta.get("name"), call.route.name
    if name != wanted:
        raise bad_request(
            f"the name of the object ({name or ''}) does not match the name on the URL ({wanted})"
        )
    namespace = meta.get("namespace")
    if call.kind.namespaced and namespace and namespace != call.route.namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def _typed(call: Call, value: dict[str, Any], media: str) -> Manifest:
    kind = call.kind
    node = call.objects.node(kind)
    if kind.crd_version is not None:
        return call.custom(value, node, check_fields=True)
    if (value.get("apiVersion"), value.get("kind")) != (kind.api_version, kind.kind):
        shown = f"{value.get('apiVersion')}, Kind={value.get('kind')}"
        raise bad_request(f"the object provided is unrecognized (must be of type {kind.kind}): {shown}")
    try:
        decoded = decode(value, node)
    except DecodeError as error:
        raise _not_this_kind(value, str(error), media) from None
    if decoded.problems and call.query("fieldValidation") == "Strict":
        raise _not_this_kind(value, f"strict decoding error: {', '.join(decoded.problems)}", media)
    call.strictness(decoded.problems)
    return complete_head(decoded.value, kind)


def _not_this_kind(value: dict[str, Any], why: str, media: str) -> ApiError:
    if media == STRATEGIC:
        field, shown = "patch", "patch data"
        text = json.dumps(value, separators=(",", ":"))
    else:
        field, text = "patch", json.dumps(value, separators=(",", ":"))
    shown = text if len(text) < 10_000 else text[:10_000]
    return invalid("", "", "", [bad(field, shown, why)])


# ---- server-side apply


def _apply(call: Call, body: bytes, write: Write) -> tuple[Manifest, bool]:
    config, identity = _config(call, body)
    kind, route = call.kind, call.route
    node = call.objects.node(kind)
    _check_config(config, node, "", f"failed to create typed patch object ({identity})")
    live = call.objects.get(kind.resource, route.namespace, route.name)
    author = Author(write.manager, kind.api_version, call.objects.now(), write.subresource)
    if live is None:
        call.require_create()
        escalation.check(call.objects.store, call.user, kind.resource, config, None)
        return _create(call, config, node, author, write), True
    uid = config["metadata"].get("uid")
    if uid and uid != live["metadata"]["uid"]:
        why = (
            f"uid mismatch: the provided object specified uid {uid}, and the existing object has uid "
            f"{live['metadata']['uid']}"
        )
        raise conflict(kind.plural, kind.group, route.name, why)
    merged = apply(present(call, live), config, node, author, force=call.flag("force"))
    if kind.crd_version is None:
        try:
            merged = complete_head(decode(merged, node).value, kind)
        except DecodeError as error:
            raise ApiError(500, "", f"failed to convert merged object: {error}") from None
    applied = Write(write.manager, write.dry_run, "status" if write.subresource == "status" else "apply")
    merged["metadata"]["name"] = route.name
    if config["metadata"].get("resourceVersion"):
        merged["metadata"]["resourceVersion"] = config["metadata"]["resourceVersion"]
    merged = to_stored(kind, merged)
    escalation.check(call.objects.store, call.user, kind.resource, merged, live)
    return call.objects.update_with(kind.resource, merged, applied), False


def _config(call: Call, body: bytes) -> tuple[Manifest, str]:
    """The applied configuration, completed from the URL, and what it calls itself, for messages."""
    try:
        config = parse_yaml(body)
    except SyntaxProblem as problem:
        raise bad_request(f"error decoding YAML: {problem}") from None
    kind, route = call.kind, call.route
    if not isinstance(config, dict):
        raise bad_request("error decoding YAML: the patch is no object")
    version, name = config.get("apiVersion"), config.get("kind")
    if not version or not name:
        raise bad_request(
            f"invalid object type: /, Kind={name or ''}" if not version else "invalid object type"
        )
    if (version, name) != (kind.api_version, kind.kind):
        raise bad_request(f"invalid object type: {version}, Kind={name}")
    meta = config.get("metadata")
    if not isinstance(meta, dict):
        meta = {}
    if "managedFields" in meta:
        raise bad_request("metadata.managedFields must be nil")
    given = meta.get("name")
    if isinstance(given, str) and given != route.name:
        raise bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({route.name})"
        )
    place = meta.get("namespace")
    if isinstance(place, str) and kind.namespaced and place != route.namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    named = {"name": route.name} | meta
    if kind.namespaced:
        named["namespace"] = route.namespace
    own = "/".join(text if isinstance(text, str) else "" for text in (place, given))
    head = f"{kind.api_version if kind.group else '/' + kind.version}, Kind={kind.kind}"
    return {**config, "metadata": named}, f"{own}; {head}"


def _check_config(value: Any, node: Node, path: str, head: str) -> None:
    """Refuse what is not in the schema, as the apply machinery of a real server does: with 500 and no reason."""
    if isinstance(value, dict) and node.type == "object":
        for key, item in value.items():
            child = node.fields.get(key)
            if child is None:
                if node.preserve:
                    continue
                raise ApiError(500, "", f"{head}: {path}.{key}: field not declared in schema")
            _check_config(item, child, f"{path}.{key}", head)
    elif isinstance(value, dict) and node.type == "map" and node.item is not None:
        for key, item in value.items():
            _check_config(item, node.item, f"{path}.{key}", head)
    elif isinstance(value, list) and node.type == "array" and node.item is not None:
        if node.list_type == "map":
            _check_keys(value, node, path, head)
        for index, item in enumerate(value):
            _check_config(item, node.item, f"{path}[{index}]", head)
    elif value is not None:
        _check_scalar(value, node, path, head)


_EXPECTED: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "object": ("map", (dict,)),
    "map": ("map", (dict,)),
    "array": ("list", (list,)),
    "string": ("string", (str,)),
    "time": ("string", (str,)),
    "microtime": ("string", (str,)),
    "bytes": ("string", (str,)),
    "boolean": ("boolean", (bool,)),
    "int32": ("numeric (int or float)", (int,)),
    "int64": ("numeric (int or float)", (int,)),
}


def _check_scalar(value: Any, node: Node, path: str, head: str) -> None:
    expected = _EXPECTED.get(node.type)
    if expected is None:
        return
    name, types = expected
    wrong_bool = isinstance(value, bool) and bool not in types
    if isinstance(value, types) and not wrong_bool:
        return
    shown = f"&value.valueUnstructured{{Value:{_go(value)}}}"
    raise ApiError(500, "", f"{head}: {path}: expected {name}, got {shown}")


def _go(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value)


def _check_keys(items: list[Any], node: Node, path: str, head: str) -> None:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise ApiError(500, "", f"{head}: {path}[{index}]: expected map")
        missing = [k for k in node.list_keys if k not in item and k != "protocol"]
        if missing:
            text = f"element {index}: associative list with keys has an element that omits key field"
            raise ApiError(500, "", f"{head}: {path}: {text} {json.dumps(missing[0])}")
        key = element_key(item, node)
        if key in seen:
            shown = ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(key[2:]).items())
            raise ApiError(500, "", f"{head}: {path}: duplicate entries for key [{shown}]")
        seen.add(key)


def _create(call: Call, config: Manifest, node: Node, author: Author, write: Write) -> Manifest:
    kind, route = call.kind, call.route
    uid = config["metadata"].get("uid")
    if uid:
        why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise conflict(kind.plural, kind.group, route.name, why)
    if write.subresource:
        raise not_found(kind.plural, kind.group, route.name)
    empty: Manifest = {"metadata": {}}
    managed = apply(empty, config, node, author, force=True)["metadata"]["managedFields"]
    if kind.crd_version is None:
        try:
            obj = complete_head(decode(config, node).value, kind)
        except DecodeError as error:
            raise ApiError(500, "", f"failed to convert merged object: {error}") from None
    else:
        obj = complete_head(prune(config, node, "", []), kind)
    obj["metadata"]["managedFields"] = managed
    obj = to_stored(kind, obj)
    applied = Write(write.manager, write.dry_run, "apply")
    return call.objects.create_with(kind.resource, obj, applied)
