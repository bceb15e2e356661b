"""Probes that have nothing to go by say so: silence is neither as expected nor the opposite."""

import json
import math
import time
from types import SimpleNamespace

import pytest
from kubernetes.client.exceptions import ApiException

from meshverdict.analysis.zones import outage
from meshverdict.chaos import expected, find_capacity, overload, session, sweep, version_shares, zone_probes
from meshverdict.chaos.timeline import Timeline
from meshverdict.model.errors import LabError, RecordError, UsageError

START = 1_790_000_000
SECONDS = 30


@pytest.fixture
def run(tmp_path):
    """A run of 30 s with one phase of 20 s, and nothing told yet; answers what stands for its session."""
    found = SimpleNamespace(
        folder=tmp_path,
        timeline=Timeline(clock=lambda: float(START + SECONDS - 2)),
        started=float(START),
        traffic=None,
        zones={},
        measures={},
        pods=list,
        edges=None,
    )
    found.timeline.phases.append(_phase("overload", START + 5, START + 25))
    found.timeline.phases.append(_phase("now", START + 25, None))
    session.set_current(found)
    yield found
    session.set_current(None)


def _phase(name, start, end):
    phase = Timeline(clock=lambda: float(start))
    phase.enter(name)
    phase.phases[0].end = end
    return phase.phases[0]


def _record(run, *requests):
    """Write load.jsonl: `requests` are (second, name, outcome)."""
    head = {
        "format": "load/1", "start": START, "seed": 1, "arrivals": "poisson", "rate": 1.0, "deadline_ms": 1000,
        "ratio": 1.01, "workers": 1, "locustfile": "app.py", "host": "http://127.0.0.1:8081",
    }  # fmt: skip
    lines = [head]
    for second in range(SECONDS):
        lines += [
            {"t": START + second, "w": 0, "name": name, "outcome": outcome, "status": 200, "n": 1, "latency": {"i": [700], "c": [1]}}
            for at, name, outcome in requests
            if at == second
        ]  # fmt: skip
        lines.append(
            {"t": START + second, "w": 0, "generator": {
                "scheduled": 1, "sent": 1, "dropped": 0, "in_flight": 0, "connections": 1,
                "lag": {"i": [1], "c": [1]}, "cpu": 0.1, "priority": "fifo"}}
        )  # fmt: skip
    lines.append({"end": START + SECONDS, "reason": "done", "lines": len(lines) + 1})
    (run.folder / "load.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _telemetry(run, **gauges):
    """Write telemetry.jsonl: the gauges of one replica, second by second."""
    lines = [
        {"t": START + t, "pod": "app/app-1", "gauges": {name: values[t] for name, values in gauges.items()}}
        for t in range(min(map(len, gauges.values())))
    ]
    (run.folder / "telemetry.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_nothing_lost_of_nothing_sent_is_no_answer(run):
    """A name that nobody asked for; the endpoints that were asked are named."""
    _record(run, (10, "/get", "ok"), (11, "/get", "http"))
    assert version_shares.requests_lost() == 1
    with pytest.raises(RecordError, match=r"no request to '/gone' .*endpoints: /get"):
        version_shares.requests_lost("/gone")


def test_nobody_asked_in_the_last_seconds(run):
    """Whether the service is back is not known when nobody asked for it."""
    _record(run, *((t, "/get", "http") for t in range(5, 15)))
    with pytest.raises(RecordError, match="no request to '/get' in its last seconds"):
        zone_probes.served_again("overload")
    found = outage([(t, 0, 0) for t in range(10)], 2, 10)
    assert (found.share_left, found.over_after_s) == (None, None)


def test_packets_that_were_not_counted_to_the_end(run, monkeypatch):
    """The counters ended before the phase did."""
    _record(run, (10, "/get", "ok"))
    monkeypatch.setattr(zone_probes, "_PATIENCE_S", 0.0)
    run.traffic = SimpleNamespace(newest=START + 20.0, lines=[])
    with pytest.raises(RecordError, match="not counted to the end: 5 s are missing"):
        zone_probes.load_by_pod("pippo/", "paperino/", "overload")


def test_a_window_without_a_counted_second_is_not_silence(run):
    """Too short to say anything; only a window in which others' packets were counted says that nobody talked."""
    _record(run, (10, "/get", "ok"))
    pair = {
        "from": "load/a", "to": "pippo/a", "from_zone": "a", "to_zone": "a", "packets": 10, "bytes": 100,
    }  # fmt: skip
    lines = [{"t": START + 25.9, "traffic": [pair]}]
    run.traffic = SimpleNamespace(newest=lines[-1]["t"], lines=lines)
    with pytest.raises(RecordError, match="too short: no whole second of counted packets"):
        zone_probes.local_share("pippo/", "paperino/", "overload")
    lines.insert(0, {"t": START + 20.0, "traffic": [pair]})
    with pytest.raises(RecordError, match="between pippo/ and paperino/: nobody talked"):
        zone_probes.local_share("pippo/", "paperino/", "overload")


def test_a_rate_is_of_the_seconds_that_were_counted(run):
    """Lines come a little more than a second apart: 20 s held 18 of them, of ten packets each."""
    _record(run, (10, "/get", "ok"))
    pair = {
        "from": "pippo/a", "to": "paperino/0", "from_zone": "a", "to_zone": "a", "packets": 10, "bytes": 100,
    }  # fmt: skip
    lines = [{"t": START + 6.02 + n * 1.06, "traffic": [pair]} for n in range(25)]
    run.traffic = SimpleNamespace(newest=lines[-1]["t"], lines=lines)
    assert zone_probes.load_by_pod("pippo/", "paperino/", "overload") == {"paperino/0": 10.0}


def test_a_connection_that_has_no_formula(run):
    """Its known names are listed."""
    run.zones["rtt_ms"] = 2.0
    with pytest.raises(UsageError, match=r"connection 'warm': one of .*fresh"):
        zone_probes.zone_saving("pippo/", "paperino/", "before", "after", connection="warm")


def test_a_replica_that_nobody_asked_was_not_spared(run):
    """Never left out, as it should be, is only said of a replica that got requests."""
    _telemetry(run, handled=[5.0] * 28)
    with pytest.raises(RecordError, match="got no request in the whole of phase 'overload'"):
        expected.ejections_as_expected("app/app-1", base_s=5, interval_s=1, phase="overload")
    _telemetry(run, handled=[float(n) for n in range(28)])
    assert expected.ejections_as_expected("app/app-1", base_s=5, interval_s=1, phase="overload").startswith(
        "as expected"
    )
    with pytest.raises(UsageError, match="there was no phase 'storm'"):
        overload.replica_was_asked("app/app-1", "storm")


@pytest.mark.parametrize(
    ("metastable", "recovery_s", "collapses", "recovers"),
    [(True, None, True, False), (None, None, False, False), (False, 6.0, False, True)],
    ids=["down for a minute", "watched for too short", "back after 6 s"],
)
def test_not_back_yet_is_not_a_collapse(run, monkeypatch, metastable, recovery_s, collapses, recovers):
    """A claim of a collapse needs the whole minute; a claim of a recovery needs the recovery."""
    run.timeline.phases.append(_phase("trigger", START + 10, START + 12))
    told = SimpleNamespace(
        share_before=1.0, before=10.0, metastable=metastable, recovery_s=recovery_s, words="…"
    )
    monkeypatch.setattr(overload, "story_so_far", lambda: told)
    assert expected.comes_back(untreated="collapses").startswith("as expected") == collapses
    assert expected.comes_back(untreated="recovers").startswith("as expected") == recovers


def test_a_step_of_a_sweep_without_telemetry(run):
    """Whether a value can be kept up is told by the queue alone."""
    with pytest.raises(RecordError, match="no app told of its queue"):
        sweep._queue_at(time.time())
    _telemetry(run, queue=[3.0] * 20)
    assert sweep._queue_at(START + 10.0) == 3.0


class _Silent:
    """An API whose one app does not answer."""

    core = SimpleNamespace(list_namespaced_pod=None)

    def __init__(self):
        def silent(*_, **__):
            raise ApiException(status=503)

        self.core = SimpleNamespace(
            list_namespaced_pod=None, connect_get_namespaced_pod_proxy_with_path=silent
        )

    def json(self, *_):
        """One pod that publishes metrics."""
        port = {"containerPort": find_capacity.METRICS_PORT}
        return {
            "items": [
                {
                    "metadata": {"namespace": "app", "name": "app-1"},
                    "spec": {"containers": [{"ports": [port]}]},
                    "status": {"phase": "Running"},
                }
            ]
        }


def test_an_app_that_does_not_answer_is_not_empty(run, monkeypatch):
    """It may be too busy to; the search does not end before it has told."""
    assert find_capacity._inside(_Silent(), ["app"]) == [math.inf]
    monkeypatch.setattr(find_capacity, "_DRAIN_S", 0.0)
    run.pods = lambda: [{"metadata": {"name": "late"}, "status": {}}]
    with pytest.raises(LabError, match=r"1 apps do not answer, and these pods are not Ready: late"):
        find_capacity._await_empty_queues(_Silent(), ["app"])


def test_a_second_search_has_a_folder_of_its_own(tmp_path):
    """Nothing of the first one is lost."""
    assert [find_capacity._next_folder(tmp_path).name for _ in range(3)] == [
        "capacity",
        "capacity-2",
        "capacity-3",
    ]


@pytest.mark.parametrize("treated", [True, False])
def test_a_phase_that_never_was(run, treated):
    """Before it, nothing is to be found; a treatment whose method is over must have had it."""
    run.timeline.method_over = False
    run.timeline.control_arm = not treated
    assert expected.threads_as_expected("gone").startswith("as expected: phase 'gone' has not begun yet")
    run.timeline.method_over = True
    said = expected.threads_as_expected("gone")
    assert said.startswith("NOT as expected" if treated else "as expected")
