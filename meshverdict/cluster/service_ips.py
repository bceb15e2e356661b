"""ClusterIPs and node ports of Services: given on create, kept on update, freed on deletion.

Which address is free is :mod:`meshverdict.network.addresses`' business; here its answers become the API's.
"""

from __future__ import annotations

from typing import Final, Protocol

from meshverdict.cluster.errors import FieldError, bad, invalid
from meshverdict.cluster.store import Manifest
from meshverdict.network.addresses import AddressError

_FIRST_PORT: Final = 30000
_LAST_PORT: Final = 32767


class Addresses(Protocol):
    """Who gives out ClusterIPs."""

    def allocate(self) -> str:
        """Any free address."""

    def claim(self, address: str) -> None:
        """Take this very address."""

    def release(self, address: str) -> None:
        """Give an address back."""


class ServiceIps:
    """What Services hold.

    Args:
        addresses: The ClusterIPs.
    """

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._ports: set[int] = set()

    def assign(self, service: Manifest) -> Manifest:
        """A new Service with its addresses and node ports.

        Raises:
            ApiError: 422 when an address or port asked for cannot be had.
        """
        spec = dict(service["spec"])
        name = service["metadata"]["name"]
        if spec.get("type") != "ExternalName":
            spec = self._address(spec, name)
        try:
            spec = self._node_ports(spec, name)
        except Exception:
            if spec.get("clusterIP") not in {None, "", "None"}:
                self._addresses.release(spec["clusterIP"])
            raise
        return {**service, "spec": spec}

    def _address(self, spec: Manifest, name: str) -> Manifest:
        wanted = spec.get("clusterIP") or ""
        if wanted == "None":
            return {**spec, "clusterIPs": ["None"]}
        if wanted:
            try:
                self._addresses.claim(wanted)
            except AddressError as error:
                taken = "already" in str(error)
                why = "provided IP is already allocated" if taken else _OUTSIDE
                text = f"failed to allocate IP {wanted}: {why}"
                raise _refused(name, bad("spec.clusterIPs", [wanted], text)) from None
            given = wanted
        else:
            try:
                given = self._addresses.allocate()
            except AddressError as error:
                raise _refused(name, bad("spec.clusterIPs", [""], str(error))) from None
        return {**spec, "clusterIP": given, "clusterIPs": [given]}

    def _node_ports(self, spec: Manifest, name: str) -> Manifest:
        if spec.get("type") not in {"NodePort", "LoadBalancer"}:
            return spec
        taken: list[int] = []
        ports = []
        for index, port in enumerate(spec.get("ports") or []):
            wanted = port.get("nodePort") or 0
            place = f"spec.ports[{index}].nodePort"
            if wanted and not _FIRST_PORT <= wanted <= _LAST_PORT:
                self._ports.difference_update(taken)
                text = (
                    "provided port is not in the valid range. The range of valid ports is "
                    f"{_FIRST_PORT}-{_LAST_PORT}"
                )
                raise _refused(name, bad(place, wanted, text))
            if wanted in self._ports:
                self._ports.difference_update(taken)
                raise _refused(name, bad(place, wanted, "provided port is already allocated"))
            free = (n for n in range(_FIRST_PORT, _LAST_PORT + 1) if n not in self._ports)
            number = wanted or next(free)
            self._ports.add(number)
            taken.append(number)
            ports.append({**port, "nodePort": number})
        return {**spec, "ports": ports} if ports else spec

    def keep(self, service: Manifest, old: Manifest) -> Manifest:
        """An updated Service with what *old* held, where the update says nothing of it."""
        spec, before = dict(service["spec"]), old["spec"]
        if spec.get("type") == "ExternalName":
            return {**service, "spec": spec}
        if not spec.get("clusterIP") and before.get("clusterIP"):
            spec["clusterIP"] = before["clusterIP"]
            spec["clusterIPs"] = before.get("clusterIPs") or [before["clusterIP"]]
        elif spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIPs"] = [spec["clusterIP"]]
        held = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in before.get("ports") or []}
        if spec.get("type") in {"NodePort", "LoadBalancer"}:
            spec["ports"] = [
                {**p, "nodePort": p.get("nodePort") or held.get((p.get("protocol"), p.get("port"))) or 0}
                for p in spec.get("ports") or []
            ]
        return {**service, "spec": spec}

    def change(self, service: Manifest, old: Manifest) -> Manifest:
        """A validated update: frees what it gives up and assigns what it newly needs."""
        name = service["metadata"]["name"]
        spec, before = service["spec"], old["spec"]
        if spec.get("type") == "ExternalName":
            self.release(old)
            keys = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
            return {**service, "spec": {k: v for k, v in spec.items() if k not in keys}}
        if not before.get("clusterIP"):
            return self.assign(service)
        old_ports = {p.get("nodePort") for p in before.get("ports") or []} - {None, 0}
        self._ports -= old_ports
        try:
            return {**service, "spec": self._node_ports(spec, name)}
        except Exception:
            self._ports |= old_ports
            raise

    def release(self, service: Manifest) -> None:
        """A Service is gone."""
        spec = service.get("spec") or {}
        if spec.get("clusterIP") not in {None, "", "None"}:
            self._addresses.release(spec["clusterIP"])
        self._ports -= {p.get("nodePort") for p in spec.get("ports") or []}


_OUTSIDE: Final = "the provided network does not match the current range"


def _refused(name: str, error: FieldError) -> Exception:
    return invalid("Service", "", name, [error])
