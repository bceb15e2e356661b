"""Whether this cluster enforces a NetworkPolicy, found by trying: many accept one and do nothing.

A server, a client that connects to it a hundred times a second, and a policy that forbids it: if the client still
connects, policies are decoration here. Everything is made in one namespace of the lab and is taken away again,
however the trial ends.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.chaos import prober
from meshverdict.chaos.cluster import short
from meshverdict.chaos.connections import Change, Connection, Seen
from meshverdict.chaos.manifests import NOT_FOUND, until_account
from meshverdict.load.follow import follow, pod_log
from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from meshverdict.chaos.cluster import KubeAccess

NAME: Final = "meshverdict-canary"
SERVER: Final = f"{NAME}-server"
CLIENT: Final = f"{NAME}-client"
PORT: Final = 8099
READY_S: Final = 120.0  # an image may have to be pulled
PATIENCE_S: Final = 10.0
# A second is told of when it has passed, and a log may be late.
_LATE_S: Final = 5.0
_EVERY_MS: Final = 10.0
_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Canary:
    """What became of the canary.

    Attributes:
        enforced: None when it could not be tried.
        to_denied_ms: From asking for the policy to the first connection that it denied.
        to_allowed_ms: From asking for its removal to the first connection that opened again.
        why: What was missing, or what was seen.
    """

    enforced: bool | None
    to_denied_ms: float | None = None
    to_allowed_ms: float | None = None
    why: str = ""

    @property
    def words(self) -> str:
        """For a person."""
        if self.enforced is None:
            return f"could not be tried: {self.why}"
        if not self.enforced:
            return self.why
        back = "" if self.to_allowed_ms is None else f", gone {self.to_allowed_ms:.0f} ms after its removal"
        return f"enforced {self.to_denied_ms:.0f} ms after it was asked for{back}"

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def try_policy(access: KubeAccess, namespace: str, *, ready_s: float = READY_S) -> Canary:
    """Try a policy in a namespace of the lab; nothing is left of it.

    Args:
        access: The cluster.
        namespace: One that is labelled as a lab.
        ready_s: Seconds that the two pods may take to run.

    Raises:
        LabError: What the trial made cannot be removed.
    """
    stop = threading.Event()
    try:
        # Whoever may not take it away shall not make it either.
        remove(access, namespace)
    except LabError as error:
        return Canary(None, why=str(error))
    try:
        return _tried(access, namespace, stop, ready_s)
    except LabError as error:
        return Canary(None, why=str(error))
    except (ApiException, HTTPError) as error:
        return Canary(None, why=short(error))
    finally:
        stop.set()
        remove(access, namespace)


def _tried(access: KubeAccess, namespace: str, stop: threading.Event, ready_s: float) -> Canary:
    deadline = time.monotonic() + ready_s
    _create(access, namespace, _pod(SERVER, namespace, ["python3", "-m", "http.server", str(PORT)]))
    address = _await_address(access, namespace, SERVER, deadline)
    connection = Connection(namespace, f"{address}:{PORT}", every_ms=_EVERY_MS)
    seen = Seen(connection)
    body = prober.pod(namespace, [connection])
    _create(access, namespace, _pod(CLIENT, namespace, body["spec"]["containers"][0]["command"]))
    _await_address(access, namespace, CLIENT, deadline)
    thread = threading.Thread(target=_follow, args=(access, namespace, seen, stop), name=CLIENT, daemon=True)
    thread.start()
    if not _wait(lambda: seen.state() == "open", max(1.0, deadline - time.monotonic())):
        return Canary(None, why=f"{CLIENT} cannot connect to {SERVER}, although nothing forbids it")
    asked = time.time()
    access.json(access.networking.create_namespaced_network_policy, namespace, policy(namespace))
    over = asked + PATIENCE_S
    # Silence proves nothing: only attempts that were still made when patience ended do.
    _wait(
        lambda: lasting(seen, asked) is not None or seen.latest >= over,
        max(0.0, over + _LATE_S - time.time()),
    )
    unhurt = undenied(seen, asked)
    if unhurt is not None:
        return unhurt
    denied = lasting(seen, asked)
    removed = time.time()
    _delete_policy(access, namespace)
    _wait(lambda: seen.first("open", removed) is not None, PATIENCE_S)
    allowed = seen.first("open", removed)
    return Canary(
        enforced=True,
        to_denied_ms=None if denied is None else round(1000 * (denied.t - asked), 1),
        to_allowed_ms=None if allowed is None else round(1000 * (allowed.t - removed), 1),
    )


def lasting(seen: Seen, asked: float) -> Change | None:
    """The first attempt of a denial that lasts, since the policy was asked for; None without one. Pure.

    One attempt of a hundred a second fails on any busy machine: only a second of attempts that all failed is a policy.
    """
    last = seen.changes[-1] if seen.changes else None
    denied = last is not None and last.state == "closed" and last.t >= asked and seen.latest >= last.t + 1
    return last if denied else None


def undenied(seen: Seen, asked: float) -> Canary | None:
    """What it means that connections were not denied for good since the policy was asked for; None if one was. Pure.

    Args:
        seen: The client's connections.
        asked: Unix seconds.
    """
    if lasting(seen, asked) is not None:
        return None
    if seen.latest < asked + PATIENCE_S:
        last = (
            "never told of a whole second"
            if not seen.latest
            else f"ends {seen.latest - asked:+.0f} s from the policy"
        )
        return Canary(
            None, why=f"the log of {CLIENT} is silent: it {last}, so whether it still connects is not known"
        )
    why = f"accepted and not enforced: {PATIENCE_S:g} s later {CLIENT} still connects to what the policy isolates"
    return Canary(enforced=False, why=why)


def policy(namespace: str) -> dict[str, Any]:
    """Nobody may connect to the canary's server."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NAME, "namespace": namespace, "labels": {prober.LABEL: "canary"}},
        "spec": {"podSelector": {"matchLabels": {"app": SERVER}}, "policyTypes": ["Ingress"]},
    }


def _pod(name: str, namespace: str, command: list[str]) -> dict[str, Any]:
    body = prober.pod(namespace, [])
    body["metadata"]["name"] = name
    body["metadata"]["labels"] |= {prober.LABEL: "canary", "app": name}
    body["spec"]["containers"][0] |= {"command": command, "name": "canary"}
    return body


def _create(access: KubeAccess, namespace: str, body: Mapping[str, Any]) -> None:
    until_account(lambda: access.json(access.core.create_namespaced_pod, namespace, body))


def _await_address(access: KubeAccess, namespace: str, name: str, deadline: float) -> str:
    while True:
        found = access.json(access.core.read_namespaced_pod, name, namespace).get("status") or {}
        if found.get("phase") == "Running" and found.get("podIP"):
            return str(found["podIP"])
        prober.refuse_trouble(f"{namespace}/{name}", found, late=time.monotonic() > deadline)
        time.sleep(0.1)


def _follow(access: KubeAccess, namespace: str, seen: Seen, stop: threading.Event) -> None:
    def feed(text: bytes) -> int | None:
        try:
            line = json.loads(text)
            seen.take(line)
            return int(line.get("t") or line.get("second"))
        except (ValueError, KeyError, TypeError):
            return None

    follow(pod_log(access.core, CLIENT, namespace, "canary"), feed, lambda: False, stop)


def _wait(true: Any, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _delete_policy(access: KubeAccess, namespace: str) -> bool:
    try:
        access.json(access.networking.delete_namespaced_network_policy, NAME, namespace)
    except ApiException as error:
        if error.status != NOT_FOUND:
            raise
        return False
    return True


def remove(access: KubeAccess, namespace: str) -> bool:
    """Take away everything of a canary, also of one that was killed; whether there was any. All of it is tried.

    Raises:
        LabError: Something may not be removed, or does not go away.
    """
    found, failed = False, []
    for what, take in (
        (f"networkpolicy {namespace}/{NAME}", partial(_delete_policy, access, namespace)),
        (f"pod {namespace}/{CLIENT}", partial(prober.remove, access, [namespace], name=CLIENT)),
        (f"pod {namespace}/{SERVER}", partial(prober.remove, access, [namespace], name=SERVER)),
    ):
        try:
            found = bool(take()) or found
        except LabError as error:
            failed.append(str(error))
        except (ApiException, HTTPError) as error:
            failed.append(f"{what} cannot be removed ({short(error)})")
    if failed:
        raise LabError("; ".join(failed))
    return found
