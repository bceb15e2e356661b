"""Text of manifests in the place of code: for a shell, for nft, for paths, for the lines of a file.

Whatever a field holds, it is refused or it stays text: no file appears, no rule changes, nothing breaks.
"""

from __future__ import annotations

import copy
import http.client
import json
import os
import random
import ssl
import string
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MARK = f"/tmp/pwned-{os.getpid()}"
TEXTS = (
    f'"; touch {MARK}; #',
    f"$(touch {MARK})",
    f"`touch {MARK}`",
    f"x\n touch {MARK}\n",
    "}\nadd table ip pwned\n{",
    "10.0.0.0/8 } accept; #",
    "../../../../tmp/pwned",
    "a\0b",
    "%s%n{0}${x}",
)
SPEC = {
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "hostname": "h",
    "dnsConfig": {"nameservers": ["10.96.0.10"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}]},
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["other"]}],
    "volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "p"}]}}],
    "containers": [
        {
            "name": "c",
            "image": "busybox",
            "command": ["sleep", "60"],
            "args": ["60"],
            "workingDir": "/tmp",
            "env": [{"name": "A", "value": "b"}, {"name": "F", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "ports": [{"name": "http", "containerPort": 80}],
            "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "p"}],
            "readinessProbe": {"httpGet": {"path": "/x", "port": 80, "httpHeaders": [{"name": "A", "value": "b"}]}},
            "terminationMessagePath": "/dev/termination-log",
        }
    ],
}  # fmt: skip
TARGETS: dict[str, dict[str, Any]] = {
    "/api/v1/namespaces": {"metadata": {"name": "n", "labels": {"a": "b"}, "annotations": {"a": "b"}}},
    "/api/v1/namespaces/foe/configmaps": {"metadata": {"name": "n"}, "data": {"k": "v"}},
    "/api/v1/namespaces/foe/secrets": {"metadata": {"name": "n"}, "type": "Opaque", "stringData": {"k": "v"}},
    "/api/v1/namespaces/foe/pods": {"metadata": {"name": "n", "labels": {"a": "b"}}, "spec": SPEC},
    "/api/v1/namespaces/foe/services": {
        "metadata": {"name": "n", "annotations": {"meshverdict.io/publish": "1"}},
        "spec": {
            "selector": {"a": "b"},
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
            "clusterIP": "10.96.7.7",
            "sessionAffinity": "None",
        },
    },
    "/apis/networking.k8s.io/v1/namespaces/foe/networkpolicies": {
        "metadata": {"name": "n"},
        "spec": {
            "podSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [
                        {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}},
                        {"namespaceSelector": {"matchLabels": {"a": "b"}}},
                    ],
                    "ports": [{"port": "http", "protocol": "TCP"}],
                }
            ],
        },
    },
    "/apis/networking.k8s.io/v1/namespaces/foe/ingresses": {
        "metadata": {"name": "n"},
        "spec": {
            "rules": [
                {
                    "host": "a.b",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "s", "port": {"name": "http"}}},
                            }
                        ]
                    },
                }
            ]
        },
    },
    "/apis/discovery.k8s.io/v1/namespaces/foe/endpointslices": {
        "metadata": {"name": "n", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.244.1.9"], "nodeName": "node-a"}],
    },
    "/apis/networking.istio.io/v1/namespaces/foe/virtualservices": {
        "metadata": {"name": "n"},
        "spec": {
            "hosts": ["s.foe.svc.cluster.local"],
            "http": [
                {
                    "match": [{"uri": {"regex": "/a.*"}, "headers": {"x": {"exact": "y"}}}],
                    "rewrite": {"uri": "/b"},
                    "route": [{"destination": {"host": "s", "subset": "v"}}],
                }
            ],
        },
    },
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all texts in a manifest; of mappings the keys too, as a path that ends with None."""
    if isinstance(value, dict):
        for key, item in value.items():
            if path and path[-1] in {"labels", "annotations", "data", "matchLabels", "selector"}:
                yield (*path, key, None)
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))
    elif isinstance(value, str):
        yield path


def put(manifest: Any, path: tuple[Any, ...], text: str) -> Any:
    """A copy of the manifest with *text* at *path*."""
    made = copy.deepcopy(manifest)
    holder = made
    key_wanted = path[-1] is None
    steps = path[:-1] if key_wanted else path
    for step in steps[:-1]:
        holder = holder[step]
    if key_wanted:
        holder[text] = holder.pop(steps[-1])
    else:
        holder[steps[-1]] = text
    return made


class Api:
    """Posts to the lab over one connection."""

    def __init__(self, lab: Any) -> None:
        host = lab.info["api"].partition("://")[2]
        context = ssl._create_unverified_context()  # noqa: S323 - the lab's own certificate, on loopback
        self._connection = http.client.HTTPSConnection(host, context=context, timeout=10)
        self._headers = {"Authorization": f"Bearer {lab.token}", "Content-Type": "application/json"}

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """Status and answer."""
        self._connection.request("POST", path, json.dumps(body), self._headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())


def rules(lab: Any) -> str:
    """All packet rules of the lab's networks, which its supervisor holds by descriptors, as root sees them."""
    keeper = lab.info["pid"]
    supervisor = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()[0]
    networks = {}
    for descriptor in Path(f"/proc/{supervisor}/fd").iterdir():
        name = str(descriptor.readlink())
        if name.startswith("net:["):
            networks[name] = descriptor
    texts = []
    for path in networks.values():
        command = ["nsenter", f"--net={path}", "nft", "--stateless", "list", "ruleset"]
        texts.append(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    return "".join(texts)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look at the rules of another's namespaces")
def test_text_stays_text(lab):
    """Each text of each kind replaced by nine attacks and by noise: refused or kept, and nothing else happens."""
    chance = random.Random(7)
    noise = ["".join(chance.choices(string.punctuation + "a1 \n\t\0é", k=12)) for _ in range(3)]
    api = Api(lab)
    answers: dict[int, int] = {}
    odd = []
    for url, manifest in TARGETS.items():
        for number, path in enumerate(places(manifest)):
            for index, attack in enumerate((*TEXTS, *noise)):
                body = put(manifest, path, attack)
                if path != ("metadata", "name"):
                    body["metadata"]["name"] = f"n{number}-{index}"
                if url.endswith("services") and path != ("spec", "clusterIP"):
                    body["spec"].pop("clusterIP", None)
                if url.endswith("pods") and index > 2:
                    body["spec"]["nodeName"] = "nowhere"  # enough of them run; the others are only checked
                code, answer = api.post(url, body)
                answers[code] = answers.get(code, 0) + 1
                if code not in {201, 400, 404, 422} and answer.get("reason") != "AlreadyExists":
                    odd.append((url, path, attack, code, answer.get("message")))
    api.close()
    print(f"hostile texts: {sum(answers.values())} sent, answers {answers}")  # noqa: T201 - the count is the result
    assert odd == []
    assert answers[201] > 200
    assert answers[422] > 500
    time.sleep(1)  # what was accepted is acted upon
    assert not Path(MARK).exists()
    assert not Path("/tmp/pwned").exists()
    seen = rules(lab)
    assert "table" in seen
    assert "pwned" not in seen
    log = "".join(p.read_text(errors="replace") for p in (lab.state / "logs").glob("*.log"))
    assert "refused" not in log
    assert "Traceback" not in log
    assert lab.kubectl("get", "pods", "-n", "foe", "stranger").stdout.count("1/1") == 1
    files = lab.inside("stranger", "import os; print([f for f in os.listdir('/tmp') if 'pwned' in f])")
    assert files.strip() == "[]"
