"""A run that cannot be right does not begin: interrupted, with the reason, and no cluster was touched."""

import copy
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from chaosk8s import create_k8s_api_client
from chaoslib.types import Dry
from kubernetes import client

from meshverdict.chaos.lab import Wanted

ROOT = Path(__file__).resolve().parents[2]


def probes_of(journal):
    """How many probes and rollbacks were run."""
    before = journal["steady_states"]["before"]
    return (before or {}).get("probes", []), journal["run"], journal["rollbacks"]


@pytest.fixture
def refused(run, decoy, caplog, tmp_path):
    """Runs an experiment that must be refused, and answers the message."""

    def refused(experiment, **variables):
        journal = run(experiment, **variables)
        assert journal["status"] == "interrupted"
        assert probes_of(journal) == ([], [], [])
        assert decoy == []
        assert not list((tmp_path / "reports").rglob("*.json"))
        return next(r.getMessage() for r in caplog.records if r.getMessage().startswith("meshverdict: "))

    return refused


def test_decoy_notices_whoever_uses_the_default_kubeconfig(decoy):
    """The check below can fail: a client made in the usual way reaches the decoy."""
    client.VersionApi(create_k8s_api_client()).get_code(_preload_content=False)
    assert decoy == ["GET /version/"]


def test_missing_manifest_is_refused(refused, isolate_redis, tmp_path):
    """chaosk8s takes a missing file as no specification, silently; here the run does not begin."""
    folder = tmp_path / "manifests"
    shutil.copytree(ROOT / "manifests", folder)
    (folder / "policies" / "isolate-redis.yaml").unlink()
    message = refused(isolate_redis, manifests=str(folder))
    assert f"manifest {folder}/policies/isolate-redis.yaml: there is no such file" in message


def test_treatment_left_out_of_the_method_is_refused(refused, isolate_redis):
    """The extension still names it."""
    del isolate_redis["method"][0]
    assert "the treatment 'only-the-app-may-reach-redis' is not in the method" in refused(isolate_redis)


def test_undefined_variable_is_refused(refused, isolate_redis):
    """Otherwise the text ${seconds} would reach the activity."""
    isolate_redis["method"][2]["provider"]["arguments"]["seconds"] = "${seconds}"
    assert "method: 'load-goes-on' uses ${seconds}, which nothing defines" in refused(isolate_redis)


def test_variable_of_the_wrong_type_is_refused(refused, isolate_redis):
    """Before the run, not in the middle of it."""
    assert "--var baseline_s=soon: a number is needed" in refused(isolate_redis, baseline_s="soon")


def test_unknown_argument_of_the_control_is_refused(refused, isolate_redis):
    """Chaos Toolkit would skip the control, and the activities would find a cluster by themselves."""
    isolate_redis["controls"][0]["provider"]["arguments"]["zone"] = 2
    assert "control meshverdict: unknown argument zone; known are zones, " in refused(isolate_redis)


def test_missing_folder_is_refused(refused, isolate_redis):
    """The message names the variable."""
    message = refused(isolate_redis, manifests="/nowhere/at/all")
    assert "configuration 'manifests': there is no folder /nowhere/at/all" in message


def test_unknown_context_is_refused_without_asking_it(refused, isolate_redis, monkeypatch):
    """Only a context that was named is used, and only if it exists."""
    monkeypatch.setenv("MESHVERDICT_CONTEXT", "minikube")
    assert "MESHVERDICT_CONTEXT=minikube: no such context" in refused(isolate_redis)


def test_lab_in_use_names_the_process_that_uses_it(refused, isolate_redis, tmp_path):
    """One run at a time: the second would measure the first."""
    folder = tmp_path / "state" / "meshverdict" / "default"
    folder.mkdir(parents=True)
    with (folder / "run.lock").open("w") as lock:
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = refused(isolate_redis)
    assert "lab 'default' is used by another run, process 4711; wait for its end" in message


def test_lab_with_other_settings_is_refused_with_the_command(refused, isolate_redis, tmp_path):
    """The message is what to type."""
    folder = tmp_path / "state" / "meshverdict" / "default"
    folder.mkdir(parents=True)
    settings = {"zones": 1, "zone_delay_ms": 0.0, "denied": "drop", "established": "cut", "sidecars": False}
    info = {"format": "lab/1", "kubeconfig": str(folder / "kubeconfig"), "api": "https://127.0.0.1:1"}
    (folder / "lab.json").write_text(json.dumps({**info, "settings": settings}))
    isolate_redis["controls"][0]["provider"]["arguments"] |= {
        "zones": 2,
        "zone_delay_ms": 1,
        "denied": "reject",
    }
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = refused(isolate_redis)
    assert "denied is drop, the experiment needs reject" in message
    assert "`meshverdict up --zones 2 --zone-delay 1 --denied reject`" in message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"zone_delay_back_ms": 3.0}, ["zone_delay_back_ms is 3.0, the experiment needs None"]),
        ({"zone_jitter_ms": 0.2}, ["zone_jitter_ms is 0.2, the experiment needs 0.0"]),
        ({"zone_delay_back_ms": None, "zone_jitter_ms": 0.0}, []),
        ({}, []),
    ],
)
def test_delay_alone_means_both_ways_and_no_jitter(settings, said):
    """A lab that is slower on the way back is another lab."""
    assert Wanted(zone_delay_ms=1.0).differences({"zone_delay_ms": 1.0, **settings}) == said


def test_delays_are_typed_as_up_takes_them():
    """In the command that a refusal names."""
    wanted = Wanted(zones=2, zone_delay_ms=0.5, zone_delay_back_ms=0.8, zone_jitter_ms=0.1)
    assert wanted.options() == ["--zones", "2", "--zone-delay", "0.5,0.8", "--zone-jitter", "0.1"]


def test_lab_that_cannot_start_is_refused_with_its_own_reason(refused, isolate_redis, monkeypatch):
    """What `meshverdict up` says is passed on."""
    monkeypatch.setenv("MESHVERDICT_LAB", "not_a_name")
    message = refused(isolate_redis)
    assert "no lab could be started for this run" in message
    assert "lower case letters" in message


def test_dry_run_needs_no_lab(run, decoy, isolate_redis):
    """`chaos run --dry=activities` checks a file; it starts nothing."""
    isolate_redis["dry"] = Dry.ACTIVITIES
    journal = run(isolate_redis)
    assert journal["status"] == "completed"
    assert decoy == []


def test_chaos_run_from_the_command_line_is_refused_in_the_same_way(isolate_redis, decoy, tmp_path):
    """With the real command: exit 1, the reason on stderr, no request to the default kubeconfig's cluster."""
    experiment = copy.deepcopy(isolate_redis)
    experiment["configuration"]["manifests"] = str(ROOT / "manifests")
    experiment["method"][0]["provider"]["arguments"]["spec_path"] = "${manifests}/policies/none.yaml"
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(experiment))
    chaos = Path(sys.executable).with_name("chaos")
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}
    for name in ("KUBECONFIG", "MESHVERDICT_CONTEXT"):
        environ.pop(name, None)
    done = subprocess.run(
        [chaos, "--no-version-check", "run", "--var", "baseline_s=1", str(file)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "policies/none.yaml: there is no such file" in done.stdout + done.stderr
    assert decoy == []
    assert json.loads((tmp_path / "journal.json").read_text())["status"] == "interrupted"


def test_misspelt_var_is_refused(decoy, tmp_path):
    """Chaos Toolkit ignores a --var that the configuration does not have."""
    chaos = Path(sys.executable).with_name("chaos")
    environ = {**os.environ, "HOME": str(tmp_path / "home"), "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(
        [
            chaos,
            "--no-version-check",
            "run",
            "--var",
            "baselines=1",
            str(ROOT / "experiments" / "isolate-redis.json"),
        ],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "--var baselines: the experiment has no such configuration" in done.stdout + done.stderr
    assert decoy == []
