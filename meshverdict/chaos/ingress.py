"""The lab's ingress from outside a real cluster: forwarded by the Kubernetes API, as `kubectl port-forward` does.

Only a handful of requests take this way, those with which a probe asks whether a case answers. The load runs in
the cluster and never comes through here.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward
from urllib3.exceptions import HTTPError
from websocket import WebSocketException

from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from meshverdict.chaos.cluster import KubeAccess

log = logging.getLogger("chaostoolkit")
_SECONDS: Final = 30.0
_CHUNK: Final = 65536


def service_of(host: str) -> tuple[str, str, int]:
    """Service, namespace and port of a URL as pods write it.

    >>> service_of("http://traefik-ingress-service.a-ingress-traefik.svc.cluster.local")
    ('traefik-ingress-service', 'a-ingress-traefik', 80)

    Raises:
        UsageError: It names no Service.
    """
    try:
        address = urlsplit(host)
        number = address.port or {"http": 80, "https": 443}.get(address.scheme)
    except ValueError:  # a port that is no number, a bracket that is not closed
        address, number = urlsplit(""), None
    name, _, rest = (address.hostname or "").partition(".")
    namespace = rest.partition(".")[0]
    if not name or not namespace or namespace.isdigit() or number is None:
        raise UsageError(
            f"the load's target {host!r} is no URL of a Service (http://name.namespace:port), so where the ingress is"
            " from here is not known: set MESHVERDICT_INGRESS=http://ADDRESS:PORT"
        )
    return name, namespace, number


def find_pod(access: KubeAccess, name: str, namespace: str, port: int) -> tuple[str, int]:
    """A Ready pod behind a Service, and the port there.

    Raises:
        LabError: There is no such Service, or no pod of it is Ready.
    """
    try:
        spec = access.json(access.core.read_namespaced_service, name, namespace)["spec"]
    except ApiException as error:
        raise LabError(
            f"service {namespace}/{name}, the ingress, cannot be read ({error.status} {error.reason}); set"
            " MESHVERDICT_INGRESS=http://ADDRESS:PORT if the ingress is another one"
        ) from error
    ports = {p["port"]: p.get("targetPort", p["port"]) for p in spec.get("ports") or ()}
    if port not in ports:
        known = ", ".join(map(str, ports)) or "none"
        raise LabError(f"service {namespace}/{name}, the ingress, has no port {port} (it has: {known})")
    chosen = ",".join(f"{key}={value}" for key, value in (spec.get("selector") or {}).items())
    pods = access.json(access.core.list_namespaced_pod, namespace, label_selector=chosen)["items"]
    ready = next((pod for pod in pods if _ready(pod)), None)
    if ready is None or not chosen:
        raise LabError(f"service {namespace}/{name}, the ingress, has no Ready pod")
    return ready["metadata"]["name"], _number(ports[port], ready)


def _ready(pod: Mapping[str, Any]) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False  # it still says so while it ends
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _number(target: int | str, pod: Mapping[str, Any]) -> int:
    if isinstance(target, int):
        return target
    ports = (p for c in pod["spec"]["containers"] for p in c.get("ports") or ())
    found = next((int(p["containerPort"]) for p in ports if p.get("name") == target), None)
    if found is None:
        raise LabError(f"pod {pod['metadata']['name']}, behind the ingress, has no port named {target!r}")
    return found


@contextmanager
def forwarded(access: KubeAccess, host: str) -> Iterator[str]:
    """A base URL on this machine that leads to the Service of *host*, as long as the block lasts.

    Raises:
        LabError: There is no such Service, or no pod of it is Ready.
        UsageError: The host is no Service.
    """
    service = service_of(host)
    find_pod(access, *service)  # now, rather than with the first request
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()
        thread = threading.Thread(
            target=_accept, args=(access, service, listening, stop), name="ingress", daemon=True
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            thread.join(timeout=2)


def _accept(
    access: KubeAccess, service: tuple[str, str, int], listening: socket.socket, stop: threading.Event
) -> None:
    while not stop.is_set():
        readable, _, _ = select.select([listening], [], [], 0.2)
        if readable:
            local, _ = listening.accept()
            threading.Thread(
                target=_serve, args=(access, service, local), name="ingress request", daemon=True
            ).start()


def _serve(access: KubeAccess, service: tuple[str, str, int], local: socket.socket) -> None:
    """One connection; the pod is looked for anew, since an experiment may end the one before."""
    with local:
        try:
            pod, port = find_pod(access, *service)
            # Its own client: while it runs, the library takes over the one that it is given.
            core = client.CoreV1Api(client.ApiClient(access.api.configuration))
            forward = portforward(
                core.connect_get_namespaced_pod_portforward, pod, service[1], ports=str(port)
            )
            far = forward.socket(port)
            try:
                _pump(local, far)
            finally:
                far.close()
        except (ApiException, HTTPError, OSError, WebSocketException, LabError) as error:
            log.debug("a request to the ingress was not forwarded: %r", error)


def _pump(local: socket.socket, far: Any) -> None:
    """Carry bytes both ways until either side ends, or nothing has come for a long time."""
    while True:
        readable, _, _ = select.select([local, far], [], [], _SECONDS)
        if not readable:
            return
        for one, other in ((local, far), (far, local)):
            if one in readable:
                data = one.recv(_CHUNK)
                if not data:
                    with suppress(OSError):
                        other.shutdown(socket.SHUT_WR)
                    return
                other.sendall(data)
