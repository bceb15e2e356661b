"""Links, addresses, routes and neighbours by rtnetlink, in the few forms that a pod needs.

The process that makes pods must stay small, and a pod should take milliseconds: a general library
costs 15 MB and a look-up for every name. Here the caller chooses interface numbers, so that a whole
veth pair with its routes is a handful of messages and no look-up.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

_RTM_NEWLINK, _RTM_DELLINK, _RTM_NEWADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH = 16, 17, 20, 24, 28
_REQUEST, _ACK, _REPLACE, _EXCL, _CREATE = 1, 4, 0x100, 0x200, 0x400
_ERROR: Final = 2
_IFF_UP: Final = 1
_SCOPE_GLOBAL, _SCOPE_LINK = 0, 253
_PERMANENT: Final = 0x80
_VETH_INFO_PEER: Final = 1
LOOPBACK: Final = 1


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def mac_bytes(mac: str) -> bytes:
    """``aa:bb:cc:dd:ee:ff`` as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


class RouteSocket:
    """An rtnetlink socket of the network namespace that the caller is in when it makes one."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def veth(
        self,
        name: str,
        index: int,
        *,
        mac: str | None,
        peer_name: str,
        peer_index: int,
        peer_mac: str | None,
        peer_network: int,
    ) -> None:
        """Make a veth pair, this end up, the other end in the network namespace *peer_network*."""
        peer = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, peer_index, 0, 0)
        peer += _attribute(3, _text(peer_name)) + _attribute(28, struct.pack("=I", peer_network))
        if peer_mac:
            peer += _attribute(1, mac_bytes(peer_mac))
        info = _attribute(1, _text("veth")) + _attribute(2, _attribute(_VETH_INFO_PEER, peer))
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP)
        body += _attribute(3, _text(name))
        if mac:
            body += _attribute(1, mac_bytes(mac))
        body += _attribute(18, info)
        self._call(_RTM_NEWLINK, _CREATE | _EXCL, body, f"make veth {name}")

    def up(self, index: int) -> None:
        """Set a link up."""
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, _IFF_UP, _IFF_UP)
        self._call(_RTM_NEWLINK, 0, body, f"set link {index} up")

    def delete_link(self, index: int) -> None:
        """Delete a link; its veth peer goes with it."""
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0)
        self._call(_RTM_DELLINK, 0, body, f"delete link {index}")

    def address(self, index: int, address: str, prefix: int) -> None:
        """Give a link an IPv4 address."""
        body = struct.pack("=BBBBi", socket.AF_INET, prefix, 0, _SCOPE_GLOBAL, index)
        raw = socket.inet_aton(address)
        body += _attribute(2, raw) + _attribute(1, raw)
        self._call(_RTM_NEWADDR, _CREATE | _REPLACE, body, f"address {address}/{prefix} on link {index}")

    def route(
        self,
        destination: str,
        prefix: int,
        *,
        via: str | None = None,
        index: int | None = None,
        source: str | None = None,
    ) -> None:
        """Add an IPv4 route; ``0.0.0.0`` with prefix 0 is the default route."""
        scope = _SCOPE_GLOBAL if via else _SCOPE_LINK
        main_table, boot, unicast = 254, 3, 1
        body = struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, main_table, boot, scope, unicast, 0)
        if prefix:
            body += _attribute(1, socket.inet_aton(destination))
        if via:
            body += _attribute(5, socket.inet_aton(via))
        if index is not None:
            body += _attribute(4, struct.pack("=i", index))
        if source:
            body += _attribute(7, socket.inet_aton(source))
        self._call(
            _RTM_NEWROUTE, _CREATE | _REPLACE, body, f"route {destination}/{prefix} via {via or index}"
        )

    def neighbour(self, index: int, address: str, mac: str) -> None:
        """Add a permanent neighbour: proxy ARP would answer only after a random 0 to 0.8 s."""
        body = struct.pack("=BxxxiHBB", socket.AF_INET, index, _PERMANENT, 0, 0)
        body += _attribute(1, socket.inet_aton(address)) + _attribute(2, mac_bytes(mac))
        self._call(_RTM_NEWNEIGH, _CREATE | _REPLACE, body, f"neighbour {address} on link {index}")

    def _call(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self._sequence += 1
        header = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, self._sequence, 0)
        self._socket.send(header + body)
        answer = self._socket.recv(8192)
        _, answer_kind = struct.unpack_from("=IH", answer)
        if answer_kind != _ERROR:
            raise OSError(f"{what}: rtnetlink answered with message type {answer_kind}")
        (number,) = struct.unpack_from("=i", answer, 16)
        if number:
            raise OSError(-number, f"{what}: {os.strerror(-number)}")
