"""Lists: selectors, pages, revisions. What a watch starts with is decided here too."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

from meshverdict.cluster.errors import (
    ApiError,
    FieldError,
    bad_request,
    expired,
    forbidden_field,
    go_quote,
    invalid,
    unsupported,
)
from meshverdict.cluster.http.call import Call
from meshverdict.cluster.selectors import EVERYTHING, FieldTest, LabelSelector, parse_fields, parse_labels
from meshverdict.cluster.store import GoneError, Manifest, Store

_MATCHES: Final = ("Exact", "NotOlderThan")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a collection are meant."""

    labels: LabelSelector = EVERYTHING
    fields: FieldTest | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not self.labels.requirements and self.fields is None

    def matches(self, obj: Manifest) -> bool:
        """Whether an object is selected."""
        if self.labels.requirements and not self.labels.matches(obj["metadata"].get("labels")):
            return False
        return self.fields is None or self.fields(obj)


def selection(call: Call) -> Selection:
    """The selectors of a request.

    Raises:
        ApiError: 400.
    """
    version = call.kind.crd_version or {}
    selectable = tuple(f["jsonPath"].lstrip(".") for f in version.get("selectableFields") or ())
    labels = parse_labels(call.query("labelSelector")) if call.query("labelSelector") else EVERYTHING
    text = call.query("fieldSelector")
    fields = parse_fields(text, call.kind.resource, selectable) if text else None
    if call.route.name:  # a watch of one object by its own URL
        name = call.route.name
        return Selection(labels, lambda obj: obj["metadata"]["name"] == name)
    return Selection(labels, fields)


def revision(call: Call) -> int | None:
    """The ``resourceVersion`` of a request; None when it is not given.

    Raises:
        ApiError: 400.
    """
    text = call.query("resourceVersion")
    if not text:
        return None
    if not text.isdigit() or len(text) > 20:
        why = "invalid syntax" if not text.isdigit() else "value out of range"
        shown = f"strconv.ParseUint: parsing {go_quote(text)}: {why}"
        raise bad_request(
            f"invalid resource version: resourceVersion: Invalid value: {go_quote(text)}: {shown}"
        )
    return int(text)


def check_list_options(call: Call, *, watching: bool) -> None:
    """Combinations of list options that Kubernetes refuses.

    Raises:
        ApiError: 422.
    """
    match = call.query("resourceVersionMatch")
    initial = call.query("sendInitialEvents")
    errors: list[FieldError] = []
    field = "resourceVersionMatch"
    if initial and not watching:
        errors.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    elif initial:
        if not match:
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            errors.append(forbidden_field(field, text))
        elif match != "NotOlderThan":
            errors.append(unsupported(field, match, ("NotOlderThan",)))
    elif match:
        if watching:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            errors.append(forbidden_field(field, text))
        elif not call.query("resourceVersion"):
            text = "resourceVersionMatch is forbidden unless resourceVersion is provided"
            errors.append(forbidden_field(field, text))
        elif match not in _MATCHES:
            errors.append(unsupported(field, match, ("Exact", "NotOlderThan", "")))
        elif match == "Exact" and call.query("resourceVersion") == "0":
            text = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            errors.append(forbidden_field(field, text))
        if call.query("continue"):
            text = "resourceVersionMatch is forbidden when continue is provided"
            errors.append(forbidden_field(field, text))
    if errors:
        raise invalid("ListOptions", "meta.k8s.io", "", errors)


@dataclass(frozen=True, slots=True)
class Page:
    """Objects of one answer and its list metadata."""

    items: list[Manifest]
    meta: dict[str, Any]


def page(call: Call) -> Page:
    """The objects that a list request asks for.

    Raises:
        ApiError: A wrong option, a page that is too old, a revision that is not there yet.
    """
    check_list_options(call, watching=False)
    chosen = selection(call)
    limit = call.integer("limit") or 0
    asked = revision(call)
    store = call.objects.store
    start: str | None = None
    at = store.revision
    token = call.query("continue")
    if token:
        if asked is not None and asked != 0:
            raise bad_request("specifying resource version is not allowed when using continue")
        at, start = read_token(token)
    elif asked is not None and call.query("resourceVersionMatch") == "Exact":
        at = asked
    if asked is not None and asked > store.revision and not token:
        raise _too_new(asked, store.revision)
    if asked == 0 and not token:
        limit = 0
    objects = _at(store, call.kind.resource, call.route.namespace, at)
    if start is not None:
        objects = [obj for obj in objects if _key(call, obj) >= start]
    found = objects if chosen.everything else [obj for obj in objects if chosen.matches(obj)]
    meta: dict[str, Any] = {"resourceVersion": str(at)}
    if 0 < limit < len(found):
        meta["continue"] = make_token(at, f"{_key(call, found[limit - 1])}\0")
        if chosen.everything:
            meta["remainingItemCount"] = len(found) - limit
        found = found[:limit]
    return Page(found, meta)


def _key(call: Call, obj: Manifest) -> str:
    meta = obj["metadata"]
    if call.route.namespace or not call.kind.namespaced:
        return str(meta["name"])
    return f"{meta['namespace']}/{meta['name']}"


def _at(store: Store, resource: str, namespace: str, wanted: int) -> list[Manifest]:
    """The collection as it was at a revision, by undoing what came after.

    Raises:
        ApiError: 410.
    """
    current = store.list(resource, namespace or None)
    if wanted == store.revision:
        return current
    try:
        later = [event for event in store.since(wanted) if event.resource == resource]
    except GoneError:
        raise expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a "
            "new list without the continue parameter."
        ) from None
    state = {(o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in current}
    for event in reversed(later):
        meta = event.obj["metadata"]
        if namespace and meta.get("namespace") != namespace:
            continue
        key = (meta.get("namespace", ""), meta["name"])
        if event.type == "ADDED":
            state.pop(key, None)
        elif event.old is not None:
            state[key] = event.old
    return [state[key] for key in sorted(state)]


def _too_new(asked: int, current: int) -> ApiError:
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    details = {"causes": [cause], "retryAfterSeconds": 1}
    text = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", text, details, {"Retry-After": "1"})


def make_token(at: int, start: str) -> str:
    """An opaque continue token, in Kubernetes' own form."""
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": at, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def read_token(token: str) -> tuple[int, str]:
    """Revision and first key of a continue token.

    Raises:
        ApiError: 400.
    """
    head = "invalid continue token: continue key is not valid"
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"{head}: illegal base64 data at input byte {max(len(token) - 1, 0)}") from None
    try:
        value = json.loads(text)
    except ValueError:
        first = text[:1]
        char = f"\\x{first[0]:02x}" if first and not 0x20 <= first[0] < 0x7F else first.decode()
        why = (
            f"invalid character '{char}' looking for beginning of value"
            if first
            else "unexpected end of JSON input"
        )
        raise bad_request(f"{head}: {why}") from None
    except RecursionError:
        raise bad_request(f"{head}: exceeded max depth") from None
    if not isinstance(value, dict):
        raise bad_request(f"{head}: json: cannot unmarshal into Go value of type storage.continueToken")
    at, start = value.get("rv"), value.get("start")
    if value.get("v") != "meta.k8s.io/v1" or not isinstance(at, int) or at <= 0:
        raise bad_request(
            "invalid continue token: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
        )
    if not isinstance(start, str) or not start:
        raise bad_request("invalid continue token: encoded start key is empty (version meta.k8s.io/v1)")
    return at, start
