"""Read the kernel's packet log (NFLOG) of one network namespace."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshverdict.runtime.linux import socket_in

if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_NETFILTER: Final = 12
_SOL_NETLINK: Final = 270
_NETLINK_NO_ENOBUFS: Final = 5
_ULOG: Final = 4  # nfnetlink subsystem
_CONFIG: Final = 1
_REQUEST, _ACK = 1, 4
_BIND, _COPY_PACKET = 1, 2
_CFG_CMD, _CFG_MODE, _CFG_TIMEOUT, _CFG_QTHRESH, _CFG_FLAGS = 1, 2, 4, 5, 6
_FLAG_CONNTRACK: Final = 4
_PAYLOAD, _PREFIX, _CT_INFO = 9, 10, 19
_FIRST_REPLY: Final = 3  # enum ip_conntrack_info: from here on the packet is of the answering side
_COPIED: Final = 128
_RECEIVE_BUFFER: Final = 4 << 20
_PROTOCOLS: Final = {1: "ICMPv4", 6: "TCP", 17: "UDP", 132: "SCTP"}
_IPV4_HEADER: Final = 20


@dataclass(frozen=True, slots=True)
class Packet:
    """One logged packet; ports are 0 where the protocol has none."""

    prefix: str
    source: str
    destination: str
    protocol: str
    source_port: int
    destination_port: int
    tcp_flags: int
    is_reply: bool


def open_log(network: int, group: int) -> socket.socket:
    """A non-blocking socket that receives the packets logged to *group* in the namespace *network*.

    Raises:
        OSError: The kernel refuses (somebody else reads the group, or no right to).
    """
    sock = socket_in(network, socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    try:
        sock.bind((0, 0))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        sock.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
        _configure(sock, group, _attribute(_CFG_CMD, bytes([_BIND])))
        _configure(sock, group, _attribute(_CFG_MODE, struct.pack("!IBB", _COPIED, _COPY_PACKET, 0)))
        _configure(sock, group, _attribute(_CFG_QTHRESH, struct.pack("!I", 1)))
        _configure(sock, group, _attribute(_CFG_TIMEOUT, struct.pack("!I", 1)))
        # In a kernel without it every packet counts as one of the calling side.
        with contextlib.suppress(OSError):
            _configure(sock, group, _attribute(_CFG_FLAGS, struct.pack("!H", _FLAG_CONNTRACK)))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def _configure(sock: socket.socket, group: int, attribute: bytes) -> None:
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, group) + attribute
    sock.send(struct.pack("=IHHII", 16 + len(body), _ULOG << 8 | _CONFIG, _REQUEST | _ACK, 1, 0) + body)
    answer = sock.recv(8192)
    (number,) = struct.unpack_from("=i", answer, 16)
    if number:
        raise OSError(-number, f"packet log, group {group}: {os.strerror(-number)}")


def parse(data: bytes) -> Iterator[Packet]:
    """The IPv4 packets in one received datagram."""
    offset = 0
    while offset + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, offset)
        if length < 16:
            return
        if kind == _ULOG << 8:
            packet = _packet(data, offset + 20, min(offset + length, len(data)))
            if packet is not None:
                yield packet
        offset += (length + 3) & ~3


def _packet(data: bytes, position: int, end: int) -> Packet | None:
    prefix, payload, reply = "", b"", False
    while position + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4:
            break
        kind &= 0x3FFF
        if kind == _PREFIX:
            prefix = data[position + 4 : position + length].rstrip(b"\0").decode(errors="replace")
        elif kind == _PAYLOAD:
            payload = data[position + 4 : position + length]
        elif kind == _CT_INFO and position + 8 <= end:
            reply = struct.unpack_from("!I", data, position + 4)[0] >= _FIRST_REPLY
        position += (length + 3) & ~3
    if len(payload) < _IPV4_HEADER or payload[0] >> 4 != 4:
        return None
    header = (payload[0] & 15) * 4
    protocol = _PROTOCOLS.get(payload[9], str(payload[9]))
    ports = (0, 0)
    if payload[9] in (6, 17, 132) and len(payload) >= header + 4:
        ports = struct.unpack_from("!HH", payload, header)
    flags = payload[header + 13] if protocol == "TCP" and len(payload) > header + 13 else 0
    source, destination = socket.inet_ntoa(payload[12:16]), socket.inet_ntoa(payload[16:20])
    return Packet(prefix, source, destination, protocol, ports[0], ports[1], flags, reply)
