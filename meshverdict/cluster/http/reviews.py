"""Reviews: who am I, what may I do, is this token good. They store nothing."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from meshverdict.cluster.auth import AUDIENCE, User
from meshverdict.cluster.errors import bad, bad_request, invalid
from meshverdict.cluster.http.answers import answer
from meshverdict.cluster.http.call import Call
from meshverdict.cluster.rbac import Attempt, authorize, rules_of
from meshverdict.cluster.store import Manifest


async def review(call: Call) -> web.Response:
    """``POST`` of any review."""
    call.write("CreateOptions")
    body = await call.manifest()
    meta = {k: v for k, v in body["metadata"].items() if k in {"name", "namespace", "labels", "annotations"}}
    handler = _HANDLERS[call.kind.kind]
    result = handler(call, body)
    head = {"kind": call.kind.kind, "apiVersion": call.kind.api_version, "metadata": meta}
    return answer(head | result, 201, form=call.form, warnings=call.warnings)


def _self_subject(call: Call, _body: Manifest) -> dict[str, Any]:
    info = {"userInfo": call.user.info()}
    return {"metadata": {"creationTimestamp": call.objects.now()}, "status": info}


def _token(call: Call, body: Manifest) -> dict[str, Any]:
    spec = body.get("spec") or {}
    token = spec.get("token") or ""
    if not token:
        raise bad_request("token is required for TokenReview in authentication")
    user = call.services.auth.of_token(token)
    if user is None:
        return {"spec": spec, "status": {"user": {}, "error": "[invalid bearer token]"}}
    audiences = spec.get("audiences") or [AUDIENCE]
    return {
        "spec": spec,
        "status": {"authenticated": True, "user": user.info(), "audiences": audiences},
    }


def _attempt(call: Call, spec: Manifest) -> Attempt:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (path is None):
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        error = bad("spec.resourceAttributes", resource, text)
        raise invalid(call.kind.kind, call.kind.group, "", [error])
    if path is not None:
        return Attempt(path.get("verb") or "", path=path.get("path") or "/")
    resource = resource or {}
    return Attempt(
        resource.get("verb") or "",
        resource.get("group") or "",
        resource.get("resource") or "",
        resource.get("subresource") or "",
        resource.get("namespace") or "",
        resource.get("name") or "",
    )


def _verdict(call: Call, user: User, spec: Manifest) -> dict[str, Any]:
    verdict = authorize(call.objects.store, user, _attempt(call, spec))
    status: dict[str, Any] = {"allowed": verdict.allowed}
    if verdict.reason:
        status["reason"] = verdict.reason
    return {"spec": spec, "status": status}


def _self_access(call: Call, body: Manifest) -> dict[str, Any]:
    return _verdict(call, call.user, body.get("spec") or {})


def _access(call: Call, body: Manifest) -> dict[str, Any]:
    spec = body.get("spec") or {}
    name, groups = spec.get("user") or "", tuple(spec.get("groups") or ())
    if not name and not groups:
        error = bad("spec.user", "", "at least one of user or group must be specified")
        raise invalid(call.kind.kind, call.kind.group, "", [error])
    return _verdict(call, User(name, groups), spec)


def _rules(call: Call, body: Manifest) -> dict[str, Any]:
    namespace = (body.get("spec") or {}).get("namespace") or ""
    if not namespace:
        raise bad_request("no namespace on request")
    rules = rules_of(call.objects.store, call.user, namespace)
    keys = ("verbs", "apiGroups", "resources", "resourceNames")
    status = {
        "resourceRules": [{k: r[k] for k in keys if r.get(k)} for r in rules if not r.get("nonResourceURLs")],
        "nonResourceRules": [
            {k: r[k] for k in ("verbs", "nonResourceURLs")} for r in rules if r.get("nonResourceURLs")
        ],
        "incomplete": False,
    }
    return {"spec": {}, "status": status}


_HANDLERS = {
    "SelfSubjectReview": _self_subject,
    "TokenReview": _token,
    "SelfSubjectAccessReview": _self_access,
    "SubjectAccessReview": _access,
    "LocalSubjectAccessReview": _access,
    "SelfSubjectRulesReview": _rules,
}
