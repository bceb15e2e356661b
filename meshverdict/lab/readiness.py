"""When is a lab ready: every pod Ready, and the ingress serving. And when will it never be, and why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshverdict.cluster.store import Manifest, Store
from meshverdict.model.errors import LabError

POLL_S = 0.02
_REQUEST_TIMEOUT_S = 1.0
# Reasons that waiting does not mend: the manifest or the machine is wrong.
_HOPELESS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "CrashLoopBackOff",
        "RunContainerError",
    }
)
_TRAEFIK_404 = b"404 page not found\n"
_TRAEFIK: Final = "traefik.io/ingress-controller"
_CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"


@dataclass(frozen=True, slots=True)
class PodState:
    """Whether a pod is ready, and what keeps it from that."""

    name: str
    ready: bool
    waiting_for: str = ""
    hopeless: bool = False


def pod_state(pod: Manifest) -> PodState:
    """Read a pod's status; a pod that has done its work counts as ready."""
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    status: Mapping[str, Any] = pod.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    if status.get("phase") == "Succeeded" or conditions.get("Ready", {}).get("status") == "True":
        return PodState(name, ready=True)
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _HOPELESS:
            last = ((container.get("lastState") or {}).get("terminated") or {}).get("message", "")
            text = f"container {container['name']}: {waiting['reason']}: {waiting.get('message', '')} {last}".strip()
            return PodState(name, ready=False, waiting_for=text, hopeless=True)
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return PodState(
            name, ready=False, waiting_for=f"{scheduled.get('reason')}: {scheduled.get('message')}"
        )
    return PodState(name, ready=False, waiting_for=f"phase {status.get('phase', 'Pending')}, not Ready")


def incomplete(store: Store) -> list[str]:
    """What the workloads have not made yet: pods may still be missing."""
    lines = []
    for resource, wanted, seen in (
        ("deployments.apps", _replicas, "readyReplicas"),
        ("statefulsets.apps", _replicas, "readyReplicas"),
        ("daemonsets.apps", lambda o: (o.get("status") or {}).get("desiredNumberScheduled"), "numberReady"),
    ):
        for obj in store.list(resource):
            status = obj.get("status") or {}
            current = status.get("observedGeneration") == obj["metadata"].get("generation")
            if not current or status.get(seen, 0) != wanted(obj):
                lines.append(
                    f"{resource} {obj['metadata']['namespace']}/{obj['metadata']['name']}: {status.get(seen, 0)} ready"
                )
    return lines


def _replicas(obj: Manifest) -> int:
    return int(obj["spec"].get("replicas", 1))


async def wait_pods(store: Store, timeout: float) -> int:  # noqa: ASYNC109 - the message needs it
    """Wait until everything is Ready; returns the number of pods.

    Raises:
        LabError: A pod cannot become Ready, or not in time; the message names it and the reason.
    """
    deadline = time.monotonic() + timeout
    while True:
        states = [pod_state(p) for p in store.list("pods")]
        lost = [s for s in states if s.hopeless]
        if lost:
            raise LabError("; ".join(f"pod {s.name}: {s.waiting_for}" for s in lost[:3]))
        missing = [f"pod {s.name}: {s.waiting_for}" for s in states if not s.ready] + incomplete(store)
        if not missing:
            return len(states)
        if time.monotonic() > deadline:
            raise LabError(
                f"not Ready within {timeout:g} s: " + "; ".join(missing[:5]) + " (longer: --timeout)"
            )
        await asyncio.sleep(POLL_S)


def ingress_urls(store: Store) -> list[tuple[str, str]]:
    """A host and a path of each host that an Ingress for Traefik names; one for another controller is not waited for."""
    classes = {
        c["metadata"]["name"]
        for c in store.list("ingressclasses.networking.k8s.io")
        if (c.get("spec") or {}).get("controller") == _TRAEFIK
    }
    found: dict[str, str] = {}
    for ingress in store.list("ingresses.networking.k8s.io"):
        annotations = ingress["metadata"].get("annotations") or {}
        wanted = ingress["spec"].get("ingressClassName") or annotations.get(_CLASS_ANNOTATION)
        if wanted and wanted not in {"traefik", *classes}:
            continue
        for rule in ingress["spec"].get("rules") or ():
            paths = (rule.get("http") or {}).get("paths") or ()
            if rule.get("host") and paths:
                # Any name under a wildcard will do.
                found.setdefault(rule["host"].replace("*", "any", 1), paths[0].get("path") or "/")
    return sorted(found.items())


async def wait_ingress(target: tuple[str, int], urls: Iterable[tuple[str, str]], timeout: float) -> None:  # noqa: ASYNC109
    """Wait until the ingress has taken up a route for every host.

    Args:
        target: ClusterIP and port of the published Service.
        urls: Hosts that Ingress objects name, each with a path.
        timeout: Seconds.

    Raises:
        LabError: A host is not served in time.
    """
    deadline = time.monotonic() + timeout
    for host, path in urls:
        while not await _serves(target, host, path):
            if time.monotonic() > deadline:
                raise LabError(
                    f"the ingress does not serve {path} of host {host} within {timeout:g} s; see the logs of the"
                    " ingress pod"
                )
            await asyncio.sleep(POLL_S)


async def _serves(target: tuple[str, int], host: str, path: str) -> bool:
    """Whether something behind the ingress answers for *host*: not its own 404, not "no server available"."""
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*target)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                answer = await reader.read(65536)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    status = answer[9:12]
    return (
        bool(answer)
        and not (status == b"404" and answer.endswith(_TRAEFIK_404))
        and status not in (b"502", b"503", b"504")
    )
