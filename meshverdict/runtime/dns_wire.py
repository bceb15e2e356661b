"""The part of the DNS wire format (RFC 1035) that a cluster's DNS needs. Pure.

Our own, because every fresh connection of a program in a pod costs up to eight queries (four search
domains, A and AAAA): an answer is the question's bytes with ready-made records behind them.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

A, NS, CNAME, SOA, PTR, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 28, 33, 41, 255
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP = 0, 1, 2, 3, 4
IN: Final = 1
PLAIN_UDP_LIMIT: Final = 512
_OUR_UDP_LIMIT: Final = 1232
_HEADER: Final = struct.Struct("!HHHHHH")
_OWNER: Final = b"\xc0\x0c"  # pointer to the question's name


class WireError(Exception):
    """The message cannot be read."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question.

    Attributes:
        name: Lower case, without the last dot.
        question: The question section as it was sent (clients check its capitals).
        udp_limit: The longest answer that fits.
        edns: The client sent an OPT record.
    """

    id: int
    flags: int
    name: str
    kind: int
    question: bytes
    udp_limit: int
    edns: bool


def parse_query(data: bytes) -> Query:
    """Read a query.

    Raises:
        WireError: It is no query with exactly one question.
    """
    if len(data) < _HEADER.size:
        raise WireError("shorter than a header")
    number, flags, questions, _answers, _authority, additional = _HEADER.unpack_from(data)
    if flags & 0x8000 or questions != 1:
        raise WireError("no query with one question")
    position = _HEADER.size
    labels = []
    while True:
        if position >= len(data):
            raise WireError("the name does not end")
        length = data[position]
        if length == 0:
            break
        if length > 63:
            raise WireError("a question's name is not compressed")
        labels.append(data[position + 1 : position + 1 + length])
        position += 1 + length
    end = position + 5
    if end > len(data):
        raise WireError("the question is cut short")
    kind, _class = struct.unpack_from("!HH", data, position + 1)
    name = b".".join(labels).decode("ascii", "replace").lower()
    limit, edns = PLAIN_UDP_LIMIT, False
    if additional and data[end : end + 3] == b"\0" + struct.pack("!H", OPT) and len(data) >= end + 5:
        edns = True
        limit = max(PLAIN_UDP_LIMIT, min(struct.unpack_from("!H", data, end + 3)[0], _OUR_UDP_LIMIT))
    return Query(number, flags, name, kind, data[_HEADER.size : end], limit, edns)


def encode_name(name: str) -> bytes:
    """A name as labels."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def record(kind: int, ttl: int, data: bytes, owner: bytes = _OWNER) -> bytes:
    """A resource record; by default it is the question's name's."""
    return owner + struct.pack("!HHIH", kind, IN, ttl, len(data)) + data


def address(ip: str) -> bytes:
    """The data of an A record."""
    return socket.inet_aton(ip)


def service(port: int, target: str, share: int) -> bytes:
    """The data of an SRV record; *share* is its weight."""
    return struct.pack("!HHH", 0, share, port) + encode_name(target)


def authority(zone: str, ttl: int) -> bytes:
    """The SOA record that goes with a negative answer, so that it may be cached for *ttl* seconds."""
    data = encode_name(f"ns.dns.{zone}") + encode_name(f"hostmaster.{zone}")
    return record(SOA, ttl, data + struct.pack("!IIIII", 1, 7200, 1800, 86400, ttl), encode_name(zone))


_OPT_RECORD: Final = b"\0" + struct.pack("!HHIH", OPT, _OUR_UDP_LIMIT, 0, 0)


def response(
    query: Query, code: int, answers: Sequence[bytes], authorities: Sequence[bytes], limit: int
) -> bytes:
    """An authoritative answer; one that is longer than *limit* is cut, and says so."""
    extra = [_OPT_RECORD] if query.edns else []
    # response, authoritative, recursion available; the client's opcode and recursion desired
    flags = 0x8480 | (query.flags & 0x7900) | code
    head = _HEADER.pack(query.id, flags, 1, len(answers), len(authorities), len(extra))
    body = b"".join([head, query.question, *answers, *authorities, *extra])
    if len(body) <= limit:
        return body
    head = _HEADER.pack(query.id, flags | 0x0200, 1, 0, 0, len(extra))
    return b"".join([head, query.question, *extra])


def refusal(data: bytes, code: int) -> bytes | None:
    """The answer to what cannot be read; None if not even its id can be."""
    if len(data) < _HEADER.size or data[2] & 0x80:
        return None
    return data[:2] + struct.pack("!HHHHH", 0x8080 | code, 0, 0, 0, 0)
