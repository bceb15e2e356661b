"""Third-party NetworkPolicy tables, by real sockets through the kernel that was given our ruleset."""

import pytest

from meshverdict.network.nft import NftSettings, render
from meshverdict.network.policy import compile_policies
from meshverdict.network.services import Endpoint, ServicePort
from meshverdict.network.values import NodeNet

from . import cases
from .kernel import Probe, probe_all

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not cases.FILE.exists(), reason="the yardsticks are not here"),
]

# A Service's port differs from its target's, so that judging the wrong one is seen.
SERVICE_PORT_OFFSET = 1000


def services_for(pods):
    return [
        ServicePort(
            pod.key, "", virtual(pod.ip), protocol, port + SERVICE_PORT_OFFSET, (Endpoint(pod.ip, port),)
        )
        for pod in pods
        for port in (80, 81, 5000, 6379, 8000, 8080)
        for protocol in ("TCP", "UDP")
    ]


def virtual(ip):
    return ip.replace("10.244.", "10.96.")


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("denied", "via_service"),
    [
        pytest.param("reject", False, id="rejected"),
        pytest.param("reject", True, id="rejected-behind-a-service"),
        pytest.param("drop", False, id="dropped"),
    ],
)
def test_the_kernel_does_what_the_tables_state(fabric, denied, via_service):
    """Every cell of every table, by a real connection or datagram, is as the cited source says."""
    settings, wrong, judged = NftSettings(denied=denied), [], 0
    for case in cases.load_once():
        for state in cases.steps(case):
            pods = list(state.pods.values())
            rules = compile_policies(state.policies, pods, state.namespaces)
            services = services_for(pods) if via_service else []
            for node in cases.NODES:
                ruleset = render(NodeNet(node), pods=pods, services=services, rules=rules, settings=settings)
                fabric.nft[node].run(ruleset.text)
            wanted = dict(_probes(state, via_service=via_service))
            seen = probe_all(fabric, list(wanted), {probe for probe, allowed in wanted.items() if allowed})
            wrong += [f"{state.label}: {p} {seen[p]}" for p in wanted if seen[p] != wanted[p]]
            judged += len(wanted)
    assert wrong == []
    assert judged > 20_000


def _probes(state, *, via_service):
    for table in state.tables:
        for (a, b), allowed in table.expected.items():
            address, port = state.pods[b].ip, table.port
            if via_service:
                address, port = virtual(address), port + SERVICE_PORT_OFFSET
            yield Probe(state.pods[a].ip, address, port, table.protocol), allowed
