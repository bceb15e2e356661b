"""Experiments that are run in this process, and a decoy that notices whoever reaches for the wrong cluster."""

import copy
import http.server
import json
import sys
import threading
from pathlib import Path

import pytest
import yaml
from chaoslib.experiment import run_experiment
from kubernetes.config import kube_config

sys.path.insert(0, str(Path(__file__).parent))
from lab import Lab, meshverdict

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"runtime": {"rollbacks": {"strategy": "always"}}}


@pytest.fixture
def isolate_redis():
    """The experiment that ships, as a value of its own."""
    return copy.deepcopy(json.loads((ROOT / "experiments" / "isolate-redis.json").read_text()))


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs an experiment in this process, as its file would be run, and answers the journal."""
    monkeypatch.setenv("MESHVERDICT_REPORTS", str(tmp_path / "reports"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("MESHVERDICT_CONTEXT", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)

    def run(experiment, **variables):
        file = tmp_path / "experiments" / "isolate-redis.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(experiment, default=str))
        monkeypatch.setenv("MESHVERDICT_EXPERIMENT", str(file))
        return run_experiment(experiment, settings=copy.deepcopy(SETTINGS), experiment_vars=(variables, {}))

    return run


@pytest.fixture
def decoy(tmp_path, monkeypatch):
    """A cluster that the default kubeconfig leads to; answers the list of requests that reached it."""
    reached = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self):
            reached.append(f"{self.command} {self.path}")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        do_GET = do_POST = do_DELETE = do_PATCH = do_PUT = handle_any  # noqa: N815 - the library's names

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    path = tmp_path / "home" / ".kube" / "config"
    path.parent.mkdir(parents=True)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "production",
        "contexts": [{"name": "production", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    yield reached
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A real lab, for all tests of this folder."""
    state = tmp_path_factory.mktemp("lab")
    code, info = meshverdict(state, "up", "--port", "18391")
    if code != 0 and "cannot run the embedded lab" in str(info):
        pytest.skip(str(info))
    assert code == 0, info
    yield Lab(state, info)
    assert meshverdict(state, "down")[0] == 0
