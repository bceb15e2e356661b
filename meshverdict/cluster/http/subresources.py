"""Subresources that are no plain read or write: scale, eviction, binding, token, finalize."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from meshverdict.cluster.auth import AUDIENCE
from meshverdict.cluster.errors import ApiError, bad, bad_request, conflict, invalid
from meshverdict.cluster.http.answers import answer
from meshverdict.cluster.http.call import Call
from meshverdict.cluster.http.patching import JSON, MERGE, STRATEGIC
from meshverdict.cluster.http.resources import show, stored
from meshverdict.cluster.objects import Write, timestamp
from meshverdict.cluster.patches import json_patch, merge_patch
from meshverdict.cluster.printers import selector as shown_selector
from meshverdict.cluster.selectors import of_manifest
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.tables import json_path
from meshverdict.cluster.validation.workloads import scale_errors

_BUDGETS: Final = "poddisruptionbudgets.policy"
_DISRUPTED: Final = "Cannot evict pod as it would violate the pod's disruption budget."


# ---- scale


async def scale(call: Call) -> web.Response:
    """``GET``, ``PUT`` and ``PATCH`` of ``/scale``."""
    method = call.request.method
    obj = stored(call)
    if method == "GET":
        return answer(scale_of(call, obj), form=call.form, warnings=call.warnings)
    if method == "PUT":
        write = call.write("UpdateOptions", "scale")
        wanted = await call.raw_value("Scale")
    else:
        write = call.write("PatchOptions", "scale")
        wanted = await _patched_scale(call, obj)
    if not isinstance(wanted, dict) or not isinstance(wanted.get("spec", {}), dict):
        text = "json: cannot unmarshal array into Go value of type v1.Scale"
        raise bad_request(f'Scale in version "v1" cannot be handled as a Scale: {text}')
    return answer(scale_of(call, _rescale(call, obj, wanted, write)), form=call.form, warnings=call.warnings)


async def _patched_scale(call: Call, obj: Manifest) -> Any:
    media = call.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media not in {JSON, MERGE, STRATEGIC}:
        text = "the body of the request was in an unknown format - accepted media types include: "
        raise ApiError(415, "UnsupportedMediaType", f"{text}{JSON}, {MERGE}, {STRATEGIC}")
    call_body = await call.raw_body_json()
    current = scale_of(call, obj)
    if media == JSON:
        return json_patch(current, call_body)
    if not isinstance(call_body, dict):
        text = "json: cannot unmarshal array into Go value of type map[string]interface {}"
        raise bad_request(f"error decoding patch: {text}")
    return merge_patch(current, call_body)


def _rescale(call: Call, obj: Manifest, wanted: Manifest, write: Write) -> Manifest:
    kind = call.kind
    version = (wanted.get("metadata") or {}).get("resourceVersion")
    if version and version != obj["metadata"]["resourceVersion"]:
        raise conflict(kind.plural, kind.group, call.route.name)
    replicas = (wanted.get("spec") or {}).get("replicas", 0)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        found = "string" if isinstance(replicas, str) else "number"
        text = f"json: cannot unmarshal {found} into Go struct field ScaleSpec.spec.replicas of type int32"
        raise bad_request(f'Scale in version "v1" cannot be handled as a Scale: {text}')
    if errors := scale_errors({"spec": {"replicas": replicas}}):
        raise invalid("Scale", "autoscaling", call.route.name, errors)
    changed = _with_replicas(call, obj, replicas)
    return call.objects.update_with(kind.resource, changed, write)


def _paths(call: Call) -> tuple[str, str, str]:
    """Paths of the wanted count, the current count and the selector."""
    given = ((call.kind.crd_version or {}).get("subresources") or {}).get("scale") or {}
    return (
        given.get("specReplicasPath", ".spec.replicas"),
        given.get("statusReplicasPath", ".status.replicas"),
        given.get("labelSelectorPath", ""),
    )


def _with_replicas(call: Call, obj: Manifest, replicas: int) -> Manifest:
    keys = _paths(call)[0].strip(".").split(".")
    return _set(obj, keys, replicas)


def _set(value: Manifest, keys: list[str], new: Any) -> Manifest:
    if len(keys) == 1:
        return {**value, keys[0]: new}
    return {**value, keys[0]: _set(value.get(keys[0]) or {}, keys[1:], new)}


def scale_of(call: Call, obj: Manifest) -> Manifest:
    """An object's Scale."""
    wanted, current, label_path = _paths(call)
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    spec, status = json_path(obj, wanted), json_path(obj, current)
    shown: Manifest = {"replicas": status or 0}
    if call.kind.crd_version is None:
        shown["selector"] = shown_selector((obj.get("spec") or {}).get("selector"))
    elif label_path and (found := json_path(obj, label_path)):
        shown["selector"] = found
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {k: meta[k] for k in kept if k in meta},
        "spec": {"replicas": spec} if spec else {},
        "status": shown,
    }


# ---- eviction and binding


async def evict(call: Call) -> web.Response:
    """``POST .../pods/NAME/eviction``: a delete that disruption budgets may forbid."""
    write = call.write("CreateOptions")
    body = await call.raw_value("Eviction")
    if not isinstance(body, dict) or not isinstance(body.get("metadata") or {}, dict):
        raise bad_request("the object provided is unrecognized (must be of type Eviction)")
    name = (body.get("metadata") or {}).get("name")
    if name and name != call.route.name:
        raise bad_request("name in URL does not match name in Eviction object")
    pod = stored(call)
    options = body.get("deleteOptions") or {}
    if not isinstance(options, dict):
        raise bad_request("deleteOptions of an Eviction is an object")
    dry = write.dry_run or bool(options.get("dryRun"))
    if _counts(pod):
        _ask_budgets(call, pod, dry_run=dry)
    conditions = options.get("preconditions") or {}
    call.objects.delete_with(
        "pods",
        call.route.namespace,
        call.route.name,
        grace=options.get("gracePeriodSeconds"),
        uid=conditions.get("uid"),
        version=conditions.get("resourceVersion"),
        dry_run=dry,
    )
    done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return answer(done, 201, form=call.form)


def _counts(pod: Manifest) -> bool:
    """Whether a budget has a say: not for pods that have ended, wait or are going."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in {"Succeeded", "Failed", "Pending"} and not pod["metadata"].get("deletionTimestamp")


def _ask_budgets(call: Call, pod: Manifest, *, dry_run: bool) -> None:
    budgets = [
        b
        for b in call.objects.list(_BUDGETS, call.route.namespace)
        if b["spec"].get("selector") is not None
        and of_manifest(b["spec"]["selector"]).matches(pod["metadata"].get("labels"))
    ]
    if len(budgets) > 1:
        text = (
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
        raise ApiError(500, "InternalError", text, {})
    for budget in budgets:
        if _unhealthy_may_go(budget, pod):
            continue
        status = budget.get("status") or {}
        allowed = status.get("disruptionsAllowed", 0)
        if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
            name = budget["metadata"]["name"]
            cause = f"The disruption budget {name} is still being processed by the server."
            raise _refused(cause, retry=10)
        if allowed <= 0:
            name = budget["metadata"]["name"]
            healthy, needed = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
            cause = f"The disruption budget {name} needs {needed} healthy pods and has {healthy} currently"
            raise _refused(cause)
        if not dry_run:
            disrupted = {**(status.get("disruptedPods") or {}), pod["metadata"]["name"]: call.objects.now()}
            fresh = {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}
            call.objects.update_status(_BUDGETS, {**budget, "status": fresh}, manager="kube-apiserver")


def _unhealthy_may_go(budget: Manifest, pod: Manifest) -> bool:
    """Whether a pod that is not ready may be evicted past the budget, by unhealthyPodEvictionPolicy."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
        return False
    status = budget.get("status") or {}
    enough = status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0) > 0
    return bool(enough or budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow")


def _refused(cause: str, retry: int = 0) -> ApiError:
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    headers = {}
    if retry:
        details["retryAfterSeconds"] = retry
        headers["Retry-After"] = str(retry)
    return ApiError(429, "TooManyRequests", _DISRUPTED, details, headers)


async def bind(call: Call) -> web.Response:
    """``POST .../pods/NAME/binding``: what a scheduler of one's own does."""
    write = call.write("CreateOptions")
    body = await call.raw_value("Binding")
    target = body.get("target") if isinstance(body, dict) else None
    node = target.get("name") if isinstance(target, dict) else None
    if not isinstance(node, str) or not node:
        error = bad("target.name", node or "", "must name a node")
        raise invalid("Binding", "", call.route.name, [error])
    pod = stored(call)
    if pod["spec"].get("nodeName"):
        why = f"pod {pod['metadata']['name']} is already assigned to node {json_name(pod)}"
        raise conflict("pods/binding", "", call.route.name, why)
    bound = {**pod, "spec": {**pod["spec"], "nodeName": node}}
    call.objects.update_with("pods", bound, write)
    done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return answer(done, 201, form=call.form)


def json_name(pod: Manifest) -> str:
    """A pod's node, quoted."""
    return f'"{pod["spec"]["nodeName"]}"'


# ---- tokens and namespaces


async def token(call: Call) -> web.Response:
    """``POST .../serviceaccounts/NAME/token``: a TokenRequest."""
    call.write("CreateOptions")
    body = await call.raw_value("TokenRequest")
    account = stored(call)
    spec = body.get("spec") if isinstance(body, dict) else None
    spec = spec if isinstance(spec, dict) else {}
    seconds = spec.get("expirationSeconds", 3600)
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        text = "json: cannot unmarshal string into Go struct field TokenRequestSpec.spec.expirationSeconds of type int64"
        raise bad_request(f'TokenRequest in version "v1" cannot be handled as a TokenRequest: {text}')
    if seconds < 600:
        error = bad("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        raise invalid("TokenRequest", "authentication.k8s.io", "", [error])
    audiences = spec.get("audiences") or []
    if not isinstance(audiences, list) or not all(isinstance(a, str) for a in audiences):
        raise bad_request("spec.audiences of a TokenRequest is a list of strings")
    pod = _bound_pod(call, spec)
    issue = call.services.auth.issue
    if audiences:
        text, ends = issue(account, seconds=seconds, audiences=tuple(audiences), pod=pod)
    else:
        text, ends = issue(account, seconds=seconds, pod=pod)
    made = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": call.route.name,
            "namespace": call.route.namespace,
            "uid": account["metadata"]["uid"],
            "creationTimestamp": call.objects.now(),
        },
        "spec": {
            "audiences": audiences or [AUDIENCE],
            "expirationSeconds": seconds,
            "boundObjectRef": spec.get("boundObjectRef"),
        },
        "status": {"token": text, "expirationTimestamp": timestamp(ends)},
    }
    return answer(made, 201, form=call.form)


def _bound_pod(call: Call, spec: Manifest) -> Manifest | None:
    reference = spec.get("boundObjectRef")
    if not reference:
        return None
    if not isinstance(reference, dict) or reference.get("kind") != "Pod":
        raise bad_request("cannot bind token for a reference that is no Pod")
    name = str(reference.get("name") or "")
    pod = call.objects.get("pods", call.route.namespace, name)
    if pod is None or (reference.get("uid") and reference["uid"] != pod["metadata"]["uid"]):
        raise ApiError(404, "NotFound", f'pods "{name}" not found', {"name": name, "kind": "pods"})
    return pod


async def finalize(call: Call) -> web.Response:
    """``PUT /namespaces/NAME/finalize``: the only way to change a namespace's own finalizers."""
    write = call.write("UpdateOptions")
    obj = await call.manifest()
    old = stored(call)
    spec = {**(old.get("spec") or {}), "finalizers": (obj.get("spec") or {}).get("finalizers") or []}
    changed = {**old, "spec": spec}
    trusted = Write(write.manager, write.dry_run, trusted=True)
    return show(call, call.objects.update_with("namespaces", changed, trusted))


HANDLERS: Final[dict[tuple[str, str], Callable[[Call], Awaitable[web.Response]]]] = {
    ("pods", "eviction"): evict,
    ("pods", "binding"): bind,
    ("serviceaccounts", "token"): token,
    ("namespaces", "finalize"): finalize,
}
