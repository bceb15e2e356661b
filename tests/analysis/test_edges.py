"""What sidecars count becomes one line an edge, whether they are the lab's or Istio's, and the lines become sums."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshverdict.analysis.edge_lines import OUTSIDE, Place, Report, edge_lines, latency
from meshverdict.analysis.edges import parse_edges, totals
from meshverdict.analysis.prometheus import samples
from meshverdict.analysis.sidecar_metrics import EMPTY, Reading, read, since
from meshverdict.model.histogram import Histogram

HERE = Path(__file__).parent
WEB, CART = Place("shop/web", "zone-a", True), Place("shop/cart-v1", "zone-b", True)


def istio(name):
    return read((HERE / name).read_text())


def report(place, reading, before=EMPTY):
    return Report(place, since(before, reading), reading)


def lines(*reports, places=None):
    found = edge_lines(reports, places or {}, 100.0)
    return {(line["edge"]["from"], line["edge"]["to"]): line for line in found}


def lab_page(requests, attempts, *, tls="TLSv1.3", address="10.0.0.2", details="via_upstream"):
    edge = (
        'reporter="source",source_workload="web",source_workload_namespace="shop",'
        'destination_service_name="cart",destination_service_namespace="shop",destination_port="80",'
        f'destination_address="{address}",upstream_tls="{tls}"'
    )
    return read(
        f'istio_requests_total{{{edge},response_code="200",response_flags="-",response_details="{details}"}} {requests}\n'
        f"meshverdict_request_attempts_total{{{edge}}} {attempts}\n"
        f'meshverdict_request_duration_microseconds_bucket{{{edge},le="1000"}} {requests / 2}\n'
        f'meshverdict_request_duration_microseconds_bucket{{{edge},le="1100"}} {requests}\n'
        f'meshverdict_request_duration_microseconds_bucket{{{edge},le="+Inf"}} {requests}\n'
        'envoy_cluster_upstream_cx_tx_bytes_total{cluster_name="outbound|80||cart.shop.svc.cluster.local"} 1000\n'
        'envoy_cluster_upstream_cx_rx_bytes_total{cluster_name="outbound|80|v1|cart.shop.svc.cluster.local"} 500\n'
    )


def test_istio_pages_are_read():
    """A real Istio's page has no port and no address, and says everything else: the server's side adds attempts and TLS."""
    found = lines(report(WEB, istio("istio_page.txt")), report(CART, istio("istio_server_page.txt")))
    cart = found["shop/web", "shop/cart"]
    assert cart["answers"] == {"200 -": 90, "503 URX": 10}
    assert (cart["requests"], cart["attempts"], cart["mtls"]) == (100, 130, True)
    assert cart["edge"]["to_workload"] == "shop/cart-v1"
    assert cart["edge"]["port"] is None
    assert sum(cart["latency"]["c"]) == 90
    redis = found["shop/web", "shop/redis"]
    assert redis["protocol"] == "tcp"
    assert redis["answers"] == {"0 -": 5, "0 UF,URX": 3}
    assert redis["bytes"] == 400
    assert found[OUTSIDE, "shop/cart"]["requests"] == 5


def test_the_lab_tells_more():
    """Attempts, the pod that answered with its zone, encryption, bytes and reasons are the caller's own word."""
    places = {"10.0.0.1": WEB, "10.0.0.2": CART}
    (line,) = lines(report(WEB, lab_page(10, 25)), places=places).values()
    assert line["edge"] == {
        "from": "shop/web",
        "to": "shop/cart",
        "to_workload": "shop/cart-v1",
        "port": 80,
        "from_zone": "zone-a",
        "to_zone": "zone-b",
    }
    assert (line["requests"], line["attempts"], line["mtls"], line["bytes"]) == (10, 25, True, 1500)
    assert line["details"] == {"via_upstream": 10}


def test_lines_are_differences():
    """A line has what came since the reading before; a sidecar that was started anew counts from nothing."""
    before = lab_page(10, 25)
    (line,) = lines(report(WEB, lab_page(15, 30), before)).values()
    assert (line["requests"], line["attempts"], line["bytes"]) == (5, 5, None)
    (line,) = lines(report(WEB, lab_page(4, 4), before)).values()
    assert line["requests"] == 4
    assert lines(report(WEB, before, before)) == {}


def test_callers_without_a_sidecar_are_seen_by_the_server():
    """Their address says who they are; a caller that reports itself is not counted twice."""
    edge = (
        'reporter="destination",source_workload="unknown",source_workload_namespace="unknown",'
        'destination_workload="cart-v1",destination_workload_namespace="shop",destination_service_name="cart",'
        'destination_service_namespace="shop",destination_port="80",connection_security_policy="none",response_code="200"'
    )
    server = read(
        f'istio_requests_total{{{edge},source_address="10.0.0.1"}} 3\nistio_requests_total{{{edge},source_address="10.0.0.9"}} 4\n'
    )
    places = {"10.0.0.1": WEB, "10.0.0.9": Place("load/locust", "zone-a", False)}
    found = lines(report(CART, server), report(WEB, lab_page(3, 3)), places=places)
    assert {key[0]: line["requests"] for key, line in found.items()} == {"shop/web": 3, "load/locust": 4}
    alone = lines(report(CART, server), places=places)
    assert {key[0]: line["requests"] for key, line in alone.items()} == {"shop/web": 3, "load/locust": 4}


def test_zones_are_edges_of_their_own():
    """Two pods in two zones make two lines, and bytes that could be either's are not guessed."""
    places = {"10.0.0.2": CART, "10.0.0.3": Place("shop/cart-v1", "zone-a", True)}
    one, two = lab_page(10, 10), lab_page(4, 4, address="10.0.0.3")
    both = Reading({**one.edges, **two.edges}, one.cluster_bytes)
    found = edge_lines([report(WEB, both)], places, 1.0)
    assert [(line["edge"]["to_zone"], line["requests"], line["bytes"]) for line in found] == [
        ("zone-a", 4, None),
        ("zone-b", 10, None),
    ]


def test_a_latency_that_comes_after_its_request_is_kept():
    """Counted in one second and flushed in the next, in which nobody asked: the sums are whole."""
    page = lab_page(10, 10)
    late = {e: {i: v for i, v in items.items() if i[0] != "us"} for e, items in page.edges.items()}
    counted, whole = Reading(late, page.cluster_bytes), page
    told = [
        line
        for before, now in ((EMPTY, counted), (counted, whole))
        for line in edge_lines([report(WEB, now, before)], {"10.0.0.2": CART}, 1.0)
    ]
    (total,) = totals(parse_edges(told), 0.0, 2.0)
    assert (total.requests, total.latency.n) == (10, 10)


def test_bytes_of_two_callers_of_one_kind_are_added():
    """Two pods of one Deployment make one line: with the bytes of both."""
    (line,) = edge_lines(
        [report(WEB, lab_page(10, 10)), report(WEB, lab_page(4, 4))], {"10.0.0.2": CART}, 1.0
    )
    assert (line["requests"], line["bytes"]) == (14, 3000)


@pytest.mark.parametrize(
    ("fine", "coarse", "q", "expected"),
    [
        ({"1000": 0, "1100": 10, "+Inf": 10}, {}, 0.5, 1049),
        ({}, {"1": 0, "5": 10, "+Inf": 10}, 0.5, 2236),
        ({"1000": 0, "1100": 0, "+Inf": 2}, {"1": 2}, 0.99, 1100),
        ({}, {}, 0.5, None),
    ],
)
def test_latency_is_the_middle_of_its_bucket(fine, coarse, q, expected):
    """Cumulative buckets become a histogram of the record's form; beyond the last bound counts as that bound."""
    found = Histogram.from_json(latency(fine, coarse)).quantile(q)
    assert found == (None if expected is None else pytest.approx(expected, rel=0.01))


def test_labels_are_read_with_everything_in_them():
    """Escapes, braces and commas inside a label's value."""
    (found,) = samples('a{b="x, \\"y\\" {z}\\n",le="0.5"} 1e3 1700000000\n# nothing\nnonsense\n')
    assert (found.labels, found.bound, found.value) == ({"b": 'x, "y" {z}\n'}, "0.5", 1000.0)


def test_sums_of_a_stretch():
    """Rates, error shares, amplification and quantiles of one edge; lines that are damaged do no harm."""
    good = {
        "t": 11.0,
        "edge": {"from": "a/a", "to": "b/svc", "to_workload": "b/b", "port": 80},
        "protocol": "http",
        "requests": 100,
        "attempts": 120,
        "answers": {"200 -": 90, "503 UO": 6, "429 -": 4},
        "latency": {"i": [700], "c": [100]},
        "mtls": True,
    }
    nobody = {
        **good,
        "edge": {"from": "a/a", "to": "b/svc", "port": 80},
        "answers": {"503 UH": 100},
        "mtls": None,
    }
    odd = [
        {"edge": 5, "t": 1},
        {"edge": {"from": "a"}, "t": 11},
        {**good, "latency": {"i": [1], "c": []}},
        {"t": 3},
    ]
    (total,) = totals(parse_edges([good, nobody, *odd, {**good, "t": 30.0}]), 10.0, 20.0)
    assert (total.source, total.destination, total.service) == ("a/a", "b/b", "b/svc")
    assert (total.requests, total.errors, total.rate) == (200, 110, 20.0)
    assert total.amplification == pytest.approx(1.2)
    assert total.error_share == pytest.approx(0.55)
    assert total.quantile_ms(0.99) == pytest.approx(1.06, rel=0.01)
    assert total.mtls is True


def test_a_connection_that_policy_ended_is_an_error():
    """The caller sees a connection that opened; only the server's side knows that it was denied."""
    line = {
        "t": 1.0,
        "edge": {"from": "a/a", "to": "b/svc", "port": 6379},
        "protocol": "tcp",
        "requests": 7,
        "attempts": 7,
        "answers": {"0 -": 7},
        "latency": {"i": [], "c": []},
        "denied": 7,
    }
    (total,) = totals(parse_edges([line]), 0.0, 2.0)
    assert (total.errors, total.denied, total.quantile_ms(0.99)) == (7, 7, None)
