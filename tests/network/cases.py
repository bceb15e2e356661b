"""The third-party NetworkPolicy cases as steps: objects now in the cluster, and the table that must hold."""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from meshverdict.network.values import PodNet

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).resolve().parents[3] / "shared" / "yardsticks" / "netpol_cases_open.yaml"
STANDARD = [
    "80/TCP name=serve-80-tcp",
    "81/TCP name=serve-81-tcp",
    "80/UDP name=serve-80-udp",
    "81/UDP name=serve-81-udp",
]
NODES = ("node-a", "node-b")
SLOTS = [(f"10.244.{1 + i % 2}.{1 + i // 2}", NODES[i % 2]) for i in range(12)]


@dataclass(frozen=True)
class Table:
    """One port's expected table: (source, destination) -> allowed."""

    protocol: str
    port: int
    expected: dict[tuple[str, str], bool]


@dataclass(frozen=True)
class State:
    """The cluster at a step, and what must be seen then."""

    label: str
    pods: dict[str, PodNet]
    namespaces: dict[str, dict[str, str]]
    policies: list[dict[str, Any]]
    tables: list[Table]


@functools.cache
def load_once() -> list[dict[str, Any]]:
    return load()


def load() -> list[dict[str, Any]]:
    if not FILE.exists():
        pytest.skip(f"the yardsticks are not here: {FILE.name}")
    return yaml.load(FILE.read_text(), Loader=yaml.CSafeLoader)["cases"]


def steps(case: dict[str, Any]) -> Iterator[State]:  # noqa: PLR0912 - one branch for each verb of the format
    """Play a case; addresses come from fixed slots, so that namespaces with sockets can be made once."""
    listen = STANDARD if case["listen"] == "4std" else case["listen"]
    named = {e.split("name=")[1]: (e.split("/")[1].split()[0], int(e.split("/")[0])) for e in listen}
    free = list(SLOTS)
    pods: dict[str, PodNet] = {}
    namespaces = {name: dict(labels or {}) for name, labels in case["namespaces"].items()}
    policies: dict[tuple[str, str], dict[str, Any]] = {}

    def create(namespace: str, name: str, labels: dict[str, str] | None) -> None:
        ip, node = free.pop(0)
        pods[f"{namespace}/{name}"] = PodNet(namespace, name, ip, node, dict(labels or {}), named)

    def remove(key: str) -> None:
        gone = pods.pop(key)
        free.append((gone.ip, gone.node))

    for pod in case["pods"]:
        create(pod["namespace"], pod["name"], pod.get("labels"))
    for number, step in enumerate(case["steps"]):
        for action in step["actions"]:
            ((verb, what),) = action.items()
            if verb == "apply":
                policy = _with_addresses(what, pods)
                policies[what["metadata"]["namespace"], what["metadata"]["name"]] = policy
            elif verb == "delete":
                del policies[what["namespace"], what["name"]]
            elif verb == "label_namespace":
                namespaces[what["name"]] = dict(what["labels"])
            elif verb == "label_pod":
                key = f"{what['namespace']}/{what['name']}"
                pods[key] = replace(pods[key], labels=dict(what["labels"]))
            elif verb == "create_namespace":
                namespaces[what["name"]] = dict(what["labels"])
            elif verb == "create_pod":
                create(what["namespace"], what["name"], what["labels"])
            elif verb == "delete_pod":
                remove(f"{what['namespace']}/{what['name']}")
            elif verb == "delete_namespace":
                del namespaces[what["name"]]
                for key in [key for key, pod in pods.items() if pod.namespace == what["name"]]:
                    remove(key)
            else:
                raise AssertionError(f"{case['id']}: unknown action {verb}")
        label = f"{case['id']}[{number}] {case['title']} ({case['source']})"
        tables = list(_tables(step["expect"]))
        yield State(label, dict(pods), dict(namespaces), list(policies.values()), tables)


def _tables(expect: list[dict[str, Any]]) -> Iterator[Table]:
    for block in expect:
        for probe in block["probes"]:
            port, protocol = probe.split("/")
            yield Table(
                protocol,
                int(port),
                {
                    (source, destination): mark == "."
                    for source, row in block["rows"].items()
                    for destination, mark in zip(block["order"], row, strict=True)
                    if mark != "#"
                },
            )


def _with_addresses(value: Any, pods: dict[str, PodNet]) -> Any:
    if isinstance(value, dict):
        return {key: _with_addresses(inner, pods) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_addresses(inner, pods) for inner in value]
    if not isinstance(value, str):
        return value
    value = re.sub(r"\$\{ip:([^}]+)\}", lambda m: pods[m[1]].ip, value)
    return re.sub(
        r"\$\{net4:([^}]+)\}",
        lambda m: str(ipaddress.ip_network(pods[m[1]].ip + "/4", strict=False)),
        value,
    )
