"""What happens to open connections, Services and node traffic, with real packets."""

import contextlib
import socket
import struct
import time

import pytest

from meshverdict.network.flows import parse_prefix
from meshverdict.network.nft import FlowLogging, NftSettings, render
from meshverdict.network.policy import compile_policies
from meshverdict.network.services import Endpoint, ServicePort
from meshverdict.network.values import NodeNet, PodNet
from meshverdict.runtime import linux

from .kernel import WORLD, Probe, probe_all

pytestmark = pytest.mark.root

CLIENT = PodNet("x", "client", "10.244.1.1", "node-a", {"role": "client"})
SERVER = PodNet("x", "server", "10.244.2.1", "node-b", {"role": "server"})
NEIGHBOUR = PodNet("y", "neighbour", "10.244.1.2", "node-a", {"role": "client"})
PODS = [CLIENT, SERVER, NEIGHBOUR]
NAMESPACES = {"x": {}, "y": {}}
VIP = "10.96.7.7"
BYSTANDER_VIP = "10.96.7.8"
DENY_INGRESS = {
    "metadata": {"name": "deny", "namespace": "x"},
    "spec": {"podSelector": {"matchLabels": {"role": "server"}}, "policyTypes": ["Ingress"]},
}
DENY_EGRESS = {
    "metadata": {"name": "deny-out", "namespace": "x"},
    "spec": {"podSelector": {"matchLabels": {"role": "client"}}, "policyTypes": ["Egress"]},
}
DENY_EGRESS_OF_SERVER = {
    "metadata": {"name": "deny-out", "namespace": "x"},
    "spec": {"podSelector": {"matchLabels": {"role": "server"}}, "policyTypes": ["Egress"]},
}
SERVICE = ServicePort("x/server", "", VIP, "TCP", 9000, (Endpoint(SERVER.ip, 8443),))
QUIET = 0.4


@pytest.fixture
def load(fabric):
    """Loads policies and Services on both nodes; leaves them without any rules."""

    def apply(policies=(), services=(SERVICE,), **settings):
        rules = compile_policies(policies, PODS, NAMESPACES)
        chosen = NftSettings(**{"denied": "drop", **settings})
        made = {}
        for node in fabric.nft:
            made[node] = render(NodeNet(node), pods=PODS, services=services, rules=rules, settings=chosen)
            fabric.nft[node].run(made[node].text)
        return made

    yield apply
    for nft in fabric.nft.values():
        nft.run("flush ruleset")


@contextlib.contextmanager
def connection(fabric, address, port, *, listen=(SERVER.ip, 8443), source=CLIENT.ip):
    """An open TCP connection: (client's end, server's end)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(fabric.socket(listen[0], "TCP"))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(listen)
        listener.listen()
        listener.settimeout(3)
        client = stack.enter_context(fabric.socket(source, "TCP"))
        client.settimeout(3)
        client.connect((address, port))
        server, _ = listener.accept()
        stack.enter_context(server)
        for sock in (client, server):
            sock.settimeout(QUIET)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        yield client, server


def passes(sender, receiver):
    """Whether a byte gets through within the receiver's timeout."""
    try:
        sender.send(b"!")
        return receiver.recv(1) == b"!"
    except (TimeoutError, ConnectionError):
        return False


@pytest.mark.parametrize("address", [(SERVER.ip, 8443), (VIP, 9000)], ids=["direct", "behind-a-service"])
@pytest.mark.parametrize("policy", [DENY_INGRESS, DENY_EGRESS], ids=["ingress", "egress"])
@pytest.mark.parametrize("first", ["server", "client"])
def test_cut_stops_both_directions_of_an_open_connection(fabric, load, address, policy, first):
    """After the policy no byte passes, not even one that the server pushes."""
    load()
    with connection(fabric, *address) as (client, server):
        assert passes(client, server)
        assert passes(server, client)
        load([policy])
        pairs = [(server, client), (client, server)]
        for sender, receiver in pairs if first == "server" else pairs[::-1]:
            assert not passes(sender, receiver)


@pytest.mark.parametrize("address", [(SERVER.ip, 8443), (VIP, 9000)], ids=["direct", "behind-a-service"])
def test_a_cut_connection_goes_on_when_the_policy_goes(fabric, load, address):
    """Under drop, retransmission carries the connection over a short denial."""
    load()
    with connection(fabric, *address) as (client, server):
        load([DENY_INGRESS])
        assert not passes(server, client)
        load()
        client.settimeout(5)
        assert client.recv(1) == b"!"


def test_keep_spares_open_connections_and_refuses_new_ones(fabric, load):
    """As CNIs with connection tracking in front of the policy do."""
    load(established="keep")
    with connection(fabric, SERVER.ip, 8443) as (client, server):
        load([DENY_INGRESS], established="keep")
        assert passes(client, server)
        assert passes(server, client)
        with fabric.socket(CLIENT.ip, "TCP") as late:
            late.settimeout(QUIET)
            with pytest.raises(TimeoutError):
                late.connect((SERVER.ip, 8443))


def test_reject_resets_an_open_connection(fabric, load):
    """The sender learns of the denial at once."""
    load(denied="reject")
    with connection(fabric, VIP, 9000) as (client, server):
        load([DENY_INGRESS], denied="reject")
        server.send(b"!")
        with pytest.raises(ConnectionResetError):
            server.recv(1)
        assert not passes(client, server)


@pytest.mark.parametrize("established", ["keep", "cut"])
def test_answers_need_no_rule_of_their_own(fabric, load, established):
    """A server whose egress is denied still answers those who may call it, but calls nobody."""
    load([DENY_EGRESS_OF_SERVER], established=established)
    with connection(fabric, VIP, 9000) as (client, server):
        assert passes(client, server)
        assert passes(server, client)
    with fabric.socket(SERVER.ip, "TCP") as caller:
        caller.settimeout(QUIET)
        with pytest.raises(TimeoutError):
            caller.connect((CLIENT.ip, 80))


def test_an_open_udp_flow_is_cut_too(fabric, load):
    """Datagrams of either direction stop, though the flow was tracked as established."""
    load()
    with fabric.socket(SERVER.ip, "UDP") as server, fabric.socket(CLIENT.ip, "UDP") as client:
        for sock in (server, client):
            sock.settimeout(QUIET)
        server.bind((SERVER.ip, 8444))
        client.connect((SERVER.ip, 8444))
        client.send(b"!")
        server.connect(server.recvfrom(1)[1])
        assert passes(server, client)
        load([DENY_INGRESS])
        assert not passes(server, client)
        assert not passes(client, server)


@pytest.mark.usefixtures("servers")
def test_node_traffic_is_always_let_in(fabric, load):
    """Probes from the node reach a pod that denies everything, also through a Service."""
    service = ServicePort("x/server", "", VIP, "TCP", 9000, (Endpoint(SERVER.ip, 80),))
    load([DENY_INGRESS, DENY_EGRESS_OF_SERVER], services=(service,))
    calls = [
        Probe(WORLD, SERVER.ip, 80, "TCP"),
        Probe(WORLD, VIP, 9000, "TCP"),
        Probe(CLIENT.ip, VIP, 9000, "TCP"),
    ]
    assert list(probe_all(fabric, calls, set(calls[:2])).values()) == [True, True, False]


@pytest.mark.usefixtures("servers")
def test_a_pod_reaches_itself_through_its_service(fabric, load):
    """Hairpin, for a pod that denies all its traffic."""
    service = ServicePort("x/client", "", VIP, "TCP", 9000, (Endpoint(CLIENT.ip, 80),))
    load([DENY_EGRESS, {**DENY_INGRESS, "spec": {"podSelector": {}}}], services=(service,))
    call = Probe(CLIENT.ip, VIP, 9000, "TCP")
    assert probe_all(fabric, [call], {call}) == {call: True}


def test_a_service_without_endpoints_refuses_at_once(fabric, load):
    """As kube-proxy does; so does a port that the Service does not have."""
    load(services=(ServicePort("x/none", "", VIP, "TCP", 9000),))
    for port in (9000, 9001):
        with fabric.socket(CLIENT.ip, "TCP") as sock:
            sock.settimeout(QUIET)
            with pytest.raises(ConnectionRefusedError):
                sock.connect((VIP, port))


def test_a_service_spreads_connections_and_a_sticky_one_does_not(fabric, load):
    """Random over the endpoints, or always the same for one client."""
    endpoints = (Endpoint(SERVER.ip, 8443), Endpoint(NEIGHBOUR.ip, 8443))
    load(
        services=(
            ServicePort("x/any", "", VIP, "TCP", 9000, endpoints),
            ServicePort("x/sticky", "", BYSTANDER_VIP, "TCP", 9000, endpoints, sticky=True),
        )
    )
    with contextlib.ExitStack() as stack:
        listeners = []
        for endpoint in endpoints:
            listener = stack.enter_context(fabric.socket(endpoint.ip, "TCP"))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((endpoint.ip, endpoint.port))
            listener.listen(128)
            listener.setblocking(False)
            listeners.append(listener)
        counts = {}
        for address in (VIP, BYSTANDER_VIP):
            for _ in range(60):
                with fabric.socket(CLIENT.ip, "TCP") as sock:
                    sock.settimeout(2)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.connect((address, 9000))
            counts[address] = sorted(_accepted(listener) for listener in listeners)
    assert min(counts[VIP]) >= 10  # 60 fair coins below 10 heads: once in 10 million runs
    assert counts[BYSTANDER_VIP] == [0, 60]


def _accepted(listener):
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


@pytest.mark.usefixtures("servers")
def test_without_network_policy_only_services_are_left(fabric, load):
    """network_policy=False: the same objects, nothing enforced."""
    load([DENY_INGRESS], network_policy=False)
    call = Probe(CLIENT.ip, SERVER.ip, 80, "TCP")
    assert probe_all(fabric, [call], {call}) == {call: True}


@pytest.mark.usefixtures("servers")
def test_flows_are_logged_with_verdict_direction_and_decider(fabric, load):
    """One event for a new connection at the called pod's node, one for a denial where it was denied."""
    with _nflog(fabric.fds["node-b"], 5) as at_server, _nflog(fabric.fds["node-a"], 5) as at_client:
        made = load([DENY_INGRESS], flows=FlowLogging())
        calls = [Probe(CLIENT.ip, SERVER.ip, 80, "TCP"), Probe(SERVER.ip, CLIENT.ip, 80, "TCP")]
        assert list(probe_all(fabric, calls, {calls[1]}).values()) == [False, True]
        (denied,) = {parse_prefix(text) for text in _prefixes(at_server)}
        (allowed,) = {parse_prefix(text) for text in _prefixes(at_client)}
    assert (denied.verdict, denied.direction) == ("DROPPED", "ingress")
    assert made["node-b"].deciders[denied.decider] == ("x/deny",)
    assert (allowed.verdict, allowed.direction, allowed.decider) == ("FORWARDED", "ingress", "open")


@contextlib.contextmanager
def _nflog(namespace, group):
    """A netlink socket that hears an NFLOG group of a namespace."""
    with linux.in_network(namespace):
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
    with sock:
        sock.bind((0, 0))
        sock.settimeout(1)
        # nfgenmsg, then NFULA_CFG_CMD (1): bind, then NFULA_CFG_MODE (2): copy packets.
        command = struct.pack("=BBH", 0, 0, socket.htons(group)) + struct.pack("=HHB3x", 5, 1, 1)
        message = command + struct.pack("=HHIBx2x", 10, 2, socket.htonl(128), 2)
        sock.send(struct.pack("=IHHII", 16 + len(message), (4 << 8) | 1, 5, 1, 0) + message)
        sock.recv(4096)
        yield sock


def _prefixes(sock):
    found = []
    end = time.monotonic() + 1
    sock.settimeout(0.3)
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < end:
            data = sock.recv(65536)
            start = data.index(b"mv ")
            found.append(data[start : data.index(b"\0", start)].decode())
    return found


@pytest.mark.usefixtures("servers", "load")
def test_a_ruleset_in_pieces_replaces_the_one_before(fabric):
    """Generations: the table changes hands in the last transaction, and one table is left."""
    call = Probe(CLIENT.ip, SERVER.ip, 80, "TCP")
    seen = []
    for generation, policies in enumerate([[], [DENY_INGRESS], []]):
        rules = compile_policies(policies, PODS, NAMESPACES)
        for node, nft in fabric.nft.items():
            ruleset = render(NodeNet(node), pods=PODS, services=[SERVICE], rules=rules)
            previous = generation - 1 if generation else None
            *before, last = ruleset.transactions(generation, previous=previous, limit=300)
            assert len(before) > 3
            for text in [*before, last]:
                nft.run(text)
            assert nft.run("list tables").split() == ["table", "ip", f"meshverdict_{generation}"]
        seen.append(probe_all(fabric, [call], {call}, patience=1)[call])
    assert seen == [True, False, True]


@pytest.mark.usefixtures("servers")
def test_overlapping_ranges_load_and_judge(fabric, load):
    """Nested blocks and port ranges, as tiles and, where those would be too many, as single rules."""
    few = [({"cidr": "10.0.0.0/8"}, 70, 80), ({"cidr": "10.244.1.0/24"}, 75, 81)]
    many = [({"cidr": f"10.{k}.0.0/16"}, 4000 - k, 8000 + k) for k in range(200)]
    nested = [({"cidr": f"10.{k}.0.0/16"}, 900 - k, 1000 + k) for k in range(200)]
    for ranges in (few, few + many, few + nested):
        rules = [
            {"from": [{"ipBlock": block}], "ports": [{"port": low, "endPort": high}]}
            for block, low, high in ranges
        ]
        load([{**DENY_INGRESS, "spec": {"podSelector": {}, "ingress": rules}}])
        allowed = [Probe(CLIENT.ip, SERVER.ip, 80, "TCP"), Probe(CLIENT.ip, SERVER.ip, 81, "TCP")]
        denied = [Probe(SERVER.ip, CLIENT.ip, 81, "TCP"), Probe(CLIENT.ip, SERVER.ip, 81, "UDP")]
        seen = probe_all(fabric, allowed + denied, set(allowed))
        assert [probe for probe, through in seen.items() if through] == allowed
