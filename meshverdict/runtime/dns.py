"""Cluster DNS: names of Services and of the pods behind headless ones, served from the DNS pod's address."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meshverdict.network.services import SERVICE_NAME_LABEL
from meshverdict.runtime import dns_wire as wire
from meshverdict.runtime.linux import socket_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from meshverdict.cluster.store import Event, Manifest, Store
    from meshverdict.runtime.logs import LogFile

ZONE: Final = "cluster.local"
TTL: Final = 5
PORT: Final = 53
SLICES: Final = "endpointslices.discovery.k8s.io"
_BATCH: Final = 64
_TCP_PATIENCE_S: Final = 10.0
_MAX_UDP: Final = 4096
log = logging.getLogger(__name__)

Records = dict[str, dict[int, list[bytes]]]


@dataclass(slots=True)
class Names:
    """All names of the cluster.

    Attributes:
        records: Name -> record type -> ready-made records.
        parents: Names that exist only because others lie below them: no data, but no NXDOMAIN.
    """

    records: Records = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    parents: set[str] = field(default_factory=set)

    def add(self, name: str, kind: int, data: bytes) -> None:
        """Add a record under a name."""
        self.records[name][kind].append(wire.record(kind, TTL, data))
        parent = name
        while parent.endswith(ZONE) and parent != ZONE:
            parent = parent.partition(".")[2]
            self.parents.add(parent)


def compile_names(services: Iterable[Manifest], slices: Iterable[Manifest]) -> Names:
    """The names that Kubernetes' DNS specification gives to Services and endpoints."""
    names = Names()
    by_service: dict[tuple[str, str], list[Manifest]] = defaultdict(list)
    for piece in slices:
        meta = piece["metadata"]
        by_service[meta["namespace"], (meta.get("labels") or {}).get(SERVICE_NAME_LABEL, "")].append(piece)
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        base = f"{meta['name']}.{meta['namespace']}.svc.{ZONE}"
        if spec.get("type") == "ExternalName":
            names.add(base, wire.CNAME, wire.encode_name(spec["externalName"]))
        elif spec.get("clusterIP") == "None":
            _headless(names, base, service, by_service[meta["namespace"], meta["name"]])
        elif spec.get("clusterIP"):
            _virtual(names, base, spec)
    names.parents |= {ZONE, f"svc.{ZONE}", f"pod.{ZONE}"}
    return names


def _virtual(names: Names, base: str, spec: Mapping[str, Any]) -> None:
    address = spec["clusterIP"]
    names.add(base, wire.A, wire.address(address))
    names.add(reverse(address), wire.PTR, wire.encode_name(base))
    for port in spec.get("ports") or ():
        if port.get("name"):
            protocol = port.get("protocol", "TCP").lower()
            data = wire.service(port["port"], base, 100)
            names.add(f"_{port['name']}._{protocol}.{base}", wire.SRV, data)


def _headless(names: Names, base: str, service: Manifest, slices: Iterable[Manifest]) -> None:
    unready_too = bool(service["spec"].get("publishNotReadyAddresses"))
    seen = set()
    for piece in slices:
        if piece.get("addressType", "IPv4") != "IPv4":
            continue  # the lab has no other addresses
        for endpoint in piece.get("endpoints") or ():
            if not unready_too and not (endpoint.get("conditions") or {}).get("ready", True):
                continue
            for address in endpoint.get("addresses") or ():
                own = f"{endpoint.get('hostname') or address.replace('.', '-')}.{base}"
                if address not in seen:
                    seen.add(address)
                    names.add(base, wire.A, wire.address(address))
                    names.add(own, wire.A, wire.address(address))
                    names.add(reverse(address), wire.PTR, wire.encode_name(own))
                for port in piece.get("ports") or ():
                    if port.get("name") and port.get("port"):
                        protocol = port.get("protocol", "TCP").lower()
                        data = wire.service(port["port"], own, 100)
                        names.add(f"_{port['name']}._{protocol}.{base}", wire.SRV, data)


def reverse(address: str) -> str:
    """``4.3.2.1.in-addr.arpa`` of 1.2.3.4."""
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def pod_address(name: str) -> str | None:
    """The address in ``10-244-1-2.NAMESPACE.pod.cluster.local``, or None."""
    parts = name.removesuffix(f".pod.{ZONE}").split(".")
    if not name.endswith(f".pod.{ZONE}") or len(parts) != 2:
        return None
    address = parts[0].replace("-", ".")
    try:
        socket.inet_pton(socket.AF_INET, address)
    except OSError:
        return None
    return address


class Resolver:
    """Answers queries from the store; compiles names anew only when asked after a change."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: Names | None = None
        self._turn = 0
        self._negative = [wire.authority(ZONE, TTL)]
        self.stop: Callable[[], None] = store.subscribe(self._changed)

    def _changed(self, event: Event) -> None:
        if event.resource in ("services", SLICES):
            self._names = None

    def answer(self, data: bytes, limit: int | None = None) -> bytes | None:
        """The answer to one message; None if it deserves none.

        Args:
            data: The message as it was received.
            limit: The longest answer; None means what fits into UDP for this client.
        """
        try:
            query = wire.parse_query(data)
        except wire.WireError:
            return wire.refusal(data, wire.FORMERR)
        if query.flags & 0x7800:
            return wire.refusal(data, wire.NOTIMP)
        code, answers = self._look_up(query.name, query.kind)
        negative = () if answers else self._negative
        return wire.response(query, code, answers, negative, limit or query.udp_limit)

    def _look_up(self, name: str, kind: int) -> tuple[int, list[bytes]]:
        if self._names is None:
            self._names = compile_names(self._store.list("services"), self._store.list(SLICES))
        found = self._names.records.get(name)
        if found is not None:
            records = found.get(kind) or found.get(wire.CNAME) or []
            if kind == wire.ANY:
                records = [r for some in found.values() for r in some]
            if len(records) > 1:  # clients take the first: everybody gets a turn
                self._turn += 1
                start = self._turn % len(records)
                records = records[start:] + records[:start]
            return wire.NOERROR, records
        if name in self._names.parents:
            return wire.NOERROR, []
        address = pod_address(name)
        if address:
            wanted = kind in (wire.A, wire.ANY)
            return wire.NOERROR, [wire.record(wire.A, TTL, wire.address(address))] if wanted else []
        return wire.NXDOMAIN, []


class DnsServer:
    """Serves a resolver on port 53 of a network namespace, over UDP and TCP."""

    def __init__(self, resolver: Resolver, udp: socket.socket, server: asyncio.Server) -> None:
        self._resolver = resolver
        self._udp = udp
        self._server = server
        asyncio.get_running_loop().add_reader(udp, self._datagrams)

    @classmethod
    async def start(cls, store: Store, network: int, logs: LogFile) -> DnsServer:
        """Open the sockets in *network* and serve."""
        udp = socket_in(network, socket.AF_INET, socket.SOCK_DGRAM)
        udp.setblocking(False)
        udp.bind(("0.0.0.0", PORT))  # noqa: S104 - of the DNS pod's own network
        tcp = socket_in(network, socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("0.0.0.0", PORT))  # noqa: S104 - of the DNS pod's own network
        resolver = Resolver(store)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _connection(resolver, reader, writer)

        server = await asyncio.start_server(serve, sock=tcp)
        logs.write("stdout", f"serving {ZONE} on port {PORT}".encode(), time.time_ns())
        logs.flush()
        return cls(resolver, udp, server)

    async def close(self) -> None:
        """Close the sockets."""
        asyncio.get_running_loop().remove_reader(self._udp)
        self._udp.close()
        self._server.close()
        self._resolver.stop()

    def _datagrams(self) -> None:
        for _ in range(_BATCH):
            try:
                data, sender = self._udp.recvfrom(_MAX_UDP)
            except OSError:
                return  # nothing more, or an ICMP error of an answer that nobody waited for
            answer = self._resolver.answer(data)
            if answer is not None:
                with contextlib.suppress(OSError):  # a full queue loses it, as UDP may
                    self._udp.sendto(answer, sender)


async def _connection(resolver: Resolver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_TCP_PATIENCE_S):
            while True:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                answer = resolver.answer(await reader.readexactly(length), 65_535)
                if answer is None:
                    return
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
    except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
        return
    finally:
        writer.close()
