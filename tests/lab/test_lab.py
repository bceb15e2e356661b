"""The embedded lab as its user meets it: up, looked at, talked to, down."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from kubernetes.config import kube_config

from meshverdict.lab.reach import reach
from meshverdict.lab.state import LabInfo

from .machine import Footprint, free_port, tree, wait_nothing_left

SEED_PODS = [
    ("a-ingress-traefik", "traefik-ingress-controller-", "1/1"),
    ("b-apacherr", "apacherr-", "1/1"),
    ("c-app-count", "pythonapp-", "1/1"),
    ("d-redis", "redis-", "2/2"),
]


def fetch(lab, path):
    """GET through the published ingress, as the seed's curl does."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{lab['ingress']['port']}{path}", headers={"Host": "pippo.lan"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - our own http URL
        return answer.status, answer.read().decode()


def kubectl(lab, *arguments):
    """Run kubectl against the lab; its standard output."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on PATH")
    done = subprocess.run(
        ["kubectl", "--kubeconfig", lab["kubeconfig"], *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_seeds_three_requests_answer_as_in_the_seed(lab):
    """Set, case 1 and case 2: the same moment three times, once as the app's bytes, once as Redis' string."""
    status, text = fetch(lab, "/count/set")
    assert status == 200
    moment = re.fullmatch(r"b'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+)'", json.loads(text)["time"])
    assert moment, text
    assert json.loads(fetch(lab, "/count/get")[1]) == {"time": f"b'{moment[1]}'"}
    assert json.loads(fetch(lab, "/redis/GET/time")[1]) == {"GET": moment[1]}


def test_kubectl_and_status_show_the_seeds_pods(lab):
    """The same pods, Running and ready, with kubectl and without."""
    for table in (kubectl(lab, "get", "po", "-A"), lab["command"].run("status").stdout):
        for namespace, name, ready in SEED_PODS:
            assert re.search(rf"^{namespace} +{name}\S+ +{ready} +Running +0 ", table, re.MULTILINE), table


def test_a_kubectl_apply_of_the_manifests_changes_nothing(lab):
    """What `up` applied is what kubectl would have applied."""
    lines = kubectl(
        lab,
        "apply",
        "-R",
        "-f",
        "manifests/00-traefik",
        "-f",
        "manifests/01-apache",
        "-f",
        "manifests/02-redis",
    )
    assert {line.rpartition(" ")[2] for line in lines.splitlines()} == {"unchanged"}


def test_the_state_folder_is_private(lab):
    """Nobody else may read the administrator's token."""
    config = Path(lab["kubeconfig"])
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700


def test_a_second_up_returns_the_running_lab(lab):
    """Typing it again is harmless; asking for something else is refused with the way out."""
    again = lab["command"].run("up", "-o", "json")
    assert json.loads(again.stdout)["pid"] == lab["pid"]
    other = lab["command"].run("up", "--denied", "reject")
    assert other.returncode == 3
    assert "denied is drop, asked reject" in other.stderr
    assert "meshverdict down" in other.stderr


def test_the_policy_of_the_seed_cuts_case_2_and_spares_case_1(lab):
    """The central claim, by hand: apply, look, delete, look."""
    kubectl(lab, "apply", "-f", "manifests/policies/isolate-redis.yaml")
    try:
        # Milliseconds on a quiet machine; on a busy one kubectl may be done before the rules are in place.
        code, deadline = 200, time.monotonic() + 5
        while code == 200 and time.monotonic() < deadline:
            try:
                code = fetch(lab, "/redis/GET/time")[0]
            except urllib.error.HTTPError as denied:
                code = denied.code
                denied.close()
        assert code in (502, 503, 504)
        with pytest.raises(urllib.error.HTTPError) as still:
            fetch(lab, "/redis/GET/time")
        still.value.close()
        assert fetch(lab, "/count/get")[0] == 200
    finally:
        kubectl(lab, "delete", "-f", "manifests/policies/isolate-redis.yaml")
    assert fetch(lab, "/redis/GET/time")[0] == 200


def test_reach_predicts_what_packets_do(lab):
    """Every pod to every port: allowed and open without a policy; with the seed's, denied where it says so."""
    rows = json.loads(lab["command"].run("reach", "-o", "json").stdout)
    assert {(row["predicted"], row["probed"]) for row in rows} == {("allowed", "open")}
    kubectl(lab, "apply", "-f", "manifests/policies/isolate-redis.yaml")
    try:
        done = lab["command"].run("reach", "-o", "json")
        rows = json.loads(done.stdout)
    finally:
        kubectl(lab, "delete", "-f", "manifests/policies/isolate-redis.yaml")
    assert done.returncode == 0
    to_redis = {
        (row["from"].partition("/")[0], row["probed"]) for row in rows if row["to"].startswith("d-redis/")
    }
    assert to_redis == {("a-ingress-traefik", "timeout"), ("b-apacherr", "timeout"), ("c-app-count", "open")}
    assert {tuple(r["policies"]) for r in rows if r["to"].startswith("d-redis/")} == {
        ("d-redis/isolate-namespace (ingress)",)
    }


def test_pods_are_asked_side_by_side_though_the_authority_is_slow_to_write(lab, monkeypatch):
    """The official client names the authority's file to all threads before anything is in it."""

    def slow_open(*arguments):
        time.sleep(0.3)
        return open(*arguments)  # noqa: PTH123 - as the client calls it

    monkeypatch.setattr(kube_config, "_temp_files", {})
    monkeypatch.setattr(kube_config, "open", slow_open, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nobody listens: the lab is asked without it
    rows = reach(LabInfo.from_dict(lab))
    assert {row.probed for row in rows} == {"open"}


@pytest.mark.parametrize("command", ["reach", "status"])
def test_of_a_namespace_that_is_not_there_nothing_is_said_to_be_right(lab, command):
    """A slip of the pen would otherwise look like an answer: exit 2, and the namespaces that there are."""
    done = lab["command"].run(command, "-n", "d-rediss")
    assert done.returncode == 2
    assert "-n d-rediss: the lab has no such namespace" in done.stderr
    assert "d-redis" in done.stderr


def test_where_nothing_can_be_tried_nothing_agrees(lab):
    """A namespace without pods: could not measure."""
    done = lab["command"].run("reach", "-n", "default")
    assert done.returncode == 3
    assert "nothing to try" in done.stderr


def test_down_leaves_nothing(command):
    """After down there is no process, mount, interface, rule or kubeconfig; and a second down is no error."""
    before = Footprint.now()
    info = command.up()
    processes = tree(info["pid"])
    assert len(processes) > 8
    assert command.run("down").returncode == 0
    assert wait_nothing_left(processes, before) == []
    assert not Path(info["kubeconfig"]).exists()
    assert "no lab" in command.run("down").stdout


def test_a_lab_ends_with_the_pipe_that_it_is_tied_to(command):
    """A control that dies, even by SIGKILL, takes the lab that it started along."""
    before = Footprint.now()
    reader, writer = os.pipe()
    done = command.run(
        "up", "-o", "json", "--tie", str(reader), "--port", str(free_port()), pass_fds=(reader,)
    )
    os.close(reader)
    processes = tree(json.loads(done.stdout)["pid"])
    os.close(writer)
    assert wait_nothing_left(processes, before, timeout=10) == []


def test_a_taken_port_is_named_and_another_one_used(command):
    """Somebody else's server stays where it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command.run("up", "--port", str(port))
        assert done.returncode == 0, done.stderr
        # The next one, unless that is taken as well.
        said = re.search(
            rf"port {port} of 127\.0\.0\.1 is taken: the ingress is published on (\d+)", done.stderr
        )
        assert said is not None, done.stderr
        assert int(said[1]) > port
        assert f"http://127.0.0.1:{said[1]} " in done.stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("kind: [", "not YAML", id="broken YAML"),
        pytest.param("- a\n", "is a mapping", id="a list"),
        pytest.param("kind: Pod\nmetadata: {name: x}\n", "apiVersion is missing", id="no apiVersion"),
        pytest.param(
            "apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: default}\nspec: {ports: 5}\n",
            "Service default/x: json: cannot unmarshal number into Go struct field ServiceSpec.spec.ports",
            id="a value of the wrong type",
        ),
        pytest.param(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {a: 5}}\n",
            "metadata.labels",
            id="a label that is no text",
        ),
        pytest.param(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndate: {a: b}\n",
            'ConfigMap x: unknown field "date"',
            id="a field that the kind has not",
        ),
        pytest.param(
            "apiVersion: v9\nkind: Nope\nmetadata: {name: x}\n", "no kind Nope in v9", id="unknown kind"
        ),
        pytest.param(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: default}\n"
            "spec: {containers: [{name: a, image: 'no.where/nothing:1'}]}\n",
            "nothing:1",
            id="unknown image",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: default}\n"
            "spec: {hostNetwork: true, containers: [{name: a, image: python}]}\n",
            "spec.hostNetwork",
            id="a field that the lab does not enforce",
        ),
    ],
)
def test_a_wrong_manifest_is_named_and_nothing_stays(command, tmp_path, text, expected):
    """The message names the object or file; the lab is gone."""
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    begun = time.monotonic()
    done = command.run("up", "--port", str(free_port()), "--manifests", str(file))
    assert done.returncode in (2, 3), done.stdout
    assert expected in done.stderr
    assert time.monotonic() - begun < 30
    assert command.run("status").returncode == 3
