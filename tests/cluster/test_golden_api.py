"""Replay of recorded request and answer pairs of a real API server, with all controllers and a stand-in kubelet.

Every difference is counted; those that stay have their reason in `KNOWN`, by record or by scenario.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
import yaml

from meshverdict.cluster.controllers import namespace

KUBELET = "reported by a kubelet; the stand-in of this test only runs or removes pods"
CONTROLLER = "written by a controller, earlier, later or in another order than in the recording"
LOGS = "the stand-in for the runtime has the same log for every pod"
STEPS = "recorded after steps that are in no open record"
QUOTED = "quotes the whole object, whose keys Go orders by struct"
VERSION = "the version says that this is no kube-apiserver"
TOKENS_ONLY = "recorded with anonymous access on; here every request without a token gets 401"
DOCUMENT = "the document names the same resources and schemas with fewer parameters and media types"
TIMING = "a recording of when bookmarks come; the test does not wait that long"
# Records (or scenarios) that differ, and why.
KNOWN: dict[str, str] = {
    "disco-plain-01": "the address of the recorded machine",
    "disco-plain-04": VERSION,
    "openapi-index": DOCUMENT,
    "table-daemonsets-01": "the recording leaves one annotation out",
    "table-cluster-02": KUBELET,
    "lab-pods-02": "amounts for the pod as a whole are not reported",
    "lab-node-01": KUBELET,
    "lab-endpointslices-01": CONTROLLER,
    "watch-initial-07": STEPS,
    "watch-bookmarks": TIMING,
    "patch-json-merge-02": CONTROLLER,
    "patch-json-merge-03": CONTROLLER,
    "patch-json-merge-06": QUOTED,
    "patch-jsonpatch-01": STEPS,
    "patch-jsonpatch-02": STEPS,
    "patch-jsonpatch-07": QUOTED,
    "patch-jsonpatch-08": STEPS,
    "patch-jsonpatch-09": STEPS,
    "ssa-basic": CONTROLLER,
    "delete-pod-03": KUBELET,
    "ns-delete": CONTROLLER,
    "field-validation-10": "externalIPs are refused, because the lab would not honour them",
    "auth-anonymous": TOKENS_ONLY,
    "auth-review-04": "the recorded server has one role more, of its vendor",
    "auth-off-11": VERSION,
    "auth-off-12": "the address of the recorded machine",
    "rollout": CONTROLLER,
    "failing-pods-03": "the words of containerd, which is not there",
    "failing-pods-09": KUBELET,
    "failing-pods-10": LOGS,
    "failing-pods-11": LOGS,
    "statefulset-job-15": STEPS,
}
SKIPPED_SECONDS = 12  # longer watches are recordings of bookmarks' timing
HASH = re.compile(
    r"(?<![0-9a-zA-Z])[0-9a-f]{8,10}(?![0-9a-zA-Z])|(?<=-)[bcdfghjklmnpqrstvwxz2456789]{7,10}(?![0-9a-zA-Z])|^[bcdfghjklmnpqrstvwxz2456789]{7,10}$|(?<==)[bcdfghjklmnpqrstvwxz2456789]{7,10}$"
)
PLACEHOLDER = re.compile(
    r"<(?:uid|rv|podIP|clusterIP)(?::\d+)?>|<time>|<age>|<rand5>|<hex16>|<hex64>|<continue>|<PEM>|<jwt>|<etag>|<hash>"
)
NUMBER = re.compile(r"(?<=record \()\d+|(?<=current: )\d+|(?<=\()\d+(?=s ago\))")


def matches(expected: str, actual: str) -> bool:
    """Whether a text fits one with placeholders."""
    expected, actual = HASH.sub("#", expected), HASH.sub("#", actual)
    parts = PLACEHOLDER.split(expected)
    if len(parts) == 1:
        return expected == actual
    return re.fullmatch("(?s:.+?)".join(re.escape(p) for p in parts), actual) is not None


class Replay:
    """One scenario's placeholders and the differences found."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def differences(self, expected: Any, actual: Any, path: str = "") -> list[str]:
        """Where two values differ, by path."""
        if isinstance(expected, dict) and isinstance(actual, dict):
            found = []
            for key in {**expected, **actual}:
                place = f"{path}.{key}"
                if key in {"managedFields", "description", "imageID"} or place.endswith(".status.resources"):
                    continue  # the last two are the recorded machine's
                if key not in actual:
                    found.append(f"{place}: missing, was {json.dumps(expected[key])[:120]}")
                elif key not in expected:
                    found.append(f"{place}: extra {json.dumps(actual[key])[:120]}")
                else:
                    found += self.differences(expected[key], actual[key], place)
            return found
        if isinstance(expected, list) and isinstance(actual, list):
            if len(expected) != len(actual):
                return [f"{path}: {len(actual)} elements, not {len(expected)}: {json.dumps(actual)[:200]}"]
            found = []
            for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
                found += self.differences(one, other, f"{path}[{index}]")
            return found
        if isinstance(expected, str) and isinstance(actual, str):
            if PLACEHOLDER.fullmatch(expected) and ":" in expected:
                self.values.setdefault(expected, actual)
                return []
            if expected == "<continue>":
                self.values[expected] = actual
            expected, actual = NUMBER.sub("N", expected), NUMBER.sub("N", actual)
            return [] if matches(expected, actual) else [f"{path}: {actual[:300]!r}, not {expected[:300]!r}"]
        return (
            []
            if expected == actual
            else [f"{path}: {json.dumps(actual)[:200]}, not {json.dumps(expected)[:200]}"]
        )

    def filled(self, text: str) -> str:
        """A request's text with what placeholders stand for; a revision never seen is an old one."""

        def value(match: re.Match[str]) -> str:
            name = match.group()
            if name in self.values:
                return self.values[name]
            return (
                "1"
                if name.startswith("<rv")
                else "00000000-0000-0000-0000-000000000000"
                if "uid" in name
                else name
            )

        return PLACEHOLDER.sub(value, text)


async def prepare(cluster: Any, needs: str, scenario: str, path: str) -> None:  # noqa: PLR0912 - a table of scenarios
    """What a scenario needs to be there."""
    names = set(re.findall(r"gold-[a-z]+", needs or "")) | set(re.findall(r"gold-[a-z]+", path))
    for name in names:
        if cluster.objects.get("namespaces", None, name) is None:
            cluster.objects.create("namespaces", {"metadata": {"name": name}}, manager="test")
    await asyncio.sleep(0.05)
    match scenario:
        case "watch-initial" | "watch-bookmarks":
            for name in ("s0", "s1"):
                meta = {"name": name, "namespace": "gold-watch" if scenario == "watch-initial" else "gold-bm"}
                if cluster.objects.get("secrets", meta["namespace"], name) is None:
                    cluster.objects.create("secrets", {"metadata": meta}, manager="test")
        case "sel-labels":
            for name, labels in {"a": {"app": "x", "tier": "1"}, "b": {"app": "y"}, "c": {}}.items():
                meta = {"name": name, "namespace": "gold-sel", "labels": labels}
                cluster.objects.create("configmaps", {"metadata": meta, "data": {"k": "v"}}, manager="test")
        case "paging":
            for number in range(5):
                meta = {"name": f"c{number}", "namespace": "gold-page"}
                cluster.objects.create("secrets", {"metadata": meta}, manager="test")
        case "failing-pods":
            for pod in FAILING:
                cluster.objects.create("pods", pod, manager="golden")
            await asyncio.sleep(0.5)
        case "conflict-409":
            meta = {"name": "dup", "namespace": "gold-create"}
            cluster.objects.create("configmaps", {"metadata": meta, "data": {"k": "v"}}, manager="test")
        case "auth-review":
            rule = {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods", "configmaps"]}
            meta = {"name": "r", "namespace": "gold-auth"}
            roles = "roles.rbac.authorization.k8s.io"
            if cluster.objects.get("namespaces", None, "gold-auth") is None:
                cluster.objects.create("namespaces", {"metadata": {"name": "gold-auth"}}, manager="test")
                await asyncio.sleep(0.05)
            cluster.objects.create(roles, {"metadata": meta, "rules": [rule]}, manager="test")
            subject = {"kind": "User", "name": "limited", "apiGroup": "rbac.authorization.k8s.io"}
            reference = {"kind": "Role", "name": "r", "apiGroup": "rbac.authorization.k8s.io"}
            binding = {"metadata": meta, "subjects": [subject], "roleRef": reference}
            cluster.objects.create(f"rolebindings.{roles.partition('.')[2]}", binding, manager="test")
        case "scale-read-write":
            cluster.objects.create("deployments.apps", deployment("gold-scale"), manager="test")
            await asyncio.sleep(0.3)
        case _:
            return


def _failing(name: str, *, image: str = "lab", again: str = "Always", **container: Any) -> dict[str, Any]:
    policy = {"imagePullPolicy": "Never"} if image == "lab" else {}
    one = {"name": "c", "image": f"registry.local/{image}:1", **policy, **container}
    spec: dict[str, Any] = {"containers": [one], "restartPolicy": again, "terminationGracePeriodSeconds": 0}
    if name == "nowhere":
        spec["nodeSelector"] = {"no": "where"}
    return {"metadata": {"name": name, "namespace": "gold-fail", "labels": {"app": name}}, "spec": spec}


# The pods whose failures are recorded, as the recordings show them.
FAILING = (
    _failing("crash", command=["sh", "-c", "echo boom; exit 3"]),
    _failing("noimage", image="none"),
    _failing("nowhere", command=["sleep", "1000"]),
    _failing("nocm", envFrom=[{"configMapRef": {"name": "none"}}]),
    _failing("done", again="Never", command=["true"]),
    _failing("fail", again="Never", command=["false"]),
    _failing(
        "unready",
        command=["sleep", "1000"],
        readinessProbe={"exec": {"command": ["false"]}, "periodSeconds": 1},
    ),
)


def deployment(namespace: str) -> dict[str, Any]:
    """The Deployment that the recordings use."""
    labels = {"app": "web"}
    spec = {
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "c", "image": "registry.local/lab:1"}],
    }
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


async def watch(
    cluster: Any, path: str, headers: dict[str, str], count: int, seconds: float
) -> tuple[int, Any, list[Any]]:
    """The events of a watch, until *count* have come or the time is over."""
    events: list[Any] = []
    token = {"Authorization": f"Bearer {cluster.auth.admin_token}"}
    url = cluster.url + path
    async with cluster.session.get(url, headers={**headers, **token}) as response:
        if response.status != 200:
            return response.status, response.headers, [json.loads(await response.read())]
        try:
            async with asyncio.timeout(seconds):
                async for line in response.content:
                    events.append(json.loads(line))
                    if len(events) >= count and count:
                        await asyncio.sleep(0.05)
                        break
        except TimeoutError:
            pass
        return response.status, response.headers, events


def _identity(item: Any) -> str:
    if not isinstance(item, dict):
        return ""
    found = item.get("resource") or item.get("name") or (item.get("metadata") or {}).get("name")
    return str(found or item.get("subresource") or "")


def served_part(expected: Any, actual: Any) -> tuple[Any, Any]:
    """Discovery without what is not served, both in one order: what is served must be described alike."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        pairs = {k: served_part(v, actual.get(k)) for k, v in expected.items()}
        left = {k: p[0] for k, p in pairs.items() if k != "storageVersionHash"}
        right = {k: pairs[k][1] if k in pairs else v for k, v in actual.items() if k != "storageVersionHash"}
        return left, right
    if isinstance(expected, list) and isinstance(actual, list) and any(_identity(i) for i in actual):
        theirs = {_identity(i): i for i in expected}
        ours = {_identity(i): i for i in actual}
        pairs = {k: served_part(theirs.get(k), v) for k, v in sorted(ours.items())}
        return [p[0] for p in pairs.values()], [p[1] for p in pairs.values()]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        both = [served_part(one, other) for one, other in zip(expected, actual, strict=True)]
        return [p[0] for p in both], [p[1] for p in both]
    return expected, actual


def trimmed(expected: Any, actual: Any) -> Any:
    """Lists of the recording are sometimes trimmed to names."""
    wanted = expected.get("items") if isinstance(expected, dict) and isinstance(actual, dict) else None
    if isinstance(wanted, list) and all(
        set(i) == {"metadata"} and set(i["metadata"]) == {"name"} for i in wanted
    ):
        items = [{"metadata": {"name": i["metadata"]["name"]}} for i in actual.get("items") or []]
        return {**actual, "items": [i for i in items if i["metadata"]["name"] != "kube-root-ca.crt"]}
    return actual


async def one(cluster: Any, record: dict[str, Any], replay: Replay, start: int) -> list[str]:
    """The differences of one record."""
    request, response = record["request"], record["response"]
    path = await named(cluster, replay.filled(request["path"]))
    query = request.get("query") or ""
    query = query.replace("<continue of the answer before>", replay.values.get("<continue>", ""))
    query = re.sub(r"resourceVersion=\d{3,4}(?!\d)", f"resourceVersion={start}", query)
    headers = dict(request.get("headers") or {})
    headers.setdefault("User-Agent", "golden/1")
    if "events" in response:
        count = len(response["events"])
        longest = max(map(int, re.findall(r"timeoutSeconds=(\d+)", query)), default=0)
        if longest > SKIPPED_SECONDS and record["scenario"] == "watch-bookmarks":
            return ["not waited for"]
        seconds = min(float((re.findall(r"timeoutSeconds=(\d+)", query) or ["5"])[0]) + 1, SKIPPED_SECONDS)
        if not re.search("timeoutSeconds", query):
            query += "&timeoutSeconds=5"
        status, got, events = await watch(cluster, f"{path}?{query}", headers, count, seconds)
        found = [] if status == response["status"] else [f"code {status}, not {response['status']}"]
        # The recordings began at a moment of their own: what was there before it is no part of them.
        while (
            len(events) > 1 and events[0]["type"] == "ADDED" and response["events"][:1][0]["type"] != "ADDED"
        ):
            events.pop(0)
        return found + replay.differences(response["events"], events[: len(response["events"])], "events")
    auth = request.get("auth") or ""
    token: str | None = "limited-token" if "limited-token" in auth else "wrong" if "wrong" in auth else ""
    if auth.startswith(("none", "")) and "none" in auth:
        token = None
    data = None
    body = request.get("body")
    if body is not None:
        text = body if isinstance(body, str) else json.dumps(body)
        data = replay.filled(text)
        rand = re.findall(r'"name": "([a-z0-9-]+)-<rand5>"', data)
        if rand and "/pods/" in path:
            data = data.replace(f"{rand[0]}-<rand5>", path.split("/pods/")[1].split("/")[0])
            data = re.sub(r"web-[0-9a-f]{9,10}-<rand5>", path.split("/pods/")[1].split("/")[0], data)
    status, got, answer = await cluster.request(
        request["method"],
        f"{path}?{query}" if query else path,
        data=data.encode() if data is not None else None,
        headers=headers,
        content_type=request.get("content_type"),
        token=token,
    )
    found = [] if status == response["status"] else [f"code {status}, not {response['status']}"]
    media = (response.get("headers") or {}).get("Content-Type")
    if media and got.get("Content-Type") != media:
        found.append(f"Content-Type {got.get('Content-Type')}, not {media}")
    warned = (response.get("headers") or {}).get("Warning") or []
    if got.getall("Warning", []) != (warned if isinstance(warned, list) else [warned]):
        found.append(f"Warning {got.getall('Warning', [])}, not {warned}")
    expected = response.get("body")
    if isinstance(expected, str) and "yaml" in str(media) and isinstance(answer, str):
        expected, answer = yaml.safe_load(expected), yaml.safe_load(answer)
    if record["topic"] == "discovery":
        expected, answer = served_part(expected, answer)
    if "body" in response and request["method"] != "HEAD":
        found += replay.differences(expected, trimmed(expected, answer), "")
    return found


async def named(cluster: Any, path: str) -> str:
    """A path with a random pod name replaced by that of the pod that is there."""
    if "<rand5>" not in path:
        return path
    namespace = path.split("/")[4]
    for _ in range(40):
        pods = [
            p for p in cluster.objects.list("pods", namespace) if "deletionTimestamp" not in p["metadata"]
        ]
        if pods and (pods[0].get("status") or {}).get("phase") == "Running":
            break
        await asyncio.sleep(0.05)
    return re.sub(r"web-[0-9a-z]+-<rand5>", pods[0]["metadata"]["name"], path)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_replay(cluster, yardsticks, monkeypatch):
    """The answers are those that were recorded, but for the listed ones."""
    monkeypatch.setattr(namespace, "GRACE_S", 0.0)  # the recordings do not say how long somebody waited
    records = [json.loads(line) for line in (yardsticks / "golden_api_open.jsonl").read_text().splitlines()]
    records.sort(key=lambda r: r["seq"])
    code, _, err = await cluster.kubectl("apply", "-f", str(yardsticks / "golden_lab_manifests"))
    assert code == 0, err
    await asyncio.sleep(1)
    replays: dict[str, Replay] = {}
    starts: dict[str, int] = {}
    wrong: dict[str, list[str]] = {}
    refused = 0
    others = {"codes": 0, "reasons": 0, "messages": 0}
    for record in records:
        scenario = record["scenario"]
        if scenario not in replays:
            replays[scenario] = Replay()
            await prepare(cluster, record.get("needs") or "", scenario, record["request"]["path"])
            starts[scenario] = cluster.objects.store.revision
        found = await one(cluster, record, replays[scenario], starts[scenario])
        if found:
            wrong[record["id"]] = found
        refusal = (record["response"].get("body") or {}) if "body" in record["response"] else {}
        refused += isinstance(refusal, dict) and refusal.get("status") == "Failure"
        for kind, start in (("codes", "code "), ("reasons", ".reason:"), ("messages", ".message:")):
            others[kind] += any(f.startswith(start) for f in found)
        await asyncio.sleep(0.02)
    unknown = {k: v for k, v in wrong.items() if k not in KNOWN and k.rsplit("-", 1)[0] not in KNOWN}
    told = f"golden: {len(records)} records, {len(records) - len(wrong)} equal; others: {others}, {refused} refusals"
    print(told)  # noqa: T201 - the count is the result
    for name, found in unknown.items():
        print(name, *found[:12], sep="\n      ")  # noqa: T201 - the count is the result
    assert unknown == {}
