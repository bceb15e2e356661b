"""Windows, merged histograms, rates and flows."""

import numpy as np
import pytest

from meshverdict.analysis.cases import cases
from meshverdict.analysis.flows import aggregate, enforcement, parse_flow, parse_flows, workload
from meshverdict.analysis.load_table import load_table
from meshverdict.analysis.summary import series, summarise, tail
from meshverdict.analysis.validity import invalid_reasons
from meshverdict.analysis.windows import Moments, Phase, Window, cut, moments_of, phases_of
from meshverdict.model.histogram import Histogram
from meshverdict.model.record import GeneratorSecond, Header, Second
from meshverdict.model.record_reader import LoadRecord


def second(t, name, outcome, latencies_us, w=0, status=200):
    histogram = Histogram()
    histogram.update(latencies_us)
    return Second(t, w, name, outcome, status, len(latencies_us), histogram)


def test_quantiles_come_from_merged_histograms():
    """One slow second of ten must not become an average of percentiles: p50 stays at the fast ones."""
    rows = [second(t, "/a", "ok", [1000] * 100) for t in range(9)] + [second(9, "/a", "ok", [100_000] * 100)]
    cell = summarise(load_table(rows), "a", ["/a"], Window("w", "before", 0, 10))
    assert cell.p50_ms == pytest.approx(1.0, rel=0.005)
    assert cell.p99_ms == pytest.approx(100.0, rel=0.005)
    assert cell.p90_ms == pytest.approx(1.0, rel=0.005)


def test_quantiles_are_those_of_the_histogram_itself():
    """The table and the model answer alike, bucket by bucket."""
    latencies = np.random.default_rng(1).lognormal(8, 1, 5000)
    table = load_table([second(t, "/a", "ok", part) for t, part in enumerate(np.split(latencies, 10))])
    whole = Histogram()
    whole.update(latencies)
    for q in (0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0):
        assert table.quantiles_ms(table.rows(), [q])[0] == pytest.approx(whole.quantile(q) / 1000)


def test_goodput_counts_ok_alone_and_errors_carry_their_status():
    """Late, limited and failed answers are no goodput; their latency is not in the quantiles."""
    rows = [
        second(0, "/a", "ok", [1000] * 6),
        second(0, "/a", "late", [9e6] * 2),
        second(0, "/a", "http", [5000], status=503),
        second(0, "/a", "refused", [100], status=0),
    ]
    cell = summarise(load_table(rows), "a", ["/a"], Window("w", "before", 0, 1))
    assert (cell.goodput, cell.rate, cell.error_share) == (6.0, 10.0, pytest.approx(0.4))
    assert dict(cell.outcomes) == {"ok": 6, "late 200": 2, "http 503": 1, "refused": 1}
    assert cell.p999_ms == pytest.approx(1.0, rel=0.005)


def test_workers_are_added_up():
    """Two workers of one second are one second of the service."""
    rows = [second(0, "/a", "ok", [1000] * 3, w=0), second(0, "/a", "ok", [1000] * 4, w=1)]
    assert series(load_table(rows), "a", ["/a"]).ok == (7.0,)


def test_an_empty_record_is_empty_not_an_error():
    """A run that was cut before its first second still gets a page."""
    table = load_table([])
    assert table.total == 0
    assert series(table, "a", ["/a"]).t == ()
    assert tail(table, table.rows()) == ()


def test_a_long_run_is_thinned_by_merging():
    """An hour has at most 900 points, and no request is lost."""
    rows = [second(t, "/a", "ok", [1000, 2000]) for t in range(3600)]
    made = series(load_table(rows), "a", ["/a"])
    assert (len(made.t), made.bin_s) == (900, 4)
    assert sum(made.ok) * made.bin_s == 7200


def test_seconds_without_requests_are_gaps():
    """A rate of 0, and no latency at all."""
    rows = [second(0, "/a", "ok", [1000]), second(2, "/b", "ok", [1000])]
    made = series(load_table(rows), "a", ["/a"])
    assert made.ok == (1.0, 0.0, 0.0)
    assert made.p50_ms[1:] == (None, None)


def test_the_tail_goes_as_far_as_there_are_requests():
    """1,000 requests reach three nines."""
    table = load_table([second(0, "/a", "ok", [1000] * 1000)])
    assert tail(table, table.rows())[-1][0] == pytest.approx(3.0)


PHASES = (Phase("baseline", 100.0, 120.2), Phase("policy", 120.2, 140.1), Phase("removed", 140.1, 150.0))
MOMENTS = Moments(applied=120.21, in_effect=120.22, removed=140.12, restored=140.13)


def test_windows_drop_warm_up_and_the_seconds_after_a_change_and_say_so():
    """The rule is fixed; what it left out is in the answer."""
    windows = cut(PHASES, MOMENTS, load_start=100, load_end=150)
    assert [(w.name, w.role, w.start, w.end) for w in windows.counted] == [
        ("baseline", "before", 103, 120),
        ("policy", "during", 124, 140),
        ("removed", "after", 144, 150),
    ]
    assert len(windows.dropped) == 3
    assert "warm-up" in windows.dropped[0]


def test_a_warm_up_phase_is_left_out_whole():
    """Whatever its length."""
    windows = cut((Phase("warm-up", 0, 10), Phase("main", 10, 20)), Moments(), load_start=0, load_end=20)
    assert [w.name for w in windows.counted] == ["main"]
    assert "'warm-up' (10 s)" in windows.dropped[0]


def test_without_phases_the_treatment_divides_the_run():
    """Before, during, after; the whole run when there was no treatment."""
    assert [w.name for w in cut((), MOMENTS, load_start=100, load_end=150).counted] == [
        "before",
        "during",
        "after",
    ]
    assert [w.name for w in cut((), Moments(), load_start=100, load_end=150).counted] == ["whole run"]
    assert cut(PHASES, MOMENTS, load_start=500, load_end=500).counted == ()


def test_run_json_is_read_as_far_as_it_goes():
    """Half-written runs lack times."""
    run = {
        "phases": [{"name": "a", "start": 2, "end": 3}, {"name": "b", "start": 1}, 7],
        "treatment": {"applied": True},
    }
    assert phases_of(run) == (Phase("a", 2.0, 3.0),)
    assert moments_of(run) == Moments()
    assert moments_of({"treatment": {"applied": 5, "removed": None}}) == Moments(applied=5.0)


def test_cases_are_told_apart_by_path_and_others_stand_alone():
    """The seed's two cases, and whatever an experiment of somebody else's calls."""
    assert [(c.key, c.names) for c in cases(["/x", "/redis/GET/time", "/count/set", "/count/get"])] == [
        ("case-1", ("/count/get", "/count/set")),
        ("case-2", ("/redis/GET/time",)),
        ("/x", ("/x",)),
    ]


def hubble(time, verdict, port=6379, **more):
    return {
        "time": time, "verdict": verdict, "l4": {"TCP": {"destination_port": port}},
        "source": {"namespace": "b-apacherr", "pod_name": "apacherr-8b786b45d-g9vcl"},
        "destination": {"namespace": "d-redis", "pod_name": "redis-b869b89d-pf6ms"}, **more,
    }  # fmt: skip


def test_hubbles_own_json_is_read():
    """With the outer key of `hubble observe -o json`, nanoseconds, and reserved identities."""
    flow = parse_flow({"flow": hubble("2026-01-02T03:04:05.123456789Z", "DROPPED"), "node_name": "n"})
    assert (flow.source, flow.destination, flow.port) == ("b-apacherr/apacherr", "d-redis/redis", 6379)
    assert flow.time % 60 == pytest.approx(5.123456, abs=1e-6)
    world = hubble("2026-01-02T03:04:05Z", "FORWARDED", source={"labels": ["reserved:world"]})
    assert parse_flow(world).source == "world"
    assert parse_flow({"lost_events": {}}) is None
    assert parse_flow(hubble("yesterday", "DROPPED")) is None


def test_replies_are_no_calls():
    """An answer goes the other way; it must not draw an arrow."""
    assert parse_flows([hubble("2026-01-01T00:00:00Z", "FORWARDED", is_reply=True)]) == ()


def test_flows_are_counted_by_kind_dropped_first():
    """Repeated flows carry a count."""
    lines = [hubble("2026-01-01T00:00:00Z", "FORWARDED"), hubble("2026-01-01T00:00:01Z", "DROPPED", count=7)]
    rows = aggregate(parse_flows(lines * 2))
    assert [(row.verdict, row.count) for row in rows] == [("DROPPED", 14), ("FORWARDED", 2)]


def test_times_to_the_first_denial_come_from_the_log_where_the_run_marked_none():
    """And say where they come from."""
    base = parse_flow(hubble("2026-01-01T00:00:00Z", "DROPPED")).time
    flows = parse_flows(
        [
            hubble("2026-01-01T00:00:00.000Z", "FORWARDED"),
            hubble("2026-01-01T00:00:01.004Z", "DROPPED"),
            hubble("2026-01-01T00:00:05.010Z", "FORWARDED"),
        ]
    )
    found = enforcement(flows, Moments(applied=base + 1, removed=base + 5))
    assert (found.to_denied_ms, found.to_allowed_ms) == (
        pytest.approx(4.0, abs=0.01),
        pytest.approx(10.0, abs=0.01),
    )
    assert found.source == "flow log"
    marked = enforcement(flows, Moments(applied=base + 1, in_effect=base + 1.002))
    assert marked.to_denied_ms == pytest.approx(2.0, abs=0.01)
    assert enforcement((), Moments(applied=1.0)).to_denied_ms is None


@pytest.mark.parametrize(
    ("pod", "name"),
    [
        ("pythonapp-555d6d88cd-slhfb", "pythonapp"),
        ("traefik-ingress-controller-jkppg", "traefik-ingress-controller"),
        ("redis-0", "redis-0"),
        ("load-0-bcdfg", "load-0"),
        ("apacherr-8hs4gm7g4l-x2k9t", "apacherr"),
        ("redis-master", "redis-master"),
    ],
)
def test_pods_are_named_by_their_workload(pod, name):
    """A graph of generated names cannot be compared with the next run's."""
    assert workload(pod) == name


def record(generator, header=None, requests=500):
    rows = [second(0, "/a", "ok", [1000] * requests)]
    return LoadRecord(header or Header(0.0, 1, "poisson", 10.0, 1000.0, 1, "f", "h"), rows, [generator])


def generator_second(lag_us=(50.0,), **more):
    lag = None
    if lag_us is not None:
        lag = Histogram()
        lag.update(lag_us)
    values = {
        "scheduled": 500,
        "sent": 500,
        "dropped": 0,
        "in_flight": 0,
        "connections": 1,
        "cpu": 0.1,
        "priority": "fifo",
    }
    return GeneratorSecond(t=0, w=0, lag=lag, **(values | more))


@pytest.mark.parametrize(
    ("generator", "reason"),
    [
        (generator_second(), None),
        (generator_second(lag_us=[50.0] * 98 + [20_000.0] * 2), "p99 of the send lag 2"),
        (generator_second(lag_us=None), "no send lag"),
        (generator_second(scheduled=501, dropped=1), "1 of 501 arrivals"),
        (generator_second(scheduled=510), "510 requests were due and 500 have an outcome"),
        (generator_second(cpu=0.99), "99% of its core"),
        (generator_second(clock_step_ms=-5000.0), "jumped by -5000 ms"),
    ],
)
def test_the_generator_must_prove_that_it_was_on_time(generator, reason):
    """Late, starved or dropping: invalid, with the figure."""
    reasons = invalid_reasons(record(generator))
    assert reasons == () if reason is None else any(reason in text for text in reasons), reasons


def test_a_closed_loop_has_no_lag_to_prove():
    """It is labelled instead."""
    header = Header(0.0, None, "closed", None, None, 1, "f", "h")
    assert invalid_reasons(record(generator_second(lag_us=None), header)) == ()


def test_too_few_requests_are_invalid():
    """Ten requests say nothing about a p99."""
    few = generator_second(scheduled=10, sent=10)
    assert "too few" in invalid_reasons(record(few, requests=10))[0]
