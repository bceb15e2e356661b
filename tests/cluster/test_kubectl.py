"""The real kubectl, unchanged, against the API: everyday commands, streams, and what it says of errors."""

from __future__ import annotations

import asyncio
import json
import re
import shutil

import pytest

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "default"},
    "spec": {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}]}]},
}


async def ok(api, *arguments, stdin=None):
    """The output of a command that succeeds."""
    code, out, err = await api.kubectl(*arguments, stdin=stdin)
    assert code == 0, (arguments, out, err)
    return out


async def test_apply_twice(cluster, yardsticks):
    """A second apply of the lab's manifests changes nothing; deleting them leaves nothing."""
    folder = str(yardsticks / "golden_lab_manifests")
    first = await ok(cluster, "apply", "-f", folder)
    assert all(line.endswith("created") for line in first.splitlines())
    revision = {
        o["metadata"]["uid"]: o["metadata"]["generation"] for o in cluster.objects.list("deployments.apps")
    }
    second = await ok(cluster, "apply", "-f", folder)
    assert all(line.endswith("unchanged") for line in second.splitlines())
    assert revision == {
        o["metadata"]["uid"]: o["metadata"]["generation"] for o in cluster.objects.list("deployments.apps")
    }
    await ok(cluster, "rollout", "status", "deploy/pythonapp", "-n", "c-app-count", "--timeout=20s")
    shown = await ok(cluster, "get", "deploy,svc,ing,netpol", "-A", "-o", "wide")
    assert "networkpolicy.networking.k8s.io/isolate-namespace" in shown
    # What the namespaces took with them is no longer there to be deleted by name.
    await ok(cluster, "delete", "-f", folder, "--wait", "--timeout=40s", "--ignore-not-found")
    left = [n["metadata"]["name"] for n in cluster.objects.list("namespaces")]
    assert left == ["default", "kube-node-lease", "kube-public", "kube-system"]


async def test_recorded_outputs(cluster, yardsticks):
    """``kubectl get`` prints the header and rows that were recorded against a real server."""
    await ok(cluster, "apply", "-f", str(yardsticks / "golden_lab_manifests"))
    await ok(cluster, "rollout", "status", "deploy/pythonapp", "-n", "c-app-count", "--timeout=20s")
    text = (yardsticks / "golden_kubectl.md").read_text()
    section = text.partition("## get\n")[2].partition("\n## ")[0]
    cases = re.findall(r"```console\n\$ kubectl (get [^\n]*)\n(.*?)```", section, re.DOTALL)
    wrong = []
    for command, expected in cases:
        if re.search(r"watch|-w\b|--kubeconfig|\||'|\"", command):
            continue
        _, out, err = await cluster.kubectl(*command.split())
        if not same_table(expected, out):
            wrong.append((command, out[:400], err[:200]))
    print(f"kubectl get: {len(cases)} recorded commands, {len(wrong)} print something else")  # noqa: T201 - the count is the result
    for command, out, err in wrong:
        print(command, out, err, sep="\n")  # noqa: T201 - the count is the result
    assert wrong == []


def same_table(expected: str, actual: str) -> bool:
    """Whether two outputs have the same header lines."""

    def headers(text: str) -> list[list[str]]:
        return [line.split() for line in text.splitlines() if line and line.split()[0].isupper()]

    return headers(expected) == headers(actual)


async def test_edit_label_scale_and_explain(api):
    """patch, label, annotate, scale, set image, explain and dry runs work on a Deployment."""
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "x:1"}]},
            },
        },
    }
    await ok(api, "apply", "-f", "-", stdin=json.dumps(manifest).encode())
    await ok(api, "scale", "deploy/web", "--replicas=3")
    await ok(api, "label", "deploy/web", "a=b")
    await ok(api, "annotate", "deploy/web", "c=d")
    await ok(api, "set", "image", "deploy/web", "c=x:2")
    await ok(
        api,
        "patch",
        "deploy/web",
        "-p",
        '{"spec":{"template":{"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"1"}]}]}}}}',
    )
    await ok(
        api,
        "patch",
        "deploy/web",
        "--type=json",
        "-p",
        '[{"op":"add","path":"/metadata/labels/x","value":"y"}]',
    )
    web = api.objects.get("deployments.apps", "default", "web")
    container = web["spec"]["template"]["spec"]["containers"][0]
    assert (web["spec"]["replicas"], web["metadata"]["labels"]) == (3, {"a": "b", "x": "y"})
    assert (container["image"], container["env"]) == ("x:2", [{"name": "A", "value": "1"}])
    manifest["spec"]["replicas"] = 5
    shown = await ok(
        api, "apply", "--dry-run=server", "-f", "-", "-o", "json", stdin=json.dumps(manifest).encode()
    )
    assert json.loads(shown)["spec"]["replicas"] == 5
    assert api.objects.get("deployments.apps", "default", "web")["spec"]["replicas"] == 3
    assert "Label selector for pods" in await ok(api, "explain", "deployment.spec.selector")
    assert "deployments" in await ok(api, "api-resources")
    code, _, err = await api.kubectl("diff", "-f", "-", stdin=json.dumps(manifest).encode())
    assert code == 1, err
    await ok(api, "delete", "deploy/web")


async def test_server_side_apply_conflict(api):
    """Another manager's field is a conflict, and --force-conflicts takes it."""
    text = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"%d"}}'
    await ok(api, "apply", "--server-side", "--field-manager=one", "-f", "-", stdin=text % 1)
    code, _, err = await api.kubectl(
        "apply", "--server-side", "--field-manager=two", "-f", "-", stdin=text % 2
    )
    assert code == 1
    assert 'conflict with "one": .data.a' in err
    await ok(
        api, "apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-", stdin=text % 2
    )
    assert api.objects.get("configmaps", "default", "c")["data"] == {"a": "2"}


async def test_errors_in_kubectls_words(api):
    """Errors read as they do with a real server."""
    bad = dict(POD, spec={"containers": [{"name": "c"}]})
    code, _, err = await api.kubectl("create", "--validate=false", "-f", "-", stdin=json.dumps(bad).encode())
    assert code == 1
    assert 'The Pod "p" is invalid: spec.containers[0].image: Required value' in err
    code, _, err = await api.kubectl("get", "pod", "none")
    assert (code, err.strip()) == (1, 'Error from server (NotFound): pods "none" not found')
    code, _, err = await api.kubectl("get", "nothing")
    assert (code, err.strip()) == (1, 'error: the server doesn\'t have a resource type "nothing"')
    strange = b'{"apiVersion":"a.b/v1","kind":"Strange","metadata":{"name":"x"}}'
    code, _, err = await api.kubectl("apply", "-f", "-", stdin=strange)
    assert code == 1
    assert 'no matches for kind "Strange" in version "a.b/v1"' in err
    typo = dict(POD, spec={**POD["spec"], "replcas": 1})
    code, _, err = await api.kubectl("create", "-f", "-", stdin=json.dumps(typo).encode())
    assert 'strict decoding error: unknown field "spec.replcas"' in err
    host = dict(POD, spec={**POD["spec"], "hostNetwork": True})
    code, _, err = await api.kubectl("create", "-f", "-", stdin=json.dumps(host).encode())
    assert "spec.hostNetwork: Forbidden" in err


@pytest.fixture
def pod(api):
    """A running pod ``p`` with container ``c``."""
    api.objects.create("pods", POD, manager="test")
    api.run_pod("default", "p")
    return api


async def test_exec(pod):
    """Exec carries input, output, errors and the exit status."""
    assert await ok(pod, "exec", "p", "--", "echo", "hello") == "hello\n"
    assert await ok(pod, "exec", "-i", "p", "--", "cat", stdin=b"through") == "through"
    code, _, err = await pod.kubectl("exec", "p", "--", "sh", "-c", "echo oops >&2; exit 7")
    assert code == 7
    assert "oops" in err
    code, _, err = await pod.kubectl("exec", "p", "-c", "none", "--", "true")
    assert code == 1
    assert "container none is not valid for pod p" in err


async def test_logs(pod):
    """Logs with and without a tail."""
    assert await ok(pod, "logs", "p") == "one\ntwo\nthree\n"
    assert await ok(pod, "logs", "p", "--tail=1") == "three\n"
    code, _, err = await pod.kubectl("logs", "p", "--previous")
    assert code == 1
    assert "previous terminated container not found" in err


async def test_port_forward(pod):
    """port-forward carries several connections, kubectl's SPDY in a websocket included."""

    async def serve(reader, writer):
        line = await reader.readline()
        writer.write(b"echo:" + line)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        "kubectl", "--kubeconfig", str(pod.kubeconfig), "port-forward", "p", f":{port}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        local = int(re.search(r"127\.0\.0\.1:(\d+)", line)[1])
        for number in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            writer.write(b"%d\n" % number)
            await writer.drain()
            assert await asyncio.wait_for(reader.read(), 10) == b"echo:%d\n" % number
            writer.close()
            await writer.wait_closed()
    finally:
        process.terminate()
        await process.communicate()
        server.close()
        await server.wait_closed()


async def test_proxy(pod):
    """The pod proxy passes path and query on, and none of the caller's credentials."""
    seen = []

    async def serve(reader, writer):
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    status, headers, body = await pod.request(
        "GET", f"/api/v1/namespaces/default/pods/p:{port}/proxy/a%2fb?c=d"
    )
    server.close()
    await server.wait_closed()
    assert (status, body, headers["X-A"]) == (200, "hello", "b")
    assert seen[0].startswith("GET /a%2fb?c=d HTTP/1.1\r\n")
    assert pod.auth.admin_token not in seen[0]
    status, _, body = await pod.request("GET", "/api/v1/namespaces/default/pods/p:1/proxy/")
    assert (status, body["reason"]) == (503, "ServiceUnavailable")


async def test_custom_resources(api):
    """A definition adds a resource with printer columns, defaults, validation, scale and explain."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "description": "What is wanted",
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "mode": {"type": "string", "default": "A", "enum": ["A", "B"]},
                },
            },
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        },
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
        },
        "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    }
    names = {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.lab.example.com"},
        "spec": {"group": "lab.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    await ok(api, "apply", "-f", "-", stdin=json.dumps(definition).encode())
    await ok(api, "wait", "--for=condition=Established", "crd/widgets.lab.example.com", "--timeout=5s")
    widget = {
        "apiVersion": "lab.example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "w"},
        "spec": {"size": 3},
    }
    await ok(api, "apply", "-f", "-", stdin=json.dumps(widget).encode())
    shown = await ok(api, "get", "wd")
    assert [line.split()[:2] for line in shown.splitlines()] == [["NAME", "SIZE"], ["w", "3"]]
    await ok(api, "scale", "widget/w", "--replicas=4")
    stored = api.objects.get("widgets.lab.example.com", "default", "w")
    assert stored["spec"] == {"size": 4, "mode": "A"}
    widget["spec"]["mode"] = "C"
    code, _, err = await api.kubectl("apply", "-f", "-", stdin=json.dumps(widget).encode())
    assert code == 1
    assert 'spec.mode: Unsupported value: "C": supported values: "A", "B"' in err
    assert "What is wanted" in await ok(api, "explain", "widget.spec")
    await ok(api, "delete", "crd", "widgets.lab.example.com")
    assert api.objects.list("widgets.lab.example.com") == []


async def test_rbac_limits_an_account(api):
    """A service account does what its Role says, and no more; kubectl auth can-i agrees."""
    api.account(name="reader")
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}
    role = {"metadata": {"name": "r", "namespace": "default"}, "rules": [rule]}
    api.objects.create("roles.rbac.authorization.k8s.io", role, manager="test")
    binding = {
        "metadata": {"name": "r", "namespace": "default"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": "default"}],
    }
    api.objects.create("rolebindings.rbac.authorization.k8s.io", binding, manager="test")
    token, _ = api.auth.issue(api.objects.get("serviceaccounts", "default", "reader"))
    status, _, _ = await api.request("GET", "/api/v1/namespaces/default/configmaps", token=token)
    assert status == 200
    for method, path in (
        ("GET", "/api/v1/namespaces/default/secrets"),
        ("GET", "/api/v1/namespaces/kube-system/configmaps"),
        ("GET", "/api/v1/configmaps"),
        ("DELETE", "/api/v1/namespaces/default/configmaps/none"),
        ("GET", "/api/v1/nodes"),
    ):
        status, _, answer = await api.request(method, path, token=token)
        assert (status, answer["reason"]) == (403, "Forbidden"), path
    code, out, _ = await api.kubectl(
        "auth", "can-i", "list", "configmaps", "--as=system:serviceaccount:default:reader"
    )
    assert (code, out.strip()) == (0, "yes")
    api.objects.delete("serviceaccounts", "default", "reader", manager="test")
    status, _, _ = await api.request("GET", "/api/v1/namespaces/default/configmaps", token=token)
    assert status == 401


async def test_drain_and_evict(cluster):
    """Evictions respect a budget."""
    code, out, err = await cluster.kubectl("get", "nodes")
    assert code == 0, err
    assert "node5" in out
    await ok(cluster, "cordon", "node5")
    assert cluster.objects.get("nodes", None, "node5")["spec"]["unschedulable"] is True
    await ok(cluster, "uncordon", "node5")


CREATE = {
    "namespaces": "namespace n",
    "configmaps": "configmap c --from-literal=a=b",
    "secrets": "secret generic s --from-literal=a=b",
    "serviceaccounts": "serviceaccount robot",
    "deployments.apps": "deployment web --image=nginx --replicas=0 --port=80 -- sleep 1",
    "services": "service clusterip svc --tcp=80:8080",
    "jobs.batch": "job j --image=busybox -- true",
    "cronjobs.batch": "cronjob c --image=busybox --schedule=@hourly -- true",
    "ingresses.networking.k8s.io": "ingress i --rule=a.b/x*=svc:80",
    "roles.rbac.authorization.k8s.io": "role r --verb=get,list --resource=pods",
    "rolebindings.rbac.authorization.k8s.io": "rolebinding r --role=r --serviceaccount=default:robot",
    "clusterroles.rbac.authorization.k8s.io": "clusterrole cr --verb=get --resource=nodes",
    "clusterrolebindings.rbac.authorization.k8s.io": "clusterrolebinding cr --clusterrole=cr --user=u",
    "poddisruptionbudgets.policy": "poddisruptionbudget p --selector=a=b --min-available=50%",
}


@pytest.mark.parametrize("resource", CREATE)
async def test_create(api, resource):
    """Every ``kubectl create`` makes exactly what it shows with ``--dry-run=client``, protobuf or not."""
    words = CREATE[resource].split()
    await ok(api, "create", *words[:1], *words[1:])
    flags = ["--dry-run=client", "-o", "json"]
    split = words.index("--") if "--" in words else len(words)
    shown = json.loads(await ok(api, "create", *words[:split], *flags, *words[split:]))
    meta = shown["metadata"]
    stored = api.objects.get(resource, meta.get("namespace", "default"), meta["name"]) or api.objects.get(
        resource, None, meta["name"]
    )
    assert contains(stored, {k: v for k, v in shown.items() if k != "status"}), stored


def contains(stored, wanted):
    """Whether everything in *wanted* is in *stored*; empty values may be left out."""
    if isinstance(wanted, dict):
        left = {k: v for k, v in wanted.items() if v not in (None, {}, [])}
        return all(k in stored and contains(stored[k], v) for k, v in left.items())
    if isinstance(wanted, list):
        return len(stored) == len(wanted) and all(map(contains, stored, wanted))
    return stored == wanted


async def test_tokens_and_rights(api):
    """``create token`` makes a token that works, and ``auth`` says whose it is."""
    token = (await ok(api, "create", "token", "default")).strip()
    status, _, answer = await api.request("GET", "/api", token=token)
    assert (status, answer["kind"]) == (200, "APIVersions")
    assert "kubernetes-admin" in await ok(api, "auth", "whoami")
    assert (await ok(api, "auth", "can-i", "delete", "nodes")).strip() == "yes"
    assert "*.*" in await ok(api, "auth", "can-i", "--list")
