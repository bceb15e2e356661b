"""Run a program in a pod's container and hear what it says: how an experiment reaches into what it troubles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import stream
from websocket import WebSocketException

from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshverdict.chaos.cluster import KubeAccess

# First words of Redis's error replies, after which redis-cli ends with 0 nevertheless (redis.io, RESP, simple errors).
_REDIS_ERRORS: Final = re.compile(
    r"(?:\(error\) )?(?:ERR|ASK|BUSY|BUSYGROUP|BUSYKEY|CLUSTERDOWN|CROSSSLOT|DENIED|EXECABORT|LOADING|MASTERDOWN|MISCONF"
    r"|MOVED|NOAUTH|NOPERM|NOPROTO|NOREPLICAS|NOSCRIPT|OOM|READONLY|TRYAGAIN|UNKILLABLE|WRONGPASS|WRONGTYPE) ."
)


@dataclass(frozen=True, slots=True)
class Place:
    """A container of a pod."""

    namespace: str
    pod: str
    container: str


def one_pod(access: KubeAccess, namespace: str, label_selector: str) -> str:
    """Name of a running pod that the selector finds.

    Raises:
        LabError: There is none.
    """
    for pod in access.json(access.core.list_namespaced_pod, namespace, label_selector=label_selector)[
        "items"
    ]:
        going = pod["metadata"].get("deletionTimestamp")
        if (pod.get("status") or {}).get("phase") == "Running" and not going:
            return str(pod["metadata"]["name"])
    raise LabError(f"namespace {namespace}: no running pod has the labels {label_selector!r}")


def execute(
    access: KubeAccess, namespace: str, pod: str, container: str, command: Sequence[str], *, timeout: float
) -> str:
    """What a program wrote to standard output.

    Args:
        access: The cluster.
        namespace: Of the pod.
        pod: Its name.
        container: Of the pod.
        command: Program and arguments.
        timeout: Seconds that it may take.

    Raises:
        LabError: It could not be started, failed, or did not end in time.
    """
    return execute_in_all(access, [Place(namespace, pod, container)], command, timeout=timeout)[0]


def execute_in_all(
    access: KubeAccess, places: Sequence[Place], command: Sequence[str], *, timeout: float
) -> list[str]:
    """What a program wrote to standard output in each of several containers, in all of which it runs at once.

    Raises:
        LabError: It could not be started, failed, or did not end in time somewhere; the others were waited for.
    """
    running: list[Any] = []
    said: list[str] = []
    failed: list[str] = []
    try:
        # As far as it gets: what was started before another could not be is closed.
        running.extend(_started(access, place, command) for place in places)
        for place, session in zip(places, running, strict=True):
            try:
                said.append(_outcome(session, _what(place, command), timeout))
            except LabError as error:
                failed.append(str(error))
    finally:
        for session in running:
            session.close()
            session.sock.shutdown()  # closing leaves the socket open where the server closed first
    if failed:
        raise LabError("; ".join(failed))
    return said


def refused_by_redis(said: str) -> bool:
    """Whether a reply, as redis-cli prints it, is an error; redis-cli ends with 0 also then. Pure."""
    return _REDIS_ERRORS.match(said.strip()) is not None


def _what(place: Place, command: Sequence[str]) -> str:
    # Of a script only the shell that it is for: its text would bury what went wrong.
    shown = " ".join(command).partition("\n")[0].strip()[:60]
    return f"{shown!r} in {place.namespace}/{place.pod}, container {place.container}"


def _started(access: KubeAccess, place: Place, command: Sequence[str]) -> Any:
    # `stream` changes the client that it is given, and others use ours at the same time.
    own = client.CoreV1Api(client.ApiClient(access.api.configuration))
    try:
        return stream(
            own.connect_get_namespaced_pod_exec,
            place.pod,
            place.namespace,
            container=place.container,
            command=list(command),
            stdout=True,
            stderr=True,
            stdin=False,
            tty=False,
            _preload_content=False,
        )
    except (ApiException, WebSocketException, OSError) as failed:
        raise LabError(f"{_what(place, command)}: cannot be run ({failed})") from failed


def _outcome(session: Any, what: str, timeout: float) -> str:
    try:
        session.run_forever(timeout=timeout)
        if session.is_open():
            raise LabError(f"{what}: no end after {timeout:g} s")
        out, error = session.read_stdout() or "", session.read_stderr() or ""
    except (WebSocketException, OSError) as failed:
        raise LabError(f"{what}: cannot be run ({failed})") from failed
    try:
        code = session.returncode
    except (TypeError, LookupError, ValueError) as lost:
        # The client reads the last message without looking whether there was one.
        raise LabError(f"{what}: the connection ended before the program did") from lost
    if code != 0:
        raise LabError(f"{what}: ended with {code}: {(error or out).strip()[:200]}")
    return str(out)
