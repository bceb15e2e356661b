"""The service graph has what the flow log and the mesh know of an edge, once, and says it without colours too."""

from __future__ import annotations

import re

from meshverdict.analysis.edges import parse_edges
from meshverdict.analysis.flows import Flow
from meshverdict.analysis.windows import Moments
from meshverdict.report.document import Edge, Traffic
from meshverdict.report.graph_facts import graphs
from meshverdict.report.render.graph import MAX_WIDTH, edge_words, service_graph
from meshverdict.report.render.parts import TIMES

MOMENTS = Moments(applied=20.0, in_effect=21.0, removed=30.0)


def line(t, source, workload, port, **more):
    edge = {"from": source, "to": f"{workload}-svc", "to_workload": workload, "port": port}
    base = {"protocol": "http", "requests": 100, "attempts": 100, "answers": {"200 -": 100}, "mtls": True}
    return {"t": t, "edge": edge, "latency": {"i": [700], "c": [100]}} | base | more


def flow(t, source, destination, port, verdict="FORWARDED", n=1):
    return Flow(t, verdict, source, destination, port, "TCP", "", n)


def traffic(**more):
    known = {"protocol": "http", "requests": 600, "rate": 60.0, "errors": 0, "denied": 0, "p99_ms": 4.2}
    return Traffic(**known | {"amplification": 1.0, "answers": (("200 -", 600),), "mtls": True} | more)


def test_what_both_know_is_one_edge():
    """The flow log has the pod's port and the mesh the Service's; two ports between two workloads stay apart."""
    samples = parse_edges(
        [
            line(15.0, "a/web", "b/app", 80),
            line(25.0, "a/web", "b/app", 80, answers={"503 UO": 100}),
            line(15.0, "a/web", "c/db", 1),
            line(15.0, "a/web", "c/db", 2),
            line(15.0, "a/traefik", "default/kubernetes", 443)
            | {"edge": {"from": "a/traefik", "to": "default/kubernetes"}},
            line(15.0, "c/meshverdict-prober", "c/db", 2),
        ]
    )
    flows = [
        flow(15, "a/web", "b/app", 8080, n=3),
        flow(25, "a/web", "b/app", 8080, "DROPPED"),
        flow(15, "a/web", "c/db", 5),
    ]
    before, during = graphs(flows, samples, MOMENTS, (10.0, 40.0))
    assert before[0] == "Before"
    assert [(e.destination, e.port, e.forwarded, e.traffic is not None) for e in before[1]] == [
        ("b/app", 80, 3, True),
        ("c/db", 1, 0, True),
        ("c/db", 2, 0, True),
        ("c/db", 5, 1, False),
    ]
    assert before[1][0].traffic.rate == 10.0
    (edge,) = during[1]
    assert (edge.dropped, edge.traffic.errors, edge.traffic.error_share) == (1, 100, 1.0)


def test_without_sidecars_the_flow_log_draws():
    """A run without telemetry has the graph that it always had."""
    ((title, (edge,)),) = graphs([flow(15, "a/web", "b/app", 8080)], (), Moments(), None)
    assert (title, edge) == ("Whole run", Edge("a/web", "b/app", 8080, 1, 0))


def test_thickness_is_rate_and_colour_is_errors():
    """The busiest edge is the thickest; healthy, troubled, failing and blocked edges differ in class and in words."""
    edges = (
        Edge("a/a", "b/b", 1, 0, 0, traffic()),
        Edge("a/a", "c/c", 1, 0, 0, traffic(rate=15.0, errors=30)),
        Edge("a/a", "d/d", 1, 0, 0, traffic(rate=0.0, errors=600, answers=(("503 UO", 600),))),
        Edge("a/a", "e/e", 1, 0, 7),
    )
    drawing = service_graph("Before", edges)
    widths = [float(w) for w in re.findall(r'class="edge [^"]+" stroke-width="([^"]+)"', drawing)]
    assert widths == [MAX_WIDTH, 5.2, 1.5, 2.0]  # as the root of the rate; 2 where only connections were seen
    assert re.findall(r'class="edge (\w+)"', drawing) == ["open", "partly", "failing", "blocked"]
    for words in ("5.0% errors", "100% errors", f"p99 4.2 ms {TIMES}1.00", "✕", "dropped 7"):
        assert words in drawing
    assert "style=" not in drawing  # the page's policy would not let it act


def test_an_edge_is_a_sentence():
    """What an edge's drawing says, for those who cannot see it."""
    edge = Edge(
        "a/a",
        "b/b",
        80,
        5,
        0,
        traffic(errors=60, amplification=2.5, answers=(("200 -", 540), ("503 URX", 60))),
    )
    assert edge_words(edge) == (
        "a/a to b/b port 80: 600 requests (60/s), 10% errors, p99 4.2 ms, 2.50 attempts each, 503 URX "
        f"{TIMES} 60, mutual TLS"
    )
    kept = Edge(
        "a/a", "b/b", 6379, 0, 0, traffic(protocol="tcp", requests=0, rate=0.0, p99_ms=None, mtls=False)
    )
    assert edge_words(kept) == "a/a to b/b port 6379: open connections in use, plain text"
