"""Find how long a round trip between two zones takes: the one figure on which all that affinity is worth depends.

One pod a zone, by the label that every cloud gives its nodes. Each asks every other one over an open connection, and
itself over its own network, whose time is that of the programs alone: it is taken off.
"""

from __future__ import annotations

import inspect
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.chaos import zone_program
from meshverdict.chaos.cluster import short
from meshverdict.chaos.execute import execute
from meshverdict.chaos.manifests import CONFLICT, NOT_FOUND, until_account
from meshverdict.chaos.prober import IMAGE, refuse_trouble
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from meshverdict.chaos.cluster import KubeAccess

NAMESPACE: Final = "load"
ZONE: Final = "topology.kubernetes.io/zone"
_LABELS: Final = {"meshverdict.io/component": "zone-rtt", "sidecar.istio.io/inject": "false"}
_START_S: Final = 60.0
_ASK_S: Final = 60.0
_QUESTIONS: Final = 300


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Round trips from one zone to another, milliseconds, the programs' own time taken off.

    Attributes:
        source: Zone of the asking pod.
        destination: Zone of the answering one.
        p50_ms: The median.
        p99_ms: 99 of 100 were as short.
        raw_p50_ms: The median as it was measured.
    """

    source: str
    destination: str
    p50_ms: float
    p99_ms: float
    raw_p50_ms: float

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def zones_of(access: KubeAccess) -> list[str]:
    """The zones of the cluster's nodes, sorted."""
    nodes = access.json(access.core.list_node)["items"]
    labels = [(node["metadata"].get("labels") or {}).get(ZONE) for node in nodes]
    return sorted({zone for zone in labels if zone})


def measure(access: KubeAccess, questions: int = _QUESTIONS) -> list[RoundTrip]:
    """Round trips between all pairs of zones, and within each.

    Args:
        access: The cluster.
        questions: How many each pod asks of each other one.

    Raises:
        UsageError: The cluster has fewer than two zones, or no namespace of the lab to be in.
        LabError: A pod does not run, or cannot reach another.
    """
    zones = zones_of(access)
    if len(zones) < 2:
        raise UsageError(
            f"the cluster's nodes are in {len(zones)} zones (label {ZONE}): a round trip needs two; the embedded lab"
            " has them with `meshverdict up --zones 2 --zone-delay 1`"
        )
    if NAMESPACE not in access.lab_namespaces():
        raise UsageError(
            f"namespace {NAMESPACE} is not labelled meshverdict.io/lab=true, or not there; apply manifests/04-load"
        )
    with _pods(access, zones) as addresses:
        return [found for zone in zones for found in _ask(access, zone, addresses, questions)]


def render(found: list[RoundTrip]) -> str:
    """As a table for people."""
    lines = [f"{'FROM':16} {'TO':16} {'P50 MS':>9} {'P99 MS':>9}   as measured"]
    lines += [
        f"{one.source:16} {one.destination:16} {one.p50_ms:9.3f} {one.p99_ms:9.3f}   {one.raw_p50_ms:.3f}"
        for one in found
    ]
    return "\n".join(lines)


def _name(zone: str) -> str:
    return f"zone-rtt-{zone}"


def _pod(zone: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _name(zone), "namespace": NAMESPACE, "labels": dict(_LABELS)},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "activeDeadlineSeconds": 300,
            "nodeSelector": {ZONE: zone},
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000},
            "containers": [
                {
                    "name": "rtt",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-u", "-c", inspect.getsource(zone_program), "answer"],
                    "readinessProbe": {"tcpSocket": {"port": zone_program.PORT}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "20m", "memory": "24Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


@contextmanager
def _pods(access: KubeAccess, zones: list[str]) -> Iterator[dict[str, str]]:
    """One Ready pod a zone, gone after the block; their addresses by zone."""
    made: list[str] = []
    try:
        for zone in zones:
            made.append(zone)  # before it is asked for: an answer that is lost may have made it
            create = partial(access.json, access.core.create_namespaced_pod, NAMESPACE, _pod(zone))
            try:
                until_account(create)
            except ApiException as error:
                if error.status != CONFLICT:
                    raise
                made.remove(zone)
                raise LabError(
                    f"pod {NAMESPACE}/{_name(zone)} is there already: is somebody else measuring? If not:"
                    f" kubectl delete pod -n {NAMESPACE} {_name(zone)}"
                ) from error
        deadline = time.monotonic() + _START_S
        yield {zone: _address(access, zone, deadline) for zone in zones}
    finally:
        _remove(access, made)


def _remove(access: KubeAccess, zones: Iterable[str]) -> None:
    """Delete the pods of these zones; all are tried before the first failure is told."""
    failed = []
    for zone in zones:
        try:
            access.core.delete_namespaced_pod(_name(zone), NAMESPACE, grace_period_seconds=0)
        except (ApiException, HTTPError) as error:
            if getattr(error, "status", None) != NOT_FOUND:
                failed.append(f"{NAMESPACE}/{_name(zone)} ({short(error)})")
    if failed:
        raise LabError(f"pods that are not removed: {', '.join(failed)}; delete them with kubectl")


def _address(access: KubeAccess, zone: str, deadline: float) -> str:
    while True:
        found = access.json(access.core.read_namespaced_pod, _name(zone), NAMESPACE)
        status: Mapping[str, Any] = found.get("status") or {}
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
        if ready and status.get("podIP"):
            return str(status["podIP"])
        refuse_trouble(f"{NAMESPACE}/{_name(zone)}", status, late=time.monotonic() > deadline)
        time.sleep(0.1)


def _ask(access: KubeAccess, zone: str, addresses: Mapping[str, str], questions: int) -> list[RoundTrip]:
    command = ["python3", "-c", inspect.getsource(zone_program), "ask", str(questions), *addresses.values()]
    try:
        said = execute(access, NAMESPACE, _name(zone), "rtt", command, timeout=_ASK_S)
        told: list[list[float]] = json.loads(said)
    except (LabError, ValueError) as error:
        raise LabError(f"zone {zone}: its pod could not ask the others: {error}") from error
    if len(told) != len(addresses):
        raise LabError(
            f"zone {zone}: its pod heard from {len(told)} of {len(addresses)}: {said.strip()[-300:]}"
        )
    own = told[list(addresses).index(zone)][0]
    return [
        RoundTrip(zone, other, round(max(0.0, p50 - own), 4), round(max(0.0, p99 - own), 4), round(p50, 4))
        for other, (p50, p99) in zip(addresses, told, strict=True)
    ]
