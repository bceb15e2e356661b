"""What is not there is not taken for what should be: records, ledgers and readers that lost their other end."""

import http.server
import json
import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from meshverdict.chaos import campaign, control, finish, hubble
from meshverdict.chaos.flows import FlowLog
from meshverdict.chaos.guard import made_by
from meshverdict.chaos.ledger import Ledger
from meshverdict.load import follow
from meshverdict.model.errors import UsageError


class Objects:
    """A cluster of one object."""

    def __init__(self, found=None):
        self.found = found

    def get(self, *_):
        """It."""
        return self.found

    def knows(self, _):
        """Every kind."""
        return True


def ledger(found=None, access=None):
    return Ledger(access, Objects(found), "lab", "x.json")


def service(**annotations):
    meta = {"name": "s", "namespace": "lab", "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": []}}


def test_a_cluster_that_is_gone_at_the_end_has_no_version(monkeypatch):
    """Any refusal is no version, and no run without a record."""

    def version():
        raise ApiException(status=503)

    assert finish._version(SimpleNamespace(access=SimpleNamespace(version=version))) is None

    def broken(*_):
        raise RuntimeError("a mistake")

    monkeypatch.setattr(finish, "write", broken)
    journal = {"status": "completed"}
    control._end(SimpleNamespace(stop_measuring=lambda: None, folder="f", problems=[]), journal)
    assert journal["status"] == "failed"


def test_hubble_that_hangs_up_is_a_failure(monkeypatch):
    """A connection that is closed without a last word ends no thread unseen."""
    stop = threading.Event()

    def lines(_):
        stop.set()
        raise TypeError("'NoneType' object is not subscriptable")
        yield b""

    agent = hubble.Agent.__new__(hubble.Agent)
    agent._pod, agent.failure = "cilium-1", None
    monkeypatch.setattr(agent, "_lines", lines)
    agent.follow(lambda _: None, stop)
    assert "`hubble observe` in kube-system/cilium-1 is not reached" in str(agent.failure)


def test_a_flow_log_that_nobody_follows_is_not_whole(tmp_path):
    """Whatever ended its thread."""
    log = FlowLog(None, tmp_path / "flows.jsonl")
    thread = threading.Thread(target=lambda: None, name="flows flows-node-a")
    thread.start()
    thread.join()
    log._threads.append(thread)
    assert log.failure == "flows flows-node-a is not followed any more"
    log._stop.set()
    assert log.failure is None


class LogServer(http.server.BaseHTTPRequestHandler):
    """A pod's log: the next of `answers` is a status, or None for a log that is open and tells nothing."""

    answers: ClassVar[list[int | None]] = []
    over: ClassVar[threading.Event]

    def do_GET(self):
        """The next answer."""
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status or 200)
        self.send_header("Connection", "close")
        self.end_headers()
        if status is None:
            self.wfile.flush()
            self.over.wait(10)

    def log_message(self, *_):
        """Not here."""


@pytest.mark.parametrize(
    ("answers", "whole"), [([None], True), ([403, None], True), ([None, 403], False), ([500], False)]
)
def test_a_quiet_log_is_whole_and_one_that_cannot_be_read_is_not(tmp_path, monkeypatch, answers, whole):
    """A network in which nothing new happens tells nothing, for longer than a connection is waited for."""
    monkeypatch.setattr(follow, "SILENCE_S", 0.2)
    LogServer.answers, LogServer.over = list(answers), threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), LogServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = client.Configuration(host=f"http://127.0.0.1:{server.server_port}")
    log = FlowLog(
        SimpleNamespace(core=client.CoreV1Api(client.ApiClient(settings))), tmp_path / "flows.jsonl"
    )
    thread = threading.Thread(target=log._follow, args=("flows-node-a", "flows"))
    thread.start()
    try:
        for _ in range(2):
            deadline = time.monotonic() + 5
            while (log.failure is None) != whole and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(0.7)  # and it stays so over some more connections
            assert (log.failure is None) == whole, log.failure
    finally:
        log._stop.set()
        LogServer.over.set()
        thread.join()
        server.shutdown()
        server.server_close()


def test_a_changed_annotation_is_left():
    """What a run must put back; the server's own notes are not."""
    made = ledger(service(**{"service.kubernetes.io/topology-mode": "Auto"}))
    change = {**service(), "before": service()}
    made.changes.append(change)
    assert made.left() == [change]
    made.objects.found = service(**{"kubectl.kubernetes.io/last-applied-configuration": "{}"})
    assert made.left() == []


def test_a_secret_is_written_down_nowhere():
    """It is refused before anything is read."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    with pytest.raises(UsageError, match=r"Secret lab/s: a run changes no Secrets"):
        ledger().remember([(secret, "lab")])


def test_what_could_not_be_written_down_is_not_known(monkeypatch):
    """So that the next change of the same object tries again."""
    made = ledger(service())

    def refused():
        raise ApiException(status=404)

    monkeypatch.setattr(made, "_write", refused)
    for _ in range(2):
        with pytest.raises(ApiException):
            made.remember([(service(), "lab")])
        assert made.changes == []


def test_a_treatment_may_be_a_process():
    """Its arguments are text, and it makes nothing that could be known beforehand."""
    provider = {"type": "process", "path": "kubectl", "arguments": "apply -f x.yaml"}
    experiment = {"method": [{"type": "action", "name": "x", "provider": provider}]}
    assert made_by(experiment, SimpleNamespace(apply=["x"]), {}, {}) == []


@pytest.mark.parametrize("name", ["x.yaml", "x.json"])
def test_a_campaign_of_any_experiment(tmp_path, name):
    """YAML too; a variable of the environment has no length yet; what cannot be read is named."""
    path = tmp_path / name
    values = {"baseline_s": {"type": "env", "key": "BASELINE"}}
    path.write_text(json.dumps({"configuration": values, "method": []}))
    wanted = SimpleNamespace(experiment=path, variables={})
    assert campaign.expected_s(wanted) >= 0
    path.write_text("{a: [")
    with pytest.raises(UsageError, match=rf"{name}: cannot be read"):
        campaign.expected_s(wanted)
