"""A lab with sidecars and nothing in it but what a benchmark puts there."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
NAMESPACE = "mesh-bench"
GROUPS = {
    "VirtualService": "/apis/networking.istio.io/v1/namespaces/{}/virtualservices",
    "DestinationRule": "/apis/networking.istio.io/v1/namespaces/{}/destinationrules",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Pod": "/api/v1/namespaces/{}/pods",
}


class Api:
    """The lab's API, as its admin, on one connection.

    Attributes:
        pid: The lab's first process.
        generation: Of the object that was applied last.
    """

    generation = 0

    def __init__(self, info: dict[str, Any]) -> None:
        self.pid: int = info["pid"]
        config = yaml.safe_load(Path(info["kubeconfig"]).read_text())
        cluster = config["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        self._place = cluster["server"].removeprefix("https://")
        self._context = context
        self._client = http.client.HTTPSConnection(self._place, context=context, timeout=30)
        self._token = config["users"][0]["user"]["token"]

    def call(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        """One request; the answer as JSON, or as text where it is none.

        Raises:
            RuntimeError: The answer is an error.
        """
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        self._client.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self._client.getresponse()
        text = answer.read().decode()
        if answer.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
        return json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def apply(self, manifest: dict[str, Any]) -> str:
        """Create an object, or bring it to this form; its path."""
        folder = GROUPS[manifest["kind"]].format(NAMESPACE)
        path = f"{folder}/{manifest['metadata']['name']}"
        kind = "application/apply-patch+yaml"
        found = self.call("PATCH", f"{path}?fieldManager=bench&force=true", manifest, kind)
        self.generation = found["metadata"].get("generation", 0)
        return path

    def delete(self, path: str) -> None:
        """Take an object away."""
        self.call("DELETE", path)

    def pods(self) -> list[dict[str, Any]]:
        """The namespace's pods."""
        found: list[dict[str, Any]] = self.call("GET", GROUPS["Pod"].format(NAMESPACE))["items"]
        return found

    def wait_ready(self, count: int, seconds: float = 60) -> None:
        """Until there are *count* pods, all Ready."""
        deadline = time.monotonic() + seconds
        while not (len(pods := self.pods()) == count and all(is_ready(p) for p in pods)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(pods)} pods, not all Ready after {seconds:g} s")
            time.sleep(0.05)

    def wait_condition(self, path: str, seconds: float = 15) -> dict[str, Any]:
        """The condition Reconciled of an Istio resource, once it is true for what was applied last."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.call("GET", path)
            for condition in (found.get("status") or {}).get("conditions") or ():
                current = condition.get("observedGeneration") == found["metadata"].get("generation")
                if condition["type"] == "Reconciled" and condition["status"] == "True" and current:
                    return dict(condition)
            if time.monotonic() > deadline:
                raise RuntimeError(f"{path} is not reconciled: {found.get('status')}")
            time.sleep(0.002)

    @contextlib.contextmanager
    def watching(self, path: str) -> Iterator[Callable[[int], None]]:
        """A function that waits until all sidecars serve a generation of an Istio resource, by a watch as `kubectl wait` does."""
        folder, _, name = path.rpartition("/")
        version = self.call("GET", path)["metadata"]["resourceVersion"]
        client = http.client.HTTPSConnection(self._place, context=self._context, timeout=30)
        query = f"watch=1&fieldSelector=metadata.name%3D{name}&resourceVersion={version}"
        client.request("GET", f"{folder}?{query}", headers={"Authorization": f"Bearer {self._token}"})
        answer = client.getresponse()

        def wait(generation: int) -> None:
            while not _serves(json.loads(answer.readline())["object"], generation):
                pass

        try:
            yield wait
        finally:
            client.close()


def _serves(resource: dict[str, Any], generation: int) -> bool:
    return any(
        c["type"] == "Reconciled" and c["status"] == "True" and c.get("observedGeneration", 0) >= generation
        for c in (resource.get("status") or {}).get("conditions") or ()
    )


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is Ready."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@contextlib.contextmanager
def lab(name: str, port: int = 8281, *options: str) -> Iterator[Api]:
    """A lab with an empty namespace that injects."""
    command = [sys.executable, "-m", "meshverdict"]
    with tempfile.TemporaryDirectory() as folder:
        labels = {"istio-injection": "enabled", "meshverdict.io/lab": "true"}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
        (Path(folder) / "namespace.yaml").write_text(yaml.safe_dump(space))
        up = [
            *command,
            "up",
            "--name",
            name,
            "--port",
            str(port),
            "--manifests",
            folder,
            "-o",
            "json",
            *options,
        ]
        done = subprocess.run(up, stdout=subprocess.PIPE, check=False, text=True)
        if done.returncode != 0:
            sys.exit(f"no lab: {done.stdout}")
        try:
            with contextlib.closing(Api(json.loads(done.stdout))) as api:
                yield api
        finally:
            subprocess.run([*command, "down", "--name", name], stdout=subprocess.DEVNULL, check=True)


def programs() -> dict[str, Any]:
    """The programs as a ConfigMap."""
    data = {name: (HERE / name).read_text() for name in ("server.py", "client.py")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "programs"}, "data": data}


def service(name: str = "server") -> dict[str, Any]:
    """The Service before all servers."""
    spec = {"selector": {"app": "server"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def sidecars_of(pid: int) -> list[int]:
    """The Envoys below a process."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        waiting += children.get(one, [])
        try:
            if (Path("/proc") / str(one) / "comm").read_text().strip() == "envoy":
                found.append(one)
        except OSError:
            continue
    return found


def server(version: str, replicas: int) -> dict[str, Any]:
    """A Deployment of servers of one version.

    They wait two seconds before they end, as pods of every cluster must: requests come until all clients know.
    """
    labels = {"app": "server", "version": version}
    spec = _pod(["python", "/programs/server.py"], {"VERSION": version})
    container = spec["containers"][0]
    container["ports"] = [{"containerPort": 8080}]
    container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    container["lifecycle"] = {"preStop": {"sleep": {"seconds": 2}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"server-{version}"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def client(
    rate: float, seconds: float, *, name: str = "client", address: str = "server:80"
) -> dict[str, Any]:
    """A pod that asks the Service."""
    command = ["python", "/programs/client.py", address, str(rate), str(seconds)]
    spec = _pod(command, {}) | {"restartPolicy": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": spec,
    }


def _pod(command: list[str], env: dict[str, str]) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 10,
        "containers": [
            {
                "name": "main",
                "image": "python:3.11",
                "command": command,
                "env": [{"name": key, "value": value} for key, value in env.items()],
                "volumeMounts": [{"name": "programs", "mountPath": "/programs"}],
            }
        ],
        "volumes": [{"name": "programs", "configMap": {"name": "programs"}}],
    }


def said(api: Api, pod: str = "client") -> list[dict[str, Any]]:
    """The client's lines so far; none while it starts."""
    status = api.call("GET", f"{GROUPS['Pod'].format(NAMESPACE)}/{pod}").get("status") or {}
    if status.get("phase", "Pending") == "Pending":
        return []
    text = api.call("GET", f"{GROUPS['Pod'].format(NAMESPACE)}/{pod}/log?container=main")
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def wait_done(api: Api, pod: str = "client", seconds: float = 120) -> list[dict[str, Any]]:
    """All of the client's lines, once it is done."""
    deadline = time.monotonic() + seconds
    while "done" not in (lines := said(api, pod) or [{}])[-1]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the client {pod} is not done after {seconds:g} s")
        time.sleep(0.2)
    return lines
