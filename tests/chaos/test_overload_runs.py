"""A small capacity, a trigger and what they did, with the real `chaos` command against a real lab."""

import json

import pytest
from kubernetes.client import AppsV1Api
from lab import chaos

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]
WORKLOAD = "c-app-count/pythonapp"


def _python(kind, name, func, **arguments):
    module = f"meshverdict.chaos.{'actions' if kind == 'action' else 'probes'}"
    provider = {"type": "python", "module": module, "func": func, "arguments": arguments}
    return {"type": kind, "name": name, "provider": provider}


def _deployment(lab):
    access = lab.access()
    found = access.json(AppsV1Api(access.api).read_namespaced_deployment, "pythonapp", "c-app-count")
    return found["spec"]


@pytest.fixture(scope="module")
def troubled(lab, tmp_path_factory):
    """One run: 2 threads, 50 ms, 8 requests a second, Redis pauses for 1 s, a worker stands still for 1 s."""
    control = {"type": "python", "module": "meshverdict.chaos.control", "arguments": {"baseline_s": 0}}
    experiment = {
        "title": "Trouble",
        "description": "A small capacity and two triggers.",
        "configuration": {"baseline_s": 0, "treated_s": 0, "restored_s": 0, "rate": 0},
        "runtime": {"rollbacks": {"strategy": "always"}},
        "controls": [{"name": "meshverdict", "provider": control}],
        "method": [
            _python("action", "small", "set_capacity", threads=2, work_ms=50, readiness="apart", workload=WORKLOAD),
            _python("action", "load", "start_load", rate=8, tags=["case1"], deadline_ms=900),
            _python("action", "steady", "hold", seconds=5, phase="steady"),
            _python("action", "pause", "pause_redis", seconds=1),
            _python("action", "after", "hold", seconds=6),
            _python("probe", "story", "what_became_of_it"),
            _python("probe", "recovery", "recovery_time"),
            _python("probe", "busy", "busy_threads", phase="aftermath"),
            _python("probe", "arrivals", "amplification", tier="c-app-count/pythonapp-", phase="aftermath"),
            _python(
                "action", "stop", "stop_processes", ns="c-app-count", label_selector="app=pythonapp",
                container="pythonapp", seconds=1,
            ),
        ],
        "rollbacks": [
            _python("action", "as-before", "restore_capacity", workload=WORKLOAD),
            _python("action", "load-ends", "stop_load"),
        ],
    }  # fmt: skip
    working = tmp_path_factory.mktemp("troubled")
    file = working / "trouble.json"
    file.write_text(json.dumps(experiment))
    before = _deployment(lab)
    run = chaos(lab.state, working, file)
    return before, run


def _answers(run):
    return {a["activity"]["name"]: a.get("output") for a in run.read("journal.json")["run"]}


def test_every_activity_succeeds(troubled):
    """Capacity, both triggers, the probes and the rollbacks."""
    _, run = troubled
    journal = run.read("journal.json")
    failed = [a for a in journal["run"] + journal["rollbacks"] if a["status"] != "succeeded"]
    assert [(a["activity"]["name"], a.get("exception")) for a in failed] == []


def test_the_app_had_the_capacity_that_was_asked_for(troubled):
    """Two threads, as its own metrics tell, and never more of them busy."""
    _, run = troubled
    lines = [json.loads(line) for line in (run.folder / "telemetry.jsonl").read_text().splitlines()]
    threads = {line["gauges"]["threads"] for line in lines if "threads" in line.get("gauges", {})}
    assert 2 in threads
    assert _answers(run)["busy"] <= 2


def test_the_pause_took_its_time_and_the_service_came_back(troubled):
    """A pause of a second lasts a second; a quarter of the capacity recovers from it by itself."""
    _, run = troubled
    answers = _answers(run)
    assert 0.9 <= answers["pause"]["seconds"] <= 4
    assert answers["recovery"] is not None
    assert "phases" in run.read("run.json")
    assert {"steady", "trigger", "aftermath"} <= {phase["name"] for phase in run.read("run.json")["phases"]}
    assert answers["stop"]["processes"] >= 1


def test_without_retries_a_users_request_arrives_once(troubled):
    """Counted by the app itself: what it finished and what joined its queue."""
    _, run = troubled
    assert _answers(run)["arrivals"] == pytest.approx(1.0, abs=0.25)


def test_the_workload_is_again_as_it_was(troubled, lab):
    """Replicas, variables and probes; nothing is left in the ledger."""
    before, run = troubled
    assert _deployment(lab)["template"]["spec"] == before["template"]["spec"]
    assert "the next run puts it back" not in run.text
