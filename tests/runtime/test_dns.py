"""Cluster DNS: names, types, negative answers and the wire, by a resolver's own reading."""

from __future__ import annotations

import socket
import struct
import time
from typing import Any

import pytest

from meshverdict.cluster.store import Store
from meshverdict.runtime import dns_wire as wire
from meshverdict.runtime.dns import SLICES, Resolver, pod_address


def question(name: str, kind: int = wire.A, *, edns: bool = False, number: int = 77) -> bytes:
    query = struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, int(edns)) + wire.encode_name(name)
    query += struct.pack("!HH", kind, wire.IN)
    return query + (b"\0" + struct.pack("!HHIH", wire.OPT, 1232, 0, 0) if edns else b"")


def read_name(data: bytes, at: int) -> tuple[str, int]:
    labels, end = [], -1
    while data[at]:
        if data[at] >= 0xC0:
            end = end if end >= 0 else at + 2
            at = struct.unpack_from("!H", data, at)[0] & 0x3FFF
            continue
        labels.append(data[at + 1 : at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(labels), (end if end >= 0 else at + 1)


def answers(data: bytes) -> tuple[int, list[tuple[str, int, int, Any]], int]:
    """Code, (name, type, ttl, value) of each answer, number of authority records."""
    _, flags, _, count, authority, _ = struct.unpack_from("!HHHHHH", data)
    assert flags & 0x8400 == 0x8400, "an authoritative response"
    _, at = read_name(data, 12)
    at += 4
    found = []
    for _ in range(count):
        name, at = read_name(data, at)
        kind, _class, ttl, length = struct.unpack_from("!HHIH", data, at)
        body = at + 10
        value: Any = data[body : body + length]
        if kind == wire.A:
            value = socket.inet_ntoa(value)
        elif kind in (wire.CNAME, wire.PTR):
            value = read_name(data, body)[0]
        elif kind == wire.SRV:
            value = (struct.unpack_from("!H", data, body + 4)[0], read_name(data, body + 6)[0])
        found.append((name, kind, ttl, value))
        at = body + length
    return flags & 15, found, authority


@pytest.fixture
def store() -> Store:
    store = Store()

    def service(name: str, namespace: str = "d-redis", **spec: Any) -> None:
        store.create("services", {"metadata": {"name": name, "namespace": namespace}, "spec": spec})

    service("redis-svc", clusterIP="10.96.1.1", ports=[{"name": "redis", "port": 6379}])
    service("headless", clusterIP="None", ports=[{"name": "redis", "port": 6379}])
    service("outside", type="ExternalName", externalName="example.org")
    endpoint = [
        {"addresses": ["10.244.1.7"], "hostname": "redis-0", "conditions": {"ready": True}},
        {"addresses": ["10.244.1.8"], "hostname": "redis-1", "conditions": {"ready": True}},
        {"addresses": ["10.244.1.9"], "hostname": "redis-2", "conditions": {"ready": False}},
    ]
    labels = {"kubernetes.io/service-name": "headless"}
    store.create(
        SLICES,
        {
            "metadata": {"name": "h", "namespace": "d-redis", "labels": labels},
            "ports": [{"name": "redis", "port": 6379, "protocol": "TCP"}],
            "endpoints": endpoint,
        },
    )
    return store


def ask(store: Store, name: str, kind: int = wire.A) -> tuple[int, list[Any], int]:
    data = Resolver(store).answer(question(name, kind))
    assert data is not None
    code, found, authority = answers(data)
    return code, sorted(value for _, _, _, value in found), authority


SVC = "redis-svc.d-redis.svc.cluster.local"
HEADLESS = "headless.d-redis.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (SVC, wire.A, (0, ["10.96.1.1"], 0)),
        (SVC.upper(), wire.A, (0, ["10.96.1.1"], 0)),
        (SVC, wire.AAAA, (0, [], 1)),
        (HEADLESS, wire.A, (0, ["10.244.1.7", "10.244.1.8"], 0)),
        (f"redis-0.{HEADLESS}", wire.A, (0, ["10.244.1.7"], 0)),
        (f"redis-2.{HEADLESS}", wire.A, (3, [], 1)),
        (f"_redis._tcp.{SVC}", wire.SRV, (0, [(6379, SVC)], 0)),
        (
            f"_redis._tcp.{HEADLESS}",
            wire.SRV,
            (0, [(6379, f"redis-0.{HEADLESS}"), (6379, f"redis-1.{HEADLESS}")], 0),
        ),
        ("outside.d-redis.svc.cluster.local", wire.A, (0, ["example.org"], 0)),
        ("1.1.96.10.in-addr.arpa", wire.PTR, (0, [SVC], 0)),
        ("10-244-1-9.d-redis.pod.cluster.local", wire.A, (0, ["10.244.1.9"], 0)),
        ("d-redis.svc.cluster.local", wire.A, (0, [], 1)),
        ("cluster.local", wire.A, (0, [], 1)),
        ("redis-svc.d-redis.svc.cluster.local.d-redis.svc.cluster.local", wire.A, (3, [], 1)),
        ("example.org", wire.A, (3, [], 1)),
        ("nosuch.d-redis.svc.cluster.local", wire.A, (3, [], 1)),
    ],
)
def test_names(store: Store, name: str, kind: int, expected: Any) -> None:
    """Kubernetes' DNS specification, a row a rule: code, values, and whether an SOA goes with it."""
    assert ask(store, name, kind) == expected


def test_answers_live_five_seconds_and_keep_the_question_s_capitals(store: Store) -> None:
    """Resolvers that mix capitals against forgery find their own spelling."""
    data = Resolver(store).answer(question("ReDiS-svc.d-redis.svc.cluster.local"))
    assert data is not None
    _, found, _ = answers(data)
    assert found == [("ReDiS-svc.d-redis.svc.cluster.local", wire.A, 5, "10.96.1.1")]
    assert data[:2] == struct.pack("!H", 77)


def test_a_changed_service_is_answered_at_once(store: Store) -> None:
    """No stale names after a change, and headless addresses take turns."""
    resolver = Resolver(store)
    assert answers(resolver.answer(question(SVC)) or b"")[1][0][3] == "10.96.1.1"
    old = store.get("services", "d-redis", "redis-svc")
    assert old is not None
    store.update("services", {**old, "spec": {**old["spec"], "clusterIP": "10.96.2.2"}})
    assert answers(resolver.answer(question(SVC)) or b"")[1][0][3] == "10.96.2.2"
    firsts = {answers(resolver.answer(question(HEADLESS)) or b"")[1][0][3] for _ in range(4)}
    assert firsts == {"10.244.1.7", "10.244.1.8"}


def test_a_long_answer_is_cut_over_udp_and_whole_over_tcp(store: Store) -> None:
    """The TC bit makes resolvers ask again by TCP; with EDNS more fits."""
    labels = {"kubernetes.io/service-name": "headless"}
    many = [{"addresses": [f"10.244.2.{i}"], "conditions": {"ready": True}} for i in range(60)]
    meta = {"name": "more", "namespace": "d-redis", "labels": labels}
    store.create(SLICES, {"metadata": meta, "ports": [], "endpoints": many})
    resolver = Resolver(store)
    cut = resolver.answer(question(HEADLESS)) or b""
    assert cut[2] & 2
    assert len(cut) <= 512
    assert len(answers(resolver.answer(question(HEADLESS, edns=True)) or b"")[1]) == 62
    assert len(answers(resolver.answer(question(HEADLESS), 65_535) or b"")[1]) == 62


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", None),
        (b"\0\1\1\0", None),
        (question(SVC)[:20], wire.FORMERR),
        (struct.pack("!HHHHHH", 1, 0x0100, 2, 0, 0, 0) + b"\0" * 10, wire.FORMERR),
        (struct.pack("!HHHHHH", 1, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", wire.FORMERR),
        (struct.pack("!HHHHHH", 1, 0x2800, 1, 0, 0, 0) + question(SVC)[12:], wire.NOTIMP),
        (struct.pack("!HHHHHH", 1, 0x8100, 1, 0, 0, 0) + question(SVC)[12:], None),
    ],
)
def test_nonsense_gets_an_error_or_nothing(store: Store, data: bytes, code: int | None) -> None:
    """Never an exception, and never an answer to an answer."""
    answer = Resolver(store).answer(data)
    assert (answer[3] & 15 if answer else None) == code


def test_eight_queries_of_one_connection_cost_little(store: Store) -> None:
    """ndots:5 asks for four names and two types: together under 2 ms here."""
    resolver = Resolver(store)
    names = [
        f"redis-svc.d-redis.{s}" for s in ("a.svc.cluster.local", "svc.cluster.local", "cluster.local", "")
    ]
    queries = [question(n.strip("."), kind) for n in names for kind in (wire.A, wire.AAAA)]
    begun = time.perf_counter()
    for _ in range(100):
        for query in queries:
            resolver.answer(query)
    assert (time.perf_counter() - begun) / 100 < 0.002


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("10-0-0-1.ns.pod.cluster.local", "10.0.0.1"),
        ("10-0-0-999.ns.pod.cluster.local", None),
        ("x.10-0-0-1.ns.pod.cluster.local", None),
        ("10-0-0-1.ns.svc.cluster.local", None),
    ],
)
def test_pod_names(name: str, address: str | None) -> None:
    """The address that a pod's name stands for."""
    assert pod_address(name) == address
