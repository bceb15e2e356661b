"""Rules of NetworkPolicy, Service, Ingress, IngressClass, Endpoints and EndpointSlice."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

from meshverdict.cluster.errors import bad, duplicate, forbidden_field, required, unsupported
from meshverdict.cluster.names import (
    dns_label_problems,
    dns_subdomain_problems,
    port_name_problems,
    port_number_problems,
)
from meshverdict.cluster.store import Manifest
from meshverdict.cluster.validation.containers import PROTOCOLS, port_errors
from meshverdict.cluster.validation.meta import Errors, labels_errors, selector_errors

_CIDR_TEXT: Final = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
IP_TEXT: Final = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_TYPES: Final = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_DISTRIBUTIONS: Final = ("PreferClose", "PreferSameZone", "PreferSameNode")
_PATH_TYPES: Final = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_PATHS: Final = ("//", "/./", "/../", "%2f", "%2F")
_BAD_ENDS: Final = ("/..", "/.")


def policy_errors(obj: Manifest) -> Errors:
    """Rules of a NetworkPolicy."""
    spec = obj.get("spec") or {}
    errors = selector_errors(spec.get("podSelector"), "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for index, rule in enumerate(spec.get(direction) or []):
            path = f"spec.{direction}[{index}]"
            for number, port in enumerate(rule.get("ports") or []):
                errors += _policy_port(port, f"{path}.ports[{number}]")
            for number, peer in enumerate(rule.get(peers) or []):
                errors += _peer(peer, f"{path}.{peers}[{number}]")
    types = spec.get("policyTypes") or []
    if len(types) > 2:
        return [*errors, bad("spec.policyTypes", types, "may not specify more than two policyTypes")]
    supported = ("Ingress", "Egress")
    return errors + [
        unsupported(f"spec.policyTypes[{index}]", kind, supported)
        for index, kind in enumerate(types)
        if kind not in supported
    ]


def _policy_port(port: Manifest, path: str) -> Errors:
    errors: Errors = []
    supported = ("TCP", "UDP", "SCTP")
    protocol = port.get("protocol")
    if protocol is not None and protocol not in supported:
        errors.append(unsupported(f"{path}.protocol", protocol, supported))
    value, end = port.get("port"), port.get("endPort")
    if value is None:
        if end is not None:
            errors.append(bad(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
        return errors
    errors += port_errors(value, f"{path}.port")
    if end is None:
        return errors
    if isinstance(value, str):
        return [*errors, bad(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")]
    if end < value:
        errors.append(bad(f"{path}.endPort", value, "must be greater than or equal to `port`"))
    return errors + [bad(f"{path}.endPort", end, text) for text in port_number_problems(end)]


def _peer(peer: Manifest, path: str) -> Errors:
    errors: Errors = []
    given = [key for key in ("podSelector", "namespaceSelector", "ipBlock") if peer.get(key) is not None]
    for key in given:
        if key == "ipBlock":
            errors += _ip_block(peer[key], f"{path}.ipBlock")
        else:
            errors += selector_errors(peer[key], f"{path}.{key}")
    if not given:
        errors.append(required(path, "must specify a peer"))
    elif len(given) > 1 and "ipBlock" in given:
        errors.append(forbidden_field(path, "may not specify both ipBlock and another peer"))
    return errors


def _ip_block(block: Manifest, path: str) -> Errors:
    text = block.get("cidr") or ""
    if not text:
        return [required(f"{path}.cidr")]
    network = _network(text)
    if network is None:
        return [bad(f"{path}.cidr", text, _CIDR_TEXT)]
    errors: Errors = []
    for index, hole in enumerate(block.get("except") or []):
        place = f"{path}.except[{index}]"
        inner = _network(hole)
        if inner is None:
            errors.append(bad(place, hole, _CIDR_TEXT))
        elif inner.version != network.version or inner == network or not _inside(inner, network):
            errors.append(bad(place, hole, "must be a strict subset of `cidr`"))
    return errors


_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _inside(inner: _Network, outer: _Network) -> bool:
    return inner.prefixlen > outer.prefixlen and inner.network_address in outer


def _network(text: str) -> _Network | None:
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def service_errors(obj: Manifest) -> Errors:
    """Rules of a Service."""
    spec = obj.get("spec") or {}
    kind = spec.get("type") or "ClusterIP"
    ports = spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    errors: Errors = []
    if not ports and not headless and kind != "ExternalName":
        errors.append(required("spec.ports"))
    errors += _service_type(spec, kind, headless=headless)
    errors += labels_errors(spec.get("selector"), "spec.selector")
    affinity = spec.get("sessionAffinity")
    if affinity and affinity not in {"ClientIP", "None"}:
        errors.append(unsupported("spec.sessionAffinity", affinity, ("ClientIP", "None")))
    errors += _service_ports(ports, headless=headless, named=len(ports) > 1)
    if kind not in _TYPES:
        errors.append(unsupported("spec.type", kind, _TYPES))
    return errors + _service_addresses(spec, kind)


def _service_type(spec: Manifest, kind: str, *, headless: bool) -> Errors:
    errors: Errors = []
    if kind == "ExternalName":
        name = spec.get("externalName") or ""
        if not name:
            errors.append(required("spec.externalName"))
        else:
            problems = dns_subdomain_problems(name.rstrip("."))
            errors += [bad("spec.externalName", name, text) for text in problems]
    if headless and kind in {"NodePort", "LoadBalancer"}:
        text = f"may not be set to 'None' for {kind} services"
        errors.append(bad("spec.clusterIPs[0]", spec["clusterIP"], text))
    return errors


def _service_ports(ports: Sequence[Manifest], *, headless: bool, named: bool) -> Errors:
    errors: Errors = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        place = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if named and not name:
            errors.append(required(f"{place}.name"))
        elif name:
            errors += [bad(f"{place}.name", name, text) for text in dns_label_problems(name)]
            if name in names:
                errors.append(duplicate(f"{place}.name", name))
            names.add(name)
        number = port.get("port") or 0
        errors += [bad(f"{place}.port", number, text) for text in port_number_problems(number)]
        protocol = port.get("protocol") or ""
        if not protocol:
            errors.append(required(f"{place}.protocol"))
        elif protocol not in PROTOCOLS:
            errors.append(unsupported(f"{place}.protocol", protocol, PROTOCOLS))
        target = port.get("targetPort", number)
        errors += port_errors(target, f"{place}.targetPort")
        if headless and port.get("nodePort"):
            errors.append(forbidden_field(f"{place}.nodePort", "may not be used when `clusterIP` is 'None'"))
    return errors + _same_ports(ports)


def _same_ports(ports: Sequence[Manifest]) -> Errors:
    errors: Errors = []
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            shown = {"protocol": key[0], "port": key[1]}
            errors.append(duplicate(f"spec.ports[{index}]", shown))
        seen.add(key)
    return errors


def _service_addresses(spec: Manifest, kind: str) -> Errors:
    errors: Errors = []
    address = spec.get("clusterIP")
    if kind == "ExternalName" and address:
        text = "may not be set for ExternalName services"
        errors.append(forbidden_field("spec.clusterIPs", text))
    elif address and address != "None" and not is_ip(address):
        errors.append(bad("spec.clusterIPs[0]", address, IP_TEXT))
    for index, external in enumerate(spec.get("externalIPs") or []):
        if not is_ip(external):
            errors.append(bad(f"spec.externalIPs[{index}]", external, IP_TEXT))
    for key in ("internalTrafficPolicy", "externalTrafficPolicy"):
        policy = spec.get(key)
        if policy and policy not in {"Cluster", "Local"}:
            errors.append(unsupported(f"spec.{key}", policy, ("Cluster", "Local")))
    wish = spec.get("trafficDistribution")
    if wish is not None and wish not in _DISTRIBUTIONS:
        errors.append(unsupported("spec.trafficDistribution", wish, _DISTRIBUTIONS))
    return errors


def is_ip(text: str) -> bool:
    """Whether this is an address, of either family."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def service_update_errors(new: Manifest, old: Manifest) -> Errors:
    """A cluster IP stays, unless the type gives it up."""
    before, after = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
    kinds = {old["spec"].get("type"), new["spec"].get("type")}
    if not before or "ExternalName" in kinds or before == after:
        return []
    shown = new["spec"].get("clusterIPs") or ([after] if after else [])
    return [bad("spec.clusterIPs[0]", shown, "may not change once set")]


def ingress_errors(obj: Manifest) -> Errors:
    """Rules of an Ingress."""
    spec = obj.get("spec") or {}
    rules = spec.get("rules") or []
    backend = spec.get("defaultBackend")
    errors: Errors = []
    if not rules and backend is None:
        text = "either `defaultBackend` or `rules` must be specified"
        errors.append(bad("spec", rules, text))
    for index, rule in enumerate(rules):
        errors += _ingress_rule(rule, f"spec.rules[{index}]")
    if backend is not None:
        errors += _backend(backend, "spec.defaultBackend")
    if name := spec.get("ingressClassName"):
        errors += [bad("spec.ingressClassName", name, text) for text in dns_subdomain_problems(name)]
    return errors


def _ingress_rule(rule: Manifest, path: str) -> Errors:
    errors: Errors = []
    host = rule.get("host") or ""
    if host and is_ip(host):
        errors.append(bad(f"{path}.host", host, "must be a DNS name, not an IP address"))
    elif host:
        name = host.removeprefix("*.")
        errors += [bad(f"{path}.host", host, text) for text in dns_subdomain_problems(name)]
    if rule.get("http") is None:
        return errors
    paths = rule["http"].get("paths") or []
    if not paths:
        errors.append(required(f"{path}.http.paths"))
    for index, entry in enumerate(paths):
        errors += _ingress_path(entry, f"{path}.http.paths[{index}]")
    return errors


def _ingress_path(entry: Manifest, path: str) -> Errors:
    errors: Errors = []
    kind = entry.get("pathType")
    target = entry.get("path") or ""
    if kind is None:
        errors.append(required(f"{path}.pathType", "pathType must be specified"))
    elif kind not in _PATH_TYPES:
        errors.append(unsupported(f"{path}.pathType", kind, _PATH_TYPES))
    elif (kind != "ImplementationSpecific" or target) and not target.startswith("/"):
        errors.append(bad(f"{path}.path", target, "must be an absolute path"))
    elif kind != "ImplementationSpecific":
        errors += [
            bad(f"{path}.path", target, f"must not contain '{part}'") for part in _BAD_PATHS if part in target
        ]
        errors += [
            bad(f"{path}.path", target, f"cannot end with '{end}'")
            for end in _BAD_ENDS
            if target.endswith(end)
        ]
    return errors + _backend(entry.get("backend") or {}, f"{path}.backend")


def _backend(backend: Manifest, path: str) -> Errors:
    service = backend.get("service")
    if service is None:
        if backend.get("resource") is not None:
            return []
        return [required(path, "must specify a service or resource")]
    errors: Errors = []
    name = service.get("name") or ""
    if not name:
        errors.append(required(f"{path}.service.name"))
    else:
        errors += [bad(f"{path}.service.name", name, text) for text in dns_label_problems(name)]
    port = service.get("port") or {}
    number, label = port.get("number"), port.get("name")
    if number and label:
        errors.append(bad(path, "", "cannot set both port name & port number"))
    elif label:
        errors += [bad(f"{path}.service.port.name", label, text) for text in port_name_problems(label)]
    elif number:
        errors += [bad(f"{path}.service.port.number", number, t) for t in port_number_problems(number)]
    else:
        errors.append(required(path, "port name or number is required"))
    return errors


def slice_errors(obj: Manifest) -> Errors:
    """Rules of an EndpointSlice."""
    errors: Errors = []
    supported = ("FQDN", "IPv4", "IPv6")
    kind = obj.get("addressType") or ""
    if not kind:
        errors.append(required("addressType"))
    elif kind not in supported:
        errors.append(unsupported("addressType", kind, supported))
    for index, endpoint in enumerate(obj.get("endpoints") or []):
        path = f"endpoints[{index}].addresses"
        if not endpoint.get("addresses"):
            errors.append(required(path, "must contain at least 1 address"))
        for number, address in enumerate(endpoint.get("addresses") or []):
            if kind != "FQDN" and not is_ip(address):
                errors.append(bad(f"{path}[{number}]", address, IP_TEXT))
            elif kind in {"IPv4", "IPv6"} and (":" in address) != (kind == "IPv6"):
                errors.append(bad(f"{path}[{number}]", address, f"must be an {kind} address"))
    for index, port in enumerate(obj.get("ports") or []):
        given = port.get("port")
        if given is not None:
            errors += [bad(f"ports[{index}].port", given, text) for text in port_number_problems(given)]
    return errors
