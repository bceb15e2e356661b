"""What Istio's webhook refuses in a ServiceEntry, in its words."""

from __future__ import annotations

import ipaddress
from typing import Final

from meshverdict.mesh.rulebook import Complaints, Spec
from meshverdict.model.digits import network

_PROTOCOLS: Final = frozenset(
    [
        "tcp",
        "udp",
        "grpc",
        "grpc-web",
        "http",
        "http_proxy",
        "http2",
        "https",
        "tls",
        "mongo",
        "redis",
        "mysql",
        "hbone",
        "double-hbone",
    ]
)


def service_entry(spec: Spec, namespace: str) -> Complaints:
    """Complaints about a ServiceEntry."""
    del namespace
    found = Complaints()
    hosts, ports = spec.get("hosts") or (), spec.get("ports") or ()
    if not hosts:
        found.wrong("service entry must have at least one host")
    for host in hosts:
        if host == "*":
            found.wrong(f"invalid host {host}")
        else:
            found.domain(host)
            if "*" in host and spec.get("resolution") == "DNS" and not spec.get("endpoints"):
                found.wrong("hosts must be FQDN if no endpoints are provided for resolution mode DNS")
    for address in spec.get("addresses") or ():
        _subnet(address, found)
    if not ports:
        found.wrong("service entry must have at least one port")
    _ports(spec, found)
    names = {port.get("name") for port in ports}
    for endpoint in spec.get("endpoints") or ():
        _endpoint(endpoint or {}, names, spec.get("resolution") or "NONE", found)
    if spec.get("resolution") == "STATIC" and not spec.get("endpoints"):
        found.odd("no endpoints for STATIC resolution: nothing answers")
    return found


def _ports(spec: Spec, found: Complaints) -> None:
    names: set[str] = set()
    numbers: set[int] = set()
    for port in spec.get("ports") or ():
        name, number = port.get("name") or "", port.get("number")
        if name in names:
            found.wrong(f'service entry port name "{name}" already defined')
        if number in numbers:
            found.wrong(f"service entry port {number} already defined")
        protocol = port.get("protocol") or ""
        if protocol and protocol.lower() not in _PROTOCOLS:
            found.wrong(f"unsupported protocol: {protocol}")
        names.add(name)
        numbers.add(number)
        found.port(number)


def _subnet(address: str, found: Complaints) -> None:
    if network(address) is None:
        found.wrong(f"{address} is not a valid {'CIDR block' if '/' in address else 'IP address'}")


def _endpoint(endpoint: Spec, names: set[str | None], resolution: str, found: Complaints) -> None:
    address = endpoint.get("address") or ""
    if not address:
        return found.wrong("address is required")
    if resolution == "STATIC":
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            found.wrong(f'endpoint address "{address}" is not a valid IP address')
    else:
        found.domain(address)
    for name, number in (endpoint.get("ports") or {}).items():
        if name not in names:
            found.wrong(f"endpoint port {number} is not defined by the service entry")
        found.port(number)
    return None
