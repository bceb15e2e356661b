"""The cells of each kind's row, as kubectl users know them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from meshverdict.cluster.durations import UNKNOWN, age, duration, seconds_of
from meshverdict.cluster.pod_summary import pod_summary
from meshverdict.cluster.store import Manifest

NONE: Final = "<none>"


def _spec(obj: Manifest) -> Manifest:
    return obj.get("spec") or {}


def _status(obj: Manifest) -> Manifest:
    return obj.get("status") or {}


def _name(obj: Manifest) -> str:
    return str(obj["metadata"]["name"])


def _age(obj: Manifest, now: float) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def labels(value: Manifest | None) -> str:
    """``a=b,c=d``, or ``<none>``."""
    return ",".join(f"{k}={v}" for k, v in sorted((value or {}).items())) or NONE


def selector(value: Manifest | None) -> str:
    """A LabelSelector in a line."""
    value = value or {}
    parts = [f"{k}={v}" for k, v in (value.get("matchLabels") or {}).items()]
    for expression in value.get("matchExpressions") or []:
        key, values = expression["key"], ",".join(sorted(expression.get("values") or []))
        match expression["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(sorted(parts)) or NONE


def _containers(obj: Manifest) -> list[str]:
    found = ((_spec(obj).get("template") or {}).get("spec") or {}).get("containers") or []
    return [",".join(c["name"] for c in found), ",".join(c.get("image") or "" for c in found)]


def _pod(obj: Manifest, now: float) -> list[Any]:
    ready, total, reason, restarts = pod_summary(obj, now)
    status, spec = _status(obj), _spec(obj)
    gates = spec.get("readinessGates") or []
    return [
        _name(obj),
        f"{ready}/{total}",
        reason,
        restarts,
        _age(obj, now),
        status.get("podIP") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"0/{len(gates)}" if gates else NONE,
    ]


def _deployment(obj: Manifest, now: float) -> list[Any]:
    status, spec = _status(obj), _spec(obj)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [_name(obj), ready, *counts, _age(obj, now), *_containers(obj), selector(spec.get("selector"))]


def _replicaset(obj: Manifest, now: float) -> list[Any]:
    status, spec = _status(obj), _spec(obj)
    counts = [spec.get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [_name(obj), *counts, _age(obj, now), *_containers(obj), selector(spec.get("selector"))]


_DAEMON_COUNTS: Final = (
    "desiredNumberScheduled",
    "currentNumberScheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
)


def _daemonset(obj: Manifest, now: float) -> list[Any]:
    status, spec = _status(obj), _spec(obj)
    counts = [status.get(key, 0) for key in _DAEMON_COUNTS]
    nodes = labels(((spec.get("template") or {}).get("spec") or {}).get("nodeSelector"))
    return [_name(obj), *counts, nodes, _age(obj, now), *_containers(obj), selector(spec.get("selector"))]


def _statefulset(obj: Manifest, now: float) -> list[Any]:
    ready = f"{_status(obj).get('readyReplicas', 0)}/{_spec(obj).get('replicas', 1)}"
    return [_name(obj), ready, _age(obj, now), *_containers(obj)]


def _job(obj: Manifest, now: float) -> list[Any]:
    status, spec = _status(obj), _spec(obj)
    done = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    elif spec.get("parallelism", 1) > 1:
        completions = f"{done}/1 of {spec['parallelism']}"
    else:
        completions = f"{done}/1"
    taken = ""
    if status.get("startTime"):
        end = status.get("completionTime")
        taken = duration((seconds_of(end) if end else now) - seconds_of(status["startTime"]))
    row = [_name(obj), _job_state(obj), completions, taken, _age(obj, now)]
    return [*row, *_containers(obj), selector(spec.get("selector"))]


def _job_state(obj: Manifest) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    held = {c["type"] for c in _status(obj).get("conditions") or [] if c.get("status") == "True"}
    for condition, word in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if condition in held:
            return word
    return "Running"


def _cron_job(obj: Manifest, now: float) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    template = (spec.get("jobTemplate") or {}).get("spec") or {}
    last = status.get("lastScheduleTime")
    return [
        _name(obj),
        spec.get("schedule") or "",
        spec.get("timeZone") or NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or []),
        age(last, now) if last else NONE,
        _age(obj, now),
        *_containers({"spec": template}),
        selector(template.get("selector")),
    ]


def _autoscaler(obj: Manifest, now: float) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    target = spec.get("scaleTargetRef") or {}
    shown = [_target(metric) for metric in spec.get("metrics") or []]
    more = f" + {len(shown) - 2} more..." if len(shown) > 2 else ""
    least = spec.get("minReplicas")
    return [
        _name(obj),
        f"{target.get('kind')}/{target.get('name')}",
        ", ".join(shown[:2]) + more or NONE,
        "<unset>" if least is None else str(least),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        _age(obj, now),
    ]


def _target(metric: Manifest) -> str:
    """A metric's current and wanted amount; nobody measures the current one here."""
    kind = metric["type"]
    source = metric.get(kind[:1].lower() + kind[1:]) or {}
    target = source.get("target") or {}
    if kind in {"Resource", "ContainerResource"}:
        percent = target.get("averageUtilization")
        wanted = target.get("averageValue") or f"{percent}%"
        return f"{source.get('name')}: {UNKNOWN}/{wanted}"
    if kind == "Pods":
        return f"{UNKNOWN}/{target.get('averageValue')}"
    return f"{UNKNOWN}/" + (target.get("value") or f"{target.get('averageValue')} (avg)")


def _service(obj: Manifest, now: float) -> list[Any]:
    spec = _spec(obj)
    kind = spec.get("type") or "ClusterIP"
    shown = []
    for port in spec.get("ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    address = spec.get("clusterIP") or NONE
    row = [_name(obj), kind, address, _external(obj, kind), ",".join(shown) or NONE, _age(obj, now)]
    return [*row, labels(spec.get("selector"))]


def _external(obj: Manifest, kind: str) -> str:
    spec = _spec(obj)
    if kind == "ExternalName":
        return str(spec.get("externalName") or "")
    if kind == "LoadBalancer":
        entries = (_status(obj).get("loadBalancer") or {}).get("ingress") or []
        found = [e.get("ip") or e.get("hostname") or "" for e in entries]
        return ",".join(found) or "<pending>"
    return ",".join(spec.get("externalIPs") or []) or NONE


def _namespace(obj: Manifest, now: float) -> list[Any]:
    return [_name(obj), _status(obj).get("phase") or "Active", _age(obj, now)]


def _node(obj: Manifest, now: float) -> list[Any]:
    status = _status(obj)
    conditions = {c["type"]: c.get("status") for c in status.get("conditions") or []}
    ready = conditions.get("Ready")
    word = "Ready" if ready == "True" else "NotReady" if ready else "Unknown"
    if _spec(obj).get("unschedulable"):
        word += ",SchedulingDisabled"
    prefix = "node-role.kubernetes.io/"
    held = obj["metadata"].get("labels") or {}
    roles = ",".join(sorted(k.removeprefix(prefix) for k in held if k.startswith(prefix))) or NONE
    info = status.get("nodeInfo") or {}
    addresses = {a["type"]: a["address"] for a in status.get("addresses") or []}
    kernel = info.get("kernelVersion") or UNKNOWN
    architecture = f" ({info['architecture']})" if info.get("architecture") else ""
    return [
        _name(obj),
        word,
        roles,
        _age(obj, now),
        info.get("kubeletVersion") or "",
        addresses.get("InternalIP") or NONE,
        addresses.get("ExternalIP") or NONE,
        info.get("osImage") or UNKNOWN,
        kernel + architecture,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _config_map(obj: Manifest, now: float) -> list[Any]:
    return [_name(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), _age(obj, now)]


def _secret(obj: Manifest, now: float) -> list[Any]:
    return [_name(obj), obj.get("type") or "Opaque", len(obj.get("data") or {}), _age(obj, now)]


def _endpoints(obj: Manifest, now: float) -> list[Any]:
    pairs = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or []
        for port in subset.get("ports") or []
        for address in subset.get("addresses") or []
    ]
    return [_name(obj), _shortened(pairs, NONE), _age(obj, now)]


def _shortened(values: list[str], empty: str) -> str:
    shown = ",".join(values[:3])
    more = f" + {len(values) - 3} more..." if len(values) > 3 else ""
    return shown + more or empty


def _event(obj: Manifest, now: float) -> list[Any]:
    about, source = obj.get("involvedObject") or {}, obj.get("source") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = obj.get("lastTimestamp") or (obj.get("series") or {}).get("lastObservedTime") or first
    component = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return [
        age(last, now),
        obj.get("type") or "",
        obj.get("reason") or "",
        f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath") or "",
        ", ".join(p for p in (component, host) if p),
        (obj.get("message") or "").strip(),
        age(first, now),
        obj.get("count") or 1,
        _name(obj),
    ]


def _policy(obj: Manifest, now: float) -> list[Any]:
    return [_name(obj), selector(_spec(obj).get("podSelector")), _age(obj, now)]


def _ingress(obj: Manifest, now: float) -> list[Any]:
    spec = _spec(obj)
    hosts = [r["host"] for r in spec.get("rules") or [] if r.get("host")]
    entries = (_status(obj).get("loadBalancer") or {}).get("ingress") or []
    address = ",".join(e.get("ip") or e.get("hostname") or "" for e in entries)
    shown = spec.get("ingressClassName") or NONE
    ports = "80, 443" if spec.get("tls") else "80"
    return [_name(obj), shown, _shortened(hosts, "*"), address, ports, _age(obj, now)]


def _ingress_class(obj: Manifest, now: float) -> list[Any]:
    spec = _spec(obj)
    given = spec.get("parameters")
    shown = NONE
    if given:
        group = f".{given['apiGroup']}" if given.get("apiGroup") else ""
        shown = f"{given.get('kind')}{group}/{given.get('name')}"
    return [_name(obj), spec.get("controller") or "", shown, _age(obj, now)]


def _slice(obj: Manifest, now: float) -> list[Any]:
    ports = [str(p["port"]) if p.get("port") else "*" for p in obj.get("ports") or []]
    addresses = [a for e in obj.get("endpoints") or [] for a in e.get("addresses") or []]
    shown = [_shortened(ports, "<unset>"), _shortened(addresses, "<unset>")]
    return [_name(obj), obj.get("addressType") or "", *shown, _age(obj, now)]


def _budget(obj: Manifest, now: float) -> list[Any]:
    spec = _spec(obj)
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    shown = ["N/A" if value is None else str(value) for value in (least, most)]
    return [_name(obj), *shown, _status(obj).get("disruptionsAllowed", 0), _age(obj, now)]


def _lease(obj: Manifest, now: float) -> list[Any]:
    return [_name(obj), _spec(obj).get("holderIdentity") or "", _age(obj, now)]


def _created(obj: Manifest, _now: float) -> list[Any]:
    return [_name(obj), obj["metadata"].get("creationTimestamp")]


def _plain(obj: Manifest, now: float) -> list[Any]:
    return [_name(obj), _age(obj, now)]


def _binding(obj: Manifest, now: float) -> list[Any]:
    reference = obj.get("roleRef") or {}
    subjects = obj.get("subjects") or []

    def named(kind: str) -> str:
        found: Iterable[str] = (
            f"{s['namespace']}/{s['name']}" if kind == "ServiceAccount" and s.get("namespace") else s["name"]
            for s in subjects
            if s.get("kind") == kind
        )
        return ", ".join(found)

    role = f"{reference.get('kind')}/{reference.get('name')}"
    return [_name(obj), role, _age(obj, now), named("User"), named("Group"), named("ServiceAccount")]


def _revision(obj: Manifest, now: float) -> list[Any]:
    owners = obj["metadata"].get("ownerReferences") or []
    owner = next((o for o in owners if o.get("controller")), None)
    kinds = {"DaemonSet": "daemonset.apps", "StatefulSet": "statefulset.apps"}
    shown = f"{kinds.get(owner['kind'], owner['kind'].lower())}/{owner['name']}" if owner else NONE
    return [_name(obj), shown, obj.get("revision", 0), _age(obj, now)]


ROWS: Final[dict[str, Callable[[Manifest, float], list[Any]]]] = {
    "pods": _pod,
    "deployments.apps": _deployment,
    "replicasets.apps": _replicaset,
    "daemonsets.apps": _daemonset,
    "statefulsets.apps": _statefulset,
    "jobs.batch": _job,
    "cronjobs.batch": _cron_job,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "services": _service,
    "namespaces": _namespace,
    "nodes": _node,
    "configmaps": _config_map,
    "secrets": _secret,
    "serviceaccounts": _plain,
    "endpoints": _endpoints,
    "events": _event,
    "networkpolicies.networking.k8s.io": _policy,
    "ingresses.networking.k8s.io": _ingress,
    "ingressclasses.networking.k8s.io": _ingress_class,
    "endpointslices.discovery.k8s.io": _slice,
    "poddisruptionbudgets.policy": _budget,
    "leases.coordination.k8s.io": _lease,
    "roles.rbac.authorization.k8s.io": _created,
    "clusterroles.rbac.authorization.k8s.io": _created,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "controllerrevisions.apps": _revision,
    "customresourcedefinitions.apiextensions.k8s.io": _created,
}
