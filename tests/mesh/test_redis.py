"""What a DestinationRule says of connections and zones holds for Redis, which is no HTTP: real Redis, real Envoys."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time

import pytest
import yaml

from meshverdict.mesh import check
from meshverdict.mesh.bootstrap import STATS_PORT
from meshverdict.mesh.values import Locality, Workload

from .cases import World
from .lab import Lab, have_everything

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not have_everything(), reason="needs root, nsenter, setpriv and ip"),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server"),
]
PORT = 6379
DOOR = {PORT: ("tcp-redis", "TCP", PORT)}
EJECT = (
    "outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, interval: 1s,"
    " baseEjectionTime: 60s, maxEjectionPercent: 100}"
)


@pytest.fixture(scope="module")
def lab():
    found = Lab(3)
    yield found
    found.close()


@pytest.fixture
def redis(lab):
    """A Redis in each of the two pods behind the Service; each says who it is."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        for name, slot in zip(("near", "far"), lab.slots[1:], strict=True):
            running.append(_started(slot))
            deadline = time.monotonic() + 5
            while not _named(slot, name):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def _started(slot):
    words = ["redis-server", "--port", str(PORT), "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""]
    inside = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{slot.fd}"]
    return subprocess.Popen([*inside, *words], stdout=subprocess.DEVNULL)


def _named(slot, name):
    try:
        with slot.connect("127.0.0.1", PORT) as own:
            return say(own, f"SET who {name}") == "+OK"
    except ConnectionRefusedError:
        return False


def say(sock: socket.socket, line: str) -> str:
    """One command's answer."""
    sock.sendall(f"{line}\r\n".encode())
    text = sock.recv(1000).decode()
    return text.split("\r\n")[1] if text.startswith("$") else text.strip()


def who(lab, address):
    """Who answers a new connection of the client; what happened, where nobody does."""
    with contextlib.closing(lab.slots[0].connect(address, PORT, timeout=5)) as sock:
        try:
            return say(sock, "GET who") or "closed"
        except ConnectionError:
            return "closed"


def start(lab, policy):
    """A client in zone a, Redis in zones a and b."""
    names, zones = ("client", "near", "far"), ("a", "a", "b")
    pods = [
        Workload("d", name, slot.ip, {"app": name}, name, Locality("lab", zone))
        for name, zone, slot in zip(names, zones, lab.slots, strict=True)
    ]
    world = World(pods, {("d", "redis"): (DOOR, ["near", "far"])}, "d/redis")
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "redis", "namespace": "d"},
        "spec": {"host": "redis", "trafficPolicy": yaml.safe_load(f"{{{policy}}}")},
    }
    check(rule)
    world.resources.append(rule)
    lab.start(world.mesh())
    return world.address("d/redis")


def test_connections_stay_in_their_zone_until_its_redis_fails(lab, redis):
    """Locality failover for TCP: all connections go to the near Redis, and after two that failed all to the far one.

    The pod fails as a whole: a sidecar that lives on takes connections for a dead Redis, and its callers see no failure
    to connect. That is so in Istio too.
    """
    address = start(lab, EJECT)
    assert {who(lab, address) for _ in range(20)} == {"near"}
    for process in (redis[0], lab.slots[1].envoy):
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while (seen := who(lab, address)) != "far":  # all of Envoy's threads have to hear of it
        assert seen == "closed"
        assert time.monotonic() < deadline
    assert [who(lab, address) for _ in range(10)] == ["far"] * 10


def test_more_connections_than_allowed_are_closed(lab, redis):
    """A circuit breaker for TCP: with two connections allowed the third is closed, and the mesh says why."""
    assert redis
    address = start(lab, "connectionPool: {tcp: {maxConnections: 2}}")
    kept = [lab.slots[0].connect(address, PORT, timeout=5) for _ in range(2)]
    try:
        assert [say(sock, "PING") for sock in kept] == ["+PONG", "+PONG"]
        assert who(lab, address) == "closed"
        assert [say(sock, "PING") for sock in kept] == ["+PONG", "+PONG"]
    finally:
        for sock in kept:
            sock.close()
    deadline = time.monotonic() + 5
    while who(lab, address) == "closed":  # room again, once Envoy has seen both close
        assert time.monotonic() < deadline
    page = lab.slots[0].request("127.0.0.1", STATS_PORT, "/stats/prometheus").body
    closed = [line for line in page.splitlines() if line.startswith("istio_tcp_connections_closed_total")]
    assert any('response_flags="UO"' in line for line in closed), closed
