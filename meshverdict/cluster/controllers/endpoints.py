"""Which pods stand behind a Service, as EndpointSlices and as the older Endpoints object."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from meshverdict.cluster.store import Manifest

from . import pods as pod_facts
from .changes import Change, Create, Delete, Key, Update, View
from .meta import (
    annotations_of,
    deleting,
    labels_of,
    name_of,
    namespace_of,
    namespace_terminating,
    owner_reference,
    stamp,
    uid_of,
    with_annotations,
    with_meta,
)

SLICES = "endpointslices.discovery.k8s.io"
ENDPOINTS = "endpoints"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
LEGACY_LABEL = "endpoints.kubernetes.io/managed-by"
PER_SLICE = 100
LEGACY_LIMIT = 1000
_ZONE = "topology.kubernetes.io/zone"

Ports = tuple[tuple[str, str, int, str], ...]  # name, protocol, number, application protocol


def services_of(view: View, pod: Manifest) -> Iterable[Key]:
    """The Services whose selector matches a pod."""
    namespace = namespace_of(pod)
    for service in view.list("services", namespace):
        if _selects(service, pod):
            yield namespace, name_of(service)


def plan_slices(view: View, service: Manifest, now: float) -> list[Change]:
    """The EndpointSlices of a Service with a selector: at most 100 endpoints each, a set for each port list.

    Endpoints stay in the slice that they are in, so that a change touches one slice.
    """
    if not _is_ours(view, service):
        return []
    mine = [s for s in view.owned(SLICES, uid_of(service)) if labels_of(s).get(MANAGED_BY) == MANAGER]
    mine.sort(key=lambda s: (s["metadata"].get("creationTimestamp") or "", name_of(s)))
    groups: dict[Ports, list[Manifest]] = {}
    for pod in _pods(view, service):
        groups.setdefault(_ports(service, pod), []).append(_endpoint(view, service, pod))
    changes: list[Change] = []
    spare: list[Manifest] = []
    for slice_ in mine:
        endpoints = _take(slice_, groups.get(_slice_ports(slice_)))
        if endpoints:
            changes += _fill(service, slice_, _slice_ports(slice_), endpoints, now)
        else:
            spare.append(slice_)
    chunks = [
        (ports, endpoints[start : start + PER_SLICE])
        for ports, endpoints in groups.items()
        for start in range(0, len(endpoints), PER_SLICE)
    ]
    if not chunks and len(spare) == len(mine):
        chunks = [((), [])]  # a Service without pods keeps one empty slice
    for ports, endpoints in chunks:
        if spare:
            changes += _fill(service, spare.pop(0), ports, endpoints, now)
        else:
            changes.append(Create(SLICES, _slice(service, ports, endpoints, now)))
    return changes + [_delete(SLICES, s) for s in spare]


def _is_ours(view: View, service: Manifest) -> bool:
    spec = service["spec"]
    external = spec.get("type") == "ExternalName"
    gone = deleting(service) or namespace_terminating(view, namespace_of(service))
    return bool(spec.get("selector")) and not external and not gone


def _selects(service: Manifest, pod: Manifest) -> bool:
    selector = service["spec"].get("selector")
    labels = labels_of(pod)
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def _pods(view: View, service: Manifest) -> list[Manifest]:
    """Selected pods with an address that are not finished, by name."""
    found = [
        pod
        for pod in view.list("pods", namespace_of(service))
        if _selects(service, pod) and (pod.get("status") or {}).get("podIP") and not pod_facts.finished(pod)
    ]
    return sorted(found, key=name_of)


def _ports(service: Manifest, pod: Manifest) -> Ports:
    """The Service's ports as this pod has them; a named port that it lacks is left out."""
    found = [
        (port.get("name", ""), protocol, number, port.get("appProtocol", ""))
        for port in service["spec"].get("ports") or ()
        if (protocol := port.get("protocol", "TCP"))
        and (number := _number(port.get("targetPort", port["port"]), protocol, pod)) is not None
    ]
    return tuple(sorted(found, key=lambda port: _go_hash(*port)))


def _go_hash(name: str, protocol: str, number: int, app_protocol: str) -> str:
    """What a real controller orders ports by: the MD5 of the port as Go prints it (`hash.DeepHashObject`)."""
    text = (
        f"(v1.EndpointPort){{Name:(*string){name} Protocol:(*v1.Protocol){protocol} Port:(*int32){number} "
        f"AppProtocol:(*string){app_protocol or '<nil>'}}}"
    )
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _number(target: int | str, protocol: str, pod: Manifest) -> int | None:
    if isinstance(target, int):
        return target
    restartable = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in [*pod["spec"]["containers"], *restartable]:
        for port in container.get("ports") or ():
            if port.get("name") == target and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _slice_ports(slice_: Manifest) -> Ports:
    return tuple(
        (p.get("name") or "", p.get("protocol", "TCP"), p["port"], p.get("appProtocol") or "")
        for p in slice_.get("ports") or ()
    )


def _endpoint(view: View, service: Manifest, pod: Manifest) -> Manifest:
    serving = pod_facts.ready(pod)
    always = bool(service["spec"].get("publishNotReadyAddresses"))
    terminating = deleting(pod)
    endpoint: dict[str, Any] = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": always or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": _target(pod),
    }
    hostname, subdomain = pod["spec"].get("hostname"), pod["spec"].get("subdomain")
    if hostname and subdomain == name_of(service):
        endpoint["hostname"] = hostname
    node_name = pod["spec"].get("nodeName")
    if node_name:
        endpoint["nodeName"] = node_name
        node = view.get("nodes", "", node_name)
        zone = labels_of(node).get(_ZONE) if node else None
        if zone:
            endpoint["zone"] = zone
        hints = _hints(service["spec"].get("trafficDistribution"), zone, node_name)
        if hints:
            endpoint["hints"] = hints
    return endpoint


def _hints(distribution: str | None, zone: str | None, node: str) -> Manifest:
    """PreferClose and PreferSameZone name the zone; PreferSameNode names the node too."""
    hints: Manifest = {}
    if distribution and zone:
        hints["forZones"] = [{"name": zone}]
    if distribution == "PreferSameNode":
        hints["forNodes"] = [{"name": node}]
    return hints


def _target(pod: Manifest) -> Manifest:
    return {"kind": "Pod", "namespace": namespace_of(pod), "name": name_of(pod), "uid": uid_of(pod)}


def _take(slice_: Manifest, wanted: list[Manifest] | None) -> list[Manifest]:
    """What this slice shall hold, taken out of *wanted*: what it has already, then what fits."""
    if not wanted:
        return []
    by_uid = {e["targetRef"]["uid"]: e for e in wanted}
    held = [(e.get("targetRef") or {}).get("uid") for e in slice_.get("endpoints") or ()]
    taken = [by_uid.pop(uid) for uid in held if uid in by_uid]
    room = PER_SLICE - len(taken)
    taken.extend([by_uid.pop(uid) for uid in list(by_uid)[:room]])
    wanted[:] = by_uid.values()
    return taken


def _slice_labels(service: Manifest) -> dict[str, str]:
    labels = {k: v for k, v in labels_of(service).items() if k not in {MANAGED_BY, SERVICE_NAME, HEADLESS}}
    headless = {HEADLESS: ""} if service["spec"].get("clusterIP") == "None" else {}
    return {**labels, **headless, MANAGED_BY: MANAGER, SERVICE_NAME: name_of(service)}


def _slice(service: Manifest, ports: Ports, endpoints: list[Manifest], now: float) -> Manifest:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": name_of(service) + "-",
            "namespace": namespace_of(service),
            "labels": _slice_labels(service),
            "annotations": {TRIGGER: stamp(now)},
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints or None,
        "ports": [_port(*p) for p in ports] or None,
    }


def _port(name: str, protocol: str, number: int, app_protocol: str) -> Manifest:
    port: Manifest = {"name": name, "protocol": protocol, "port": number}
    return {**port, "appProtocol": app_protocol} if app_protocol else port


def _fill(
    service: Manifest, slice_: Manifest, ports: Ports, endpoints: list[Manifest], now: float
) -> list[Change]:
    """*slice_* with these contents; nothing if it has them."""
    wanted = _slice(service, ports, endpoints, now)
    labels = wanted["metadata"]["labels"]
    contents = {k: wanted[k] for k in ("endpoints", "ports")}
    if contents == {k: slice_.get(k) or None for k in contents} and labels_of(slice_) == labels:
        return []
    marked = with_meta(with_annotations(slice_, {TRIGGER: stamp(now)}), labels=labels)
    return [Update(SLICES, {**marked, **contents})]


def _delete(resource: str, obj: Manifest) -> Delete:
    return Delete(resource, namespace_of(obj), name_of(obj), uid_of(obj))


def plan_endpoints(view: View, service: Manifest, now: float) -> list[Change]:
    """The Endpoints object of a Service: what older clients read."""
    if not _is_ours(view, service):
        return []
    subsets = _subsets(view, service)
    labels = {**labels_of(service), LEGACY_LABEL: "endpoint-controller"}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    current = view.get(ENDPOINTS, namespace_of(service), name_of(service))
    wanted: Manifest = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": name_of(service), "namespace": namespace_of(service), "labels": labels},
    }
    if subsets:
        wanted["subsets"] = subsets
    if current is None:
        return [Create(ENDPOINTS, with_annotations(wanted, {TRIGGER: stamp(now)}))]
    if (current.get("subsets") or []) == subsets and labels_of(current) == labels:
        return []
    annotations = {k: v for k, v in annotations_of(current).items() if k != TRIGGER}
    meta = with_meta(current, labels=labels, annotations=annotations or None)["metadata"]
    return [Update(ENDPOINTS, {**wanted, "metadata": meta})]


def endpoints_gone(view: View, key: Key, now: float) -> list[Change]:
    """Endpoints have no owner reference: they go with their Service here."""
    del now
    left = view.get(ENDPOINTS, *key)
    if left is None or LEGACY_LABEL not in labels_of(left):
        return []
    return [_delete(ENDPOINTS, left)]


def _subsets(view: View, service: Manifest) -> list[Manifest]:
    groups: dict[Ports, Manifest] = {}
    for pod in _pods(view, service)[:LEGACY_LIMIT]:
        endpoint = _endpoint(view, service, pod)
        if endpoint["conditions"]["terminating"] and not endpoint["conditions"]["ready"]:
            continue
        address = {"ip": endpoint["addresses"][0], "targetRef": endpoint["targetRef"]}
        address |= {k: endpoint[k] for k in ("hostname", "nodeName") if k in endpoint}
        field = "addresses" if endpoint["conditions"]["ready"] else "notReadyAddresses"
        subset = groups.setdefault(_ports(service, pod), {})
        subset.setdefault(field, []).append(address)
    return [{**subset, **_legacy_ports(ports)} for ports, subset in groups.items()]


def _legacy_ports(ports: Ports) -> Manifest:
    entries = [_legacy_port(*p) for p in ports]
    return {"ports": entries} if entries else {}


def _legacy_port(name: str, protocol: str, number: int, app_protocol: str) -> Manifest:
    named: Manifest = {"name": name} if name else {}
    tail = {"appProtocol": app_protocol} if app_protocol else {}
    return {**named, "port": number, "protocol": protocol, **tail}
