"""Retries multiply from tier to tier, as they do in a real mesh: three tiers, a real Envoy beside each, the last one fails."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import yaml

from meshverdict.analysis.edge_lines import Place, Report, edge_lines
from meshverdict.analysis.sidecar_metrics import read
from meshverdict.mesh import check
from meshverdict.mesh.bootstrap import STATS_PORT
from meshverdict.mesh.values import Locality, Settings, Workload

from .cases import World
from .lab import Lab, have_everything

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not have_everything(), reason="needs root, nsenter, setpriv and ip"),
]
WEB = {80: ("http", "HTTP", 8080)}
TIERS = ("t1", "t2", "t3")
FIVE_HUNDREDS = "retries: {attempts: 2, retryOn: 5xx}"


@pytest.fixture(scope="module")
def lab():
    found = Lab(4)
    yield found
    found.close()


def start(lab, variant="today", route="", policy=""):
    """A client and three tiers, each calling the next; the last answers 503."""
    names = ("client", *TIERS)
    pods = [
        Workload("n", name, slot.ip, {"app": name}, name, Locality("lab", "a"))
        for name, slot in zip(names, lab.slots, strict=True)
    ]
    world = World(pods, {("n", name): (WEB, [name]) for name in TIERS}, "n/t1")
    for name in TIERS:
        if route:
            world.resources.append(
                _resource(
                    "VirtualService",
                    f"{{hosts: [{name}], http: [{{route: [{{destination: {{host: {name}}}}}], {route}}}]}}",
                    name,
                )
            )
        if policy:
            world.resources.append(
                _resource("DestinationRule", f"{{host: {name}, trafficPolicy: {{{policy}}}}}", name)
            )
    lab.start(replace(world.mesh(), settings=Settings(retries=variant)))
    for slot, following in zip(lab.slots[1:], TIERS[1:], strict=False):
        slot.calls = (world.address(f"n/{following}"), following)
    lab.slots[3].status = 503
    return world.address("n/t1")


def _resource(kind, spec, name):
    manifest = {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "n"},
        "spec": yaml.safe_load(spec),
    }
    check(manifest)
    return manifest


def ask(slot, address, host, count, at_once):
    """The statuses of *count* requests, *at_once* of them under way."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda _: slot.request(address, 80, host=host).status, range(count)))


def arrived(lab):
    """Requests that each tier's application saw."""
    return [sum(slot.requests.values()) for slot in lab.slots[1:]]


def seen_by_the_mesh(lab):
    """Attempts for each request of the three edges, as the sidecars tell it."""
    pages = [slot.request("127.0.0.1", STATS_PORT, "/stats/prometheus").body for slot in lab.slots]
    places = {slot.ip: Place(slot.workload.key, None, True) for slot in lab.slots}
    reports = [
        Report(places[slot.ip], read(page), read(page)) for slot, page in zip(lab.slots, pages, strict=True)
    ]
    lines = edge_lines(reports, places, 0.0)
    return {line["edge"]["to"]: line["attempts"] / line["requests"] for line in lines}


@pytest.mark.parametrize(
    ("variant", "route", "each"),
    [
        ("today", FIVE_HUNDREDS, 3),
        ("1.14", "", 3),
        ("today", "", 1),
        ("today", "retries: {attempts: 1, retryOn: 5xx}", 2),
    ],
    ids=["retryOn 5xx", "Istio 1.14", "today's default", "one retry"],
)
def test_attempts_multiply(lab, variant, route, each):
    """(1 + retries) to the power of the tiers, within 5 %; and the mesh's own counters say the same of each tier."""
    address, sent = start(lab, variant, route), 10
    assert set(ask(lab.slots[0], address, "t1", sent, sent)) == {503}
    assert arrived(lab) == pytest.approx([sent * each, sent * each**2, sent * each**3], rel=0.05)
    assert seen_by_the_mesh(lab) == {f"n/{name}": pytest.approx(each, rel=0.05) for name in TIERS}


def test_a_retry_budget_as_computed(lab):
    """Of N requests that fail together, r are retried while r is below 20 % of those still active.

    That is N / 6 when Envoy takes one answer after the other (r = 0.2 (N - r)), and N / 5 when it reads all at once. The
    pause before a retry is long, so that none has come back while others fail.
    """
    route = "retries: {attempts: 1, retryOn: 5xx, backoff: 1s}"
    start(lab, route=route, policy="retryBudget: {percent: 20, minRetryConcurrency: 0}")
    sent, last = 60, lab.slots[3]
    last.together = sent
    address = lab.slots[2].calls[0]
    assert set(ask(lab.slots[2], address, "t3", sent, sent)) == {503}
    assert sum(last.requests.values()) - sent in range(sent // 6, sent // 5 + 1)


def test_a_retry_budget_bounds_the_snowball(lab):
    """With a budget of 20 %, three tiers cannot make more than 1.25 attempts of one, each; without it they make 3."""
    address, sent = (
        start(lab, route=FIVE_HUNDREDS, policy="retryBudget: {percent: 20, minRetryConcurrency: 0}"),
        200,
    )
    ask(lab.slots[0], address, "t1", sent, 20)
    each = seen_by_the_mesh(lab)
    assert all(1 < amplification <= 1.25 for amplification in each.values()), json.dumps(each)
    assert arrived(lab)[2] <= sent * 1.25**3
