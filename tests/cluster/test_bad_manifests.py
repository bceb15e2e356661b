"""Every wrong request gets the code, reason, message and fields that a real API server gives."""

from __future__ import annotations

import json
from typing import Any

import yaml

# Where a lab must differ, and why. Everything else is held to what was measured.
KNOWN: dict[str, str] = {}
EXAMPLE = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "nginx"}]},
        },
    },
}


def set_up(api: Any, text: str) -> None:
    """The objects that a case needs, from its words."""
    objects = api.objects

    def config_map(name: str, data: dict[str, str] | None = None) -> dict[str, Any]:
        obj = {"metadata": {"name": name, "namespace": "default"}, "data": data or {"a": "b"}}
        made: dict[str, Any] = objects.create("configmaps", obj, manager="test")
        return made

    def pod(name: str, *containers: str) -> None:
        spec = {"containers": [{"name": c, "image": "x"} for c in containers]}
        objects.create(
            "pods", {"metadata": {"name": name, "namespace": "default"}, "spec": spec}, manager="t"
        )
        api.run_pod("default", name)

    match text:
        case "":
            return
        case "namespace dying has a finalizer and a deletionTimestamp":
            meta = {"name": "dying", "finalizers": ["lab.example.com/hold"]}
            objects.create("namespaces", {"metadata": meta}, manager="test")
            objects.delete("namespaces", None, "dying", manager="test")
        case "ConfigMap dup exists":
            config_map("dup")
        case "ConfigMap c exists" | "ConfigMap c exists with data a=b":
            config_map("c")
        case "ConfigMap c exists and was updated twice":
            made = config_map("c")
            for value in ("1", "2"):
                made = objects.update("configmaps", {**made, "data": {"a": value}}, manager="test")
        case "Deployment web exists":
            objects.create("deployments.apps", EXAMPLE, manager="test")
        case "Service s exists with another clusterIP":
            spec = {"ports": [{"port": 80}]}
            meta = {"name": "s", "namespace": "default"}
            objects.create("services", {"metadata": meta, "spec": spec}, manager="test")
        case "Pod two with containers a, b":
            pod("two", "a", "b")
        case "Pod p with container c":
            pod("p", "c")
        case _:
            raise AssertionError(f"no set-up for {text!r}")


def body_of(case: dict[str, Any]) -> bytes | None:
    """The bytes of a case's request."""
    request = case["request"]
    raw = request.get("body_raw")
    if raw is None:
        if "body" not in request:
            return None
        text = json.dumps(request["body"])
        text = text.replace('"GENERATE: 262145 x"', f'"{"x" * 262145}"')
        return text.replace('"GENERATE: 1048577 x"', f'"{"x" * 1048577}"').encode()
    if raw.startswith("GENERATE: bytes "):
        return raw.removeprefix("GENERATE: bytes ").encode().decode("unicode_escape").encode("latin-1")
    if raw.startswith("GENERATE: ConfigMap with"):
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}}
        return json.dumps(config | {"data": {"a": "x" * 3_200_000}}).encode()
    return str(raw).encode()


def judge(case: dict[str, Any], status: int, answer: Any) -> list[str]:
    """What is wrong with an answer: ``code``, ``reason``, ``message``, ``causes``."""
    expect, measured = case["expect"], case["measured"]
    wrong = []
    if status != measured["code"]:
        wrong.append(f"code {status}, not {measured['code']}")
    given = answer if isinstance(answer, dict) else {"message": str(answer)}
    failed = given.get("kind") == "Status"
    if (given.get("reason", "") if failed else "") != measured["reason"]:
        wrong.append(f"reason {given.get('reason')!r}, not {measured['reason']!r}")
    message = given.get("message") or ""
    wanted = measured.get("message") or ""
    if failed or wanted:
        if not all(part in message for part in expect["message_contains"]):
            wrong.append(f"message {message[:300]!r}")
        elif wanted and "<" not in wanted and message != wanted:
            wrong.append(f"exact message {message[:400]!r}, not {wanted[:400]!r}")
    causes = (
        [(c["reason"], c["field"]) for c in (given.get("details") or {}).get("causes", [])] if failed else []
    )
    if causes != [(c["reason"], c["field"]) for c in measured.get("causes", [])]:
        wrong.append(f"causes {causes}")
    return wrong


async def test_open_cases(new_api, yardsticks):
    """All open cases of the yardstick: code, reason, exact message and causes."""
    cases = yaml.load((yardsticks / "bad_manifests_open.yaml").read_text(), yaml.CSafeLoader)["cases"]
    wrong: dict[str, list[str]] = {}
    for case in cases:
        request = case["request"]
        async with new_api() as server:
            server.account()
            set_up(server, case.get("setup", ""))
            query = f"?{request['query']}" if request.get("query") else ""
            status, _, answer = await server.request(
                request["method"],
                request["path"] + query,
                data=body_of(case),
                headers=request.get("headers"),
                content_type=request.get("content_type"),
            )
        if found := judge(case, status, answer):
            wrong[case["id"]] = found
    right = len(cases) - len(wrong)
    print(f"bad manifests: {right} of {len(cases)} right")  # noqa: T201 - the count is the result
    for name, found in wrong.items():
        print(name, *found, sep="\n    ")  # noqa: T201 - the count is the result
    assert {name: found for name, found in wrong.items() if name not in KNOWN} == {}
