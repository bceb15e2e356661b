"""The experiment that ships, with the real `chaos` command against a real lab."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from lab import ROOT, chaos, finished, meshverdict, start

from meshverdict.analysis.flows import parse_flows
from meshverdict.model.record_reader import read_record
from meshverdict.report.check import check

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(180)]


# For runs of which only the course matters, not the figures.
BRIEF = {"treated_s": 4, "restored_s": 1}


def names(activities):
    """Name and status of what was run."""
    return [(a["activity"]["name"], a["status"]) for a in activities]


@pytest.fixture(scope="session")
def production():
    """A port that KUBECONFIG leads to during the run; nobody may knock."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="session")
def held(lab, production, tmp_path_factory):
    """One whole run, into which a policy of a dead run was put first, and with KUBECONFIG leading elsewhere."""
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{production.getsockname()[1]}"}}
    context = {"name": "production", "context": {"cluster": "c", "user": "u"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "production", "clusters": [cluster]}
    path = tmp_path_factory.mktemp("production") / "config"
    path.write_text(yaml.safe_dump({**config, "contexts": [context], "users": [{"name": "u", "user": {}}]}))
    access = lab.access()
    policy = yaml.safe_load((ROOT / "manifests" / "policies" / "isolate-redis.yaml").read_text())
    access.json(access.networking.create_namespaced_network_policy, "d-redis", policy)
    return chaos(lab.state, tmp_path_factory.mktemp("held"), environ={"KUBECONFIG": str(path)})


def test_run_completes_and_every_activity_succeeds(held):
    """Journal completed, not deviated; nothing failed on the way."""
    journal = held.read("journal.json")
    assert held.code == 0, held.text
    assert (journal["status"], journal["deviated"]) == ("completed", False)
    assert {status for _, status in names(journal["run"] + journal["rollbacks"])} == {"succeeded"}


def test_run_holds(held):
    """Our own judgement of the run folder agrees."""
    judgement = check(held.folder)
    assert (judgement.word, judgement.reasons) == ("HOLDS", ())
    assert "HOLDS   report: " in held.text


def test_journal_of_the_run_folder_is_the_toolkits_own(held):
    """Byte for byte what `chaos run` writes afterwards."""
    assert (held.folder / "journal.json").read_bytes() == (held.working / "journal.json").read_bytes()


def test_no_request_went_where_kubeconfig_leads(held, production):
    """KUBECONFIG alone never chooses a cluster, neither for us nor for chaosk8s."""
    assert held.code == 0
    with pytest.raises(BlockingIOError):
        production.accept()


def test_policy_of_a_dead_run_was_removed_first(held):
    """It would have made the hypothesis before the method fail."""
    assert "Removed NetworkPolicy d-redis/isolate-namespace, which an earlier run left behind" in held.text


def test_moments_lie_in_order_and_close_together(held):
    """Asked for, in effect, removed, restored; the effect comes within a second."""
    moments = held.read("run.json")["treatment"]
    assert moments["applied"] < moments["in_effect"] < moments["removed"] < moments["restored"]
    assert moments["in_effect"] - moments["applied"] < 1
    assert moments["restored"] - moments["removed"] < 1


def test_only_what_the_policy_forbids_was_denied(held):
    """Per pair: denied at once and without a leak, or never."""
    measured = {(c["from"], c["to"]): c for c in held.read("run.json")["measures"]["connections"]}
    denied = {pair for pair, c in measured.items() if c["apply_to_denied_ms"] is not None}
    assert denied == {
        ("b-apacherr", "redis-svc.d-redis:7379"),
        ("b-apacherr", "redis-svc.d-redis:6379"),
        ("load", "redis-svc.d-redis:6379"),
        ("d-redis", "apacherr-svc.b-apacherr:80"),
    }
    assert {c["opened_after_denial"] for c in measured.values()} == {0}
    assert measured["b-apacherr", "redis-svc.d-redis:6379"]["open_connection"]["ended_as"] == "silent"
    assert measured["c-app-count", "redis-svc.d-redis:6379"]["open_connection"]["ended_as"] is None


def test_record_is_whole_and_case_1_lost_nothing(held):
    """Every line of the load record arrived; case 1 has good answers alone."""
    record = read_record(held.folder / "load.jsonl")
    assert record.missing == []
    case_1 = [s for s in record.seconds if s.name.startswith("/count/")]
    assert sum(s.n for s in case_1) > 500
    assert [s for s in case_1 if s.outcome != "ok"] == []


def test_run_folder_holds_flows_telemetry_and_endpoints(held):
    """Dropped flows from apache, the app's gauges, and the table of endpoints before and during."""
    flows = parse_flows(json.loads(line) for line in (held.folder / "flows.jsonl").read_text().splitlines())
    dropped = [f for f in flows if f.verdict == "DROPPED" and f.source.startswith("b-apacherr/apacherr")]
    assert all(f.destination.startswith("d-redis/redis") for f in dropped)
    assert dropped
    samples = [json.loads(line) for line in (held.folder / "telemetry.jsonl").read_text().splitlines()]
    app = [sample for sample in samples if "gauges" in sample]
    assert {"busy_threads", "threads", "queue", "cpu_seconds", "rss_bytes"} <= set(app[-1]["gauges"])
    assert [sample for sample in samples if "machine" in sample], "how busy the machine was"
    pictures = held.read("run.json")["measures"]["endpoints"]
    redis = [
        [r["ingress"] for r in pictures[w] if r["pod"].startswith("d-redis/")] for w in ("before", "during")
    ]
    assert redis == [["Disabled"], ["Enabled"]]
    assert (held.folder / "report.html").stat().st_size > 10_000


def test_nothing_of_a_run_is_left_in_the_lab(held, lab):
    """No policy, no prober, no load."""
    assert held.code == 0
    assert lab.policies() == []
    assert lab.left() == []


def test_run_without_its_treatment_deviates(lab, isolate_redis, tmp_path):
    """With the policy and every mention of it left out, the phase-aware probe still expects case 2 to fail."""
    isolate_redis["extensions"] = []
    isolate_redis["method"] = isolate_redis["method"][2:]
    isolate_redis["rollbacks"] = []
    file = tmp_path / "experiments" / "without.json"
    file.parent.mkdir()
    file.write_text(json.dumps(isolate_redis))
    ran = chaos(lab.state, tmp_path / "work", file, treated_s=4)
    journal = ran.read("journal.json")
    assert (ran.code, journal["status"], journal["deviated"]) == (1, "completed", True)
    failed = journal["steady_states"]["after"]["probes"][-1]
    assert failed["activity"]["name"] == "case-2-answers-before-and-fails-after"
    assert failed["output"].startswith("NOT as expected: case 2 answers (3 of 3")


def test_policy_that_selects_nothing_is_refused(lab, tmp_path):
    """It would be accepted, and change nothing."""
    folder = tmp_path / "manifests"
    shutil.copytree(ROOT / "manifests", folder)
    path = folder / "policies" / "isolate-redis.yaml"
    policy = yaml.safe_load(path.read_text())
    policy["spec"]["podSelector"] = {"matchLabels": {"app": "redsi"}}
    path.write_text(yaml.safe_dump(policy))
    ran = chaos(lab.state, tmp_path / "work", manifests=folder)
    assert ran.code == 1
    assert "selects no pod of namespace d-redis" in ran.text
    assert ran.journal()["status"] == "interrupted"
    assert (ran.folder, lab.policies()) == (None, [])


def test_control_arm_leaves_the_treatment_out_and_does_not_deviate(lab, tmp_path):
    """The journal shows what this arm was to do; phase-aware probes expect the untreated answer."""
    ran = chaos(lab.state, tmp_path, environ={"MESHVERDICT_ARM": "control", "MESHVERDICT_PAIR": "2"}, **BRIEF)
    journal, run = ran.read("journal.json"), ran.read("run.json")
    assert (ran.code, journal["deviated"]) == (0, False), ran.text
    assert "only-the-app-may-reach-redis" not in [a["name"] for a in journal["experiment"]["method"]]
    assert ran.folder.name.endswith("-pair02-control")
    assert (run["arm"], run["pair"]) == ("control", 2)
    assert [p["name"] for p in run["phases"]] == ["baseline", "untreated", "restored"]
    assert run["treatment"]["applied"] is None


def wait_for_policy(lab, patience=60):
    """Wait until the treatment is there."""
    deadline = time.monotonic() + patience
    while not lab.policies():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_sigterm_plays_the_rollbacks_and_leaves_nothing(lab, tmp_path):
    """Interrupted in the middle of the treatment: the policy goes, the folder is written and says so."""
    process = start(lab.state, tmp_path, treated_s=60)
    wait_for_policy(lab)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    ran = finished(process, tmp_path, tmp_path / "reports")
    assert ran.code == 1
    assert ran.read("journal.json")["status"] == "interrupted"
    assert (lab.policies(), lab.left()) == ([], [])
    assert check(ran.folder).word == "INVALID"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_over_is_kept_though_a_signal_meets_its_end(lab, tmp_path, number):
    """What was measured is written, judged and let go; the signal is answered in words."""
    experiment = tmp_path / "short.json"
    arguments = {"baseline_s": 0, "telemetry": False}
    provider = {"type": "python", "module": "meshverdict.chaos.control", "arguments": arguments}
    short = {"version": "1.0.0", "title": "Short", "description": "Nothing is done.", "method": []}
    controls = [{"name": "meshverdict", "provider": provider}]
    # What `start` sets, and nothing here reads.
    values = dict.fromkeys(("baseline_s", "rate", "restored_s", "treated_s"), 0)
    experiment.write_text(json.dumps({**short, "configuration": values, "controls": controls}))
    process = start(lab.state, tmp_path, experiment)
    while not list((tmp_path / "reports").glob("*/*/journal.json")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    process.send_signal(number)
    ran = finished(process, tmp_path, tmp_path / "reports")
    assert "the run is over, its folder is being written" in ran.text
    assert ran.read("journal.json")["status"] == "completed"
    assert (ran.folder / "report.html").is_file()
    assert (lab.policies(), lab.left()) == ([], [])
    assert ran.code == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk can only be mounted as root")
def test_disk_that_fills_up_during_the_run_fails_it(lab, tmp_path):
    """Exit 1, with the folder and the way out; the policy is gone all the same."""
    disk = tmp_path / "reports"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", disk], check=False).returncode != 0:
        pytest.skip("this machine does not allow mounting")
    try:
        process = start(lab.state, tmp_path, treated_s=4)
        wait_for_policy(lab)
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(65536)):
                pass
        ran = finished(process, tmp_path, disk)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert ran.code == 1
    assert "could not be written (No space left on device): free some space" in ran.text
    assert (lab.policies(), lab.left()) == ([], [])


def test_second_run_is_refused_while_the_first_lasts(lab, tmp_path):
    """It names the process of the first; the first is not disturbed."""
    first = start(lab.state, tmp_path / "first", **BRIEF)
    wait_for_policy(lab)
    second = chaos(lab.state, tmp_path / "second")
    assert second.code == 1
    assert f"lab 'default' is used by another run, process {first.pid}" in second.text
    assert finished(first, tmp_path / "first", tmp_path / "first" / "reports").code == 0


def test_run_brings_its_own_lab_and_takes_it_down(tmp_path):
    """With no lab up, one is started for the run."""
    state = tmp_path / "state"
    ran = chaos(state, tmp_path / "work", **BRIEF)
    assert ran.code == 0, ran.text
    assert meshverdict(state, "status")[0] != 0


def test_lab_of_a_killed_run_ends_with_it(tmp_path):
    """SIGKILL leaves nothing behind: the lab is tied to the run's life."""
    state = tmp_path / "state"
    process = start(state, tmp_path / "work", treated_s=60)
    deadline = time.monotonic() + 60
    while meshverdict(state, "status")[0] != 0:
        assert time.monotonic() < deadline
        time.sleep(0.3)
    keeper = json.loads((state / "meshverdict" / "default" / "lab.json").read_text())["pid"]
    process.kill()
    process.communicate()
    while Path(f"/proc/{keeper}").exists():
        assert time.monotonic() < deadline + 30
        time.sleep(0.1)
