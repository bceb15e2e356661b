"""Hubble's flows by way of the Kubernetes API, from a pod that stands where a Cilium agent would."""

from __future__ import annotations

import json
import time

import pytest
from kubernetes.client.exceptions import ApiException

from meshverdict.chaos import flows, hubble
from meshverdict.chaos.cluster import KubeAccess
from meshverdict.model.errors import LabError

from .foreign import Foreign

AGENT = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "cilium-x7k2p", "namespace": "kube-system", "labels": {"k8s-app": "cilium"}},
    "spec": {"containers": [{"name": "cilium-agent", "image": "quay.io/cilium/cilium:v1.18.2"}]},
}
# What it prints: its own arguments, so that the test sees them, then flows and a loss.
PROGRAM = r"""#!/bin/sh
echo "$@" > /tmp/arguments
while :; do
  now=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
  for flags in '"SYN":true' '"SYN":true,"ACK":true' '"ACK":true'; do
    echo '{"flow":{"time":"'$now'","verdict":"FORWARDED","l4":{"TCP":{"source_port":1,"destination_port":6379,"flags":{'$flags'}}},"source":{"namespace":"c-app-count","pod_name":"pythonapp-555d6d88cd-slhfb"},"destination":{"namespace":"d-redis","pod_name":"redis-7bd4c6fb5-2xkvl"},"Type":"L3_L4","trace_observation_point":"TO_ENDPOINT","is_reply":false},"node_name":"n","time":"'$now'"}'
  done
  echo '{"flow":{"time":"'$now'","verdict":"DROPPED","l4":{"TCP":{"source_port":2,"destination_port":6379,"flags":{"SYN":true}}},"source":{"namespace":"b-apacherr","pod_name":"apacherr-7dcb4f6d9c-9gqwn"},"destination":{"namespace":"d-redis","pod_name":"redis-7bd4c6fb5-2xkvl"},"Type":"L3_L4","drop_reason_desc":"POLICY_DENIED"},"node_name":"n","time":"'$now'"}'
  echo '{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"3"},"node_name":"n"}'
  sleep 0.2
done
"""


@pytest.fixture(scope="module")
def access(module_command, tmp_path_factory):
    """A cluster with one agent."""
    folder = tmp_path_factory.mktemp("agent")
    program = folder / "hubble"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    images = folder / "images.yaml"
    row = {"cmd": ["sleep", "3600"], "shows": {str(program): "/usr/local/bin/hubble"}, "folders": ["/tmp"]}
    images.write_text(json.dumps({"cilium/cilium": row}))
    cluster = Foreign(module_command, folder, "--images", str(images))
    cluster.kubectl("apply", "-f", "-", text=json.dumps(AGENT))
    cluster.kubectl("wait", "-n", "kube-system", "pod/cilium-x7k2p", "--for=condition=Ready", "--timeout=20s")
    yield KubeAccess.open(cluster.kubeconfig, kind="real")
    cluster.close()


def test_connections_and_drops_arrive_in_the_flow_log(access, tmp_path, monkeypatch):
    """Only what counts is written; lost events are told."""
    monkeypatch.setattr(flows, "PREFIX", "no-such-pod-")
    with flows.recording(access, tmp_path / "flows.jsonl", ["d-redis"]) as log:
        assert log.pods == ["cilium-x7k2p"]
        start, deadline = time.time() - 60, time.monotonic() + 20
        while log.dropped("b-apacherr/apacherr", "d-redis/", start=start, end=time.time() + 60) < 3:
            assert time.monotonic() < deadline, (log.agents[0].failure, log.lines)
            time.sleep(0.1)
    lines = [json.loads(line)["flow"] for line in (tmp_path / "flows.jsonl").read_text().splitlines()]
    assert {(f["verdict"], *f["l4"]["TCP"]["flags"]) for f in lines} == {
        ("FORWARDED", "SYN"),
        ("DROPPED", "SYN"),
    }
    assert log.lost >= 3


def test_a_cluster_without_agents_has_no_flow_log_of_hubbles(access, monkeypatch):
    """It is said, rather than taken for a network in which nothing is dropped."""
    monkeypatch.setattr(hubble, "SELECTOR", "k8s-app=other")
    assert hubble.agents(access) == []


def until(condition):
    """Wait for it."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_agent_that_goes_silent_spoils_the_record(access, tmp_path, monkeypatch):
    """The rest of the flow log would say that nothing was dropped; where it tells again, the record is whole again."""
    monkeypatch.setattr(flows, "PREFIX", "no-such-pod-")
    monkeypatch.setattr(hubble, "_SETTLED_S", 0.2)
    real = hubble.command
    monkeypatch.setattr(hubble, "command", lambda *_: ["hubble-is-not-here"])
    with flows.recording(access, tmp_path / "flows.jsonl", ["d-redis"]) as log:
        log.agents[0].told = True  # it was read before
        until(lambda: log.failure)
        assert "hubble observe` in kube-system/cilium-x7k2p" in log.failure
        monkeypatch.setattr(hubble, "command", real)
        until(lambda: log.failure is None)
    assert (tmp_path / "flows.jsonl").stat().st_size


def test_where_hubble_is_switched_off_there_is_no_flow_log(access, tmp_path, monkeypatch):
    """The run goes on without one, as without Cilium; who asks for dropped flows hears why."""
    monkeypatch.setattr(flows, "PREFIX", "no-such-pod-")
    monkeypatch.setattr(hubble, "command", lambda *_: ["hubble-is-not-here"])
    with flows.recording(access, tmp_path / "flows.jsonl", ["d-redis"]) as log:
        until(lambda: log.agents[0].failure)
        assert log.failure is None
        with pytest.raises(LabError, match="without its flow log, dropped flows cannot be counted"):
            log.dropped("", "", start=0, end=1)
    assert log.pods == []
    assert not (tmp_path / "flows.jsonl").exists()


def test_a_log_that_may_not_be_read_spoils_the_record(access, tmp_path, monkeypatch):
    """Whoever may list the log pods may not always read them."""

    def refused(*_):
        def log(_):
            raise ApiException(status=403, reason="Forbidden")
            yield

        return log

    monkeypatch.setattr(flows, "pod_log", refused)
    with flows.recording(access, tmp_path / "flows.jsonl", ["d-redis"]) as log:
        assert log.pods == ["flows-node-a"]
        deadline = time.monotonic() + 10
        while log.failure is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert "flows-node-a cannot be read (Forbidden)" in log.failure
