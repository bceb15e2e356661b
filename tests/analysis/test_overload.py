"""From made-up files of a run to what an overload did: arrivals at a tier, the story of a trigger, who was limited."""

import pytest

from meshverdict.analysis.edges import parse_edges
from meshverdict.analysis.overload import all_busy_share, flow_of, limited_share, story, tiers
from meshverdict.analysis.snowball import Flow
from meshverdict.analysis.telemetry import parse_samples
from meshverdict.analysis.windows import Phase
from meshverdict.model.record_reader import read_record

POD = "c-app-count/pythonapp-1"


def _gauges(t, **values):
    return {"t": t, "pod": POD, "gauges": values}


def _edge(t, attempts, requests=60):
    return {
        "t": t,
        "edge": {"from": "b-apacherr/apacherr", "to": "c-app-count/app-count-svc", "port": 5000},
        "protocol": "http",
        "requests": requests,
        "attempts": attempts,
        "answers": {},
    }


def test_attempts_of_the_mesh_over_users_are_the_amplification():
    """Three tries for each of 60 users a second, between two moments; nothing is known outside of them."""
    flow = Flow.of(0, [60] * 20, [60] * 20)
    (tier,) = tiers(parse_edges(_edge(t, 180) for t in range(1, 20)), ())
    assert (tier.name, tier.source) == ("c-app-count/app-count-svc", "mesh")
    assert tier.amplification(flow, 2, 18) == pytest.approx(3.0)
    assert tier.amplification(flow, 100, 120) is None


def test_a_server_tells_its_arrivals_itself():
    """It finishes 80 a second while its queue grows by 112: 192 arrive, for 64 users."""
    pods, _ = parse_samples(
        _gauges(t, handled=80 * t, queue=112 * t, busy_threads=4, threads=4) for t in range(20)
    )
    (tier,) = tiers((), pods)
    assert (tier.name, tier.source) == (POD, "app")
    assert tier.amplification(Flow.of(0, [64] * 20, [0] * 20), 2, 18) == pytest.approx(3.0)


PHASES = (
    Phase("steady", 0, 10),
    Phase("before the trigger", 10, 20),
    Phase("trigger", 20, 22),
    Phase("aftermath", 22, 90),
)


@pytest.mark.parametrize(
    ("down_s", "words", "stuck"),
    [
        (0, "was as before when the trigger ended", False),
        (14, "recovered 14 s after the trigger", False),
        (63, "was metastable: it recovered only 63 s after the trigger", True),
        (68, "was metastable: it had not recovered 68 s after the trigger", True),
    ],
)
def test_the_story_of_a_trigger(down_s, words, stuck):
    """From the phases and the flow: in words, and as a value."""
    good = [60] * 20 + [0] * (2 + down_s) + [60] * (68 - down_s)
    found = story(Flow.of(0, [60] * 90, good), PHASES)
    assert (found.words, found.metastable, found.before) == (words, stuck, 60)
    assert found.collapses == (((20, 22 + down_s),) if down_s else ())


def test_a_run_without_a_trigger_has_no_story():
    """And one that was watched too briefly is not called metastable."""
    flow = Flow.of(0, [60] * 40, [60] * 20 + [0] * 20)
    assert story(flow, PHASES[:2]) is None
    short = story(flow, (*PHASES[:3], Phase("aftermath", 22, 40)))
    assert (short.metastable, short.words) == (None, "had not recovered 18 s after the trigger")


def test_threads_are_all_busy_where_a_sample_found_them_so():
    """Of the samples in the window."""
    pods, _ = parse_samples(_gauges(t, busy_threads=4 if t % 2 else 3, threads=4) for t in range(10))
    assert all_busy_share(pods, 0, 10) == 0.5
    assert all_busy_share(pods, 20, 30) is None


def test_flow_and_limited_share_of_a_record(tmp_path):
    """Offered is what was due, good what was answered well in time; 429s are counted apart."""
    lines = [
        (
            '{"format":"load/1","start":100,"seed":1,"arrivals":"poisson","rate":10,"deadline_ms":1000,"ratio":1.01,'
            '"workers":1,"locustfile":"app.py","host":"http://x"}'
        )
    ]
    for t in range(100, 104):
        for outcome, status, n in (("ok", 200, 6), ("limited", 429, 3), ("http", 503, 1)):
            lines.append(
                f'{{"t":{t},"w":0,"name":"/count/get","outcome":"{outcome}","status":{status},"n":{n},'
                f'"latency":{{"i":[700],"c":[{n}]}}}}'
            )
        lines.append(
            f'{{"t":{t},"w":0,"generator":{{"scheduled":10,"sent":10,"dropped":0,"in_flight":0,"connections":1,'
            '"lag":{"i":[1],"c":[10]},"cpu":0.1,"priority":"fifo"}}'
        )
    lines.append(f'{{"end":104.0,"reason":"done","lines":{len(lines) + 1}}}')
    file = tmp_path / "load.jsonl"
    file.write_text("\n".join(lines) + "\n")
    record = read_record(file)
    flow = flow_of(record)
    assert (flow.start, list(flow.offered), list(flow.good)) == (100, [10] * 4, [6] * 4)
    assert limited_share(record, 100, 104) == pytest.approx(0.3)
    assert limited_share(record, 200, 204) is None
