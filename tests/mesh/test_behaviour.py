"""What the experiments build on, by real traffic: retries, budgets, limits, changes under load, mutual TLS."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from meshverdict.mesh import check
from meshverdict.mesh.bootstrap import HEALTH_PORT, STATS_PORT
from meshverdict.mesh.values import Locality, Mesh, Settings, Workload

from .cases import World
from .lab import Lab, have_everything

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not have_everything(), reason="needs root, nsenter, setpriv and ip"),
]

WEB = {80: ("http", "HTTP", 8080), 9000: ("tcp", "TCP", 9000)}


@pytest.fixture(scope="module")
def lab():
    found = Lab(4)
    yield found
    found.close()


def _world(lab, *texts):
    ips = [slot.ip for slot in lab.slots]
    pods = [Workload("echo", "a", ips[0], {"app": "a"}, "a", Locality("lab", "a"))]
    for number, (version, zone) in enumerate((("v1", "a"), ("v2", "b"), ("v2", "b")), 1):
        labels = {"app": "b", "version": version}
        pods.append(Workload("echo", f"b-{number}", ips[number], labels, "b", Locality("lab", zone)))
    world = World(pods, {("echo", "b"): (WEB, ["b-1", "b-2", "b-3"])}, "echo/b")
    _apply(world, *texts)
    return world


def _apply(world, *texts):
    kinds = {"VirtualService": "networking.istio.io/v1", "DestinationRule": "networking.istio.io/v1"}
    world.resources = []
    for text in texts:
        kind, spec = text.split(" ", 1)
        manifest = {
            "apiVersion": kinds.get(kind, "security.istio.io/v1"),
            "kind": kind,
            "metadata": {"name": "x", "namespace": "echo"},
            "spec": yaml.safe_load(spec),
        }
        check(manifest)
        world.resources.append(manifest)


def _attempts(lab, world, count):
    """Requests that arrive at the application, for each one of the client."""
    for slot in lab.slots[1:]:
        slot.status = 503
        slot.requests.clear()
    for _ in range(count):
        lab.slots[0].request(world.address("echo/b"), 80, host="b")
    return sum(sum(slot.requests.values()) for slot in lab.slots) / count


@pytest.mark.parametrize(
    ("variant", "rule", "expected"),
    [
        ("today", "", 1.0),
        ("1.14", "", 3.0),
        ("1.14", "retries: {attempts: 0}", 1.0),
        ("today", "retries: {}", 1.0),
        ("today", "retries: {attempts: 3, retryOn: 5xx}", 4.0),
    ],
)
def test_attempts_when_the_application_answers_503(lab, variant, rule, expected):
    """Today's default retries nothing that was answered, 1.14's makes three of one, a rule as many as it says."""
    route = f"{{hosts: [b], http: [{{route: [{{destination: {{host: b}}}}], {rule}}}]}}"
    world = _world(lab, f"VirtualService {route}")
    mesh = world.mesh()
    lab.start(Mesh(mesh.services, mesh.workloads, mesh.resources, Settings(retries=variant)))
    assert _attempts(lab, world, 20) == expected


@pytest.mark.parametrize("inline", [False, True], ids=["files", "inline"])
def test_no_request_is_lost_while_everything_changes(lab, inline):
    """Weights, subsets, endpoints and routes change under load; every request is answered with 200."""
    settings = Settings(inline_endpoints=inline)
    subsets = "DestinationRule {host: b, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}"
    world = _world(lab)
    lab.start(replace(world.mesh(), settings=settings))
    address, stop, seen = world.address("echo/b"), threading.Event(), Counter()

    def load():
        while not stop.is_set():
            answer = lab.slots[0].request(address, 80, host="b")
            seen[answer.status if answer.status == 200 else answer.body[:80]] += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    took = []
    try:
        for turn in range(24):
            share = 10 * (turn % 10)
            to = f"route: [{{destination: {{host: b, subset: v1}}, weight: {share}}}, {{destination: {{host: b, subset: v2}}, weight: {100 - share}}}]"
            rules = [subsets, f"VirtualService {{hosts: [b], http: [{{{to}}}]}}"] if turn % 3 else []
            _apply(world, *rules)
            world.doors["echo", "b"] = (WEB, ["b-1", "b-2", "b-3"] if turn % 2 else ["b-1", "b-2"])
            start = time.monotonic()
            lab.update(replace(world.mesh(), settings=settings))
            took.append(time.monotonic() - start)
            time.sleep(0.05)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(seen) == {200}
    assert seen[200] > 200
    assert lab.rejected() == {}
    (client, *_) = lab.running
    assert _inotify_instances(client.envoy.pid) == len(client.files) + 2  # its secrets
    assert sorted(took)[len(took) // 2] < 1.0


def _inotify_instances(pid):
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return sum("inotify" in link for link in links)


def test_strict_mutual_tls_refuses_plain_text(lab):
    """A client without a sidecar is cut off at a STRICT port, and served where the port is disabled."""
    world = _world(
        lab,
        "PeerAuthentication {selector: {matchLabels: {app: b}}, mtls: {mode: STRICT}, portLevelMtls: {'9000': {mode: DISABLE}}}",
    )
    lab.start(world.mesh())
    target = world.pods[1].ip
    assert lab.slots[0].request(world.address("echo/b"), 80, host="b").status == 200
    with pytest.raises(ConnectionResetError):
        lab.outside(target, 8080)
    assert lab.outside(target, 9000) == b"b-1\n"


def test_tcp_connections_are_limited(lab):
    """MaxConnections holds for TCP: the third of three open connections is closed."""
    world = _world(
        lab, "DestinationRule {host: b, trafficPolicy: {connectionPool: {tcp: {maxConnections: 2}}}}"
    )
    lab.start(world.mesh())
    open_ones = [lab.slots[0].connect(world.address("echo/b"), 9000, timeout=2) for _ in range(3)]
    try:
        time.sleep(0.3)
        last = open_ones[-1].recv(1)
        assert last == b""
        open_ones[0].sendall(b"x\n")
        assert open_ones[0].recv(10)
    finally:
        for sock in open_ones:
            sock.close()


def test_ejection_fails_over_to_the_other_zone(lab):
    """Clients stay in their zone until its pod fails; then the other zone serves, for TCP as well."""
    outlier = "outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 30s, maxEjectionPercent: 100}"
    world = _world(lab, f"DestinationRule {{host: b, trafficPolicy: {{{outlier}}}}}")
    lab.start(world.mesh())
    address, client = world.address("echo/b"), lab.slots[0]
    assert {client.request(address, 80, host="b").seen["pod"] for _ in range(20)} == {"b-1"}
    lab.slots[1].status = 500
    statuses = [client.request(address, 80, host="b").status for _ in range(30)]
    assert statuses.count(500) <= 5
    assert statuses[-10:] == [200] * 10


def test_the_sidecar_answers_for_itself(lab):
    """Port 15021 says ready, port 15090 serves statistics with the cluster's whole name as a tag."""
    world = _world(lab)
    lab.start(world.mesh())
    client, server = lab.slots[0], lab.slots[1]
    client.request(world.address("echo/b"), 80, host="b")
    assert server.request(client.ip, HEALTH_PORT, "/healthz/ready").status == 200
    assert server.request(client.ip, STATS_PORT, "/certs").status == 404
    name = "outbound|80||b.echo.svc.cluster.local"
    text = client.request("127.0.0.1", STATS_PORT, "/stats/prometheus").body
    assert f'envoy_cluster_upstream_rq_total{{cluster_name="{name}"}} 1' in text
    assert f'envoy_cluster_upstream_rq_time_count{{cluster_name="{name}"}}' in text
