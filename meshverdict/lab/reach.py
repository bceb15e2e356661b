"""Who reaches whom: predicted from the policies, tried for real, side by side, with the policy responsible.

Every pod of the embedded lab can run Python, so each one tries its own connections.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.lab.client import ApiClient
from meshverdict.lab.state import LabInfo
from meshverdict.model.errors import LabError
from meshverdict.model.proxies import loopback_spared
from meshverdict.network.policy import PolicyRules, compile_policies
from meshverdict.network.reachability import Prediction, predict
from meshverdict.network.values import PodNet, pod_net

if TYPE_CHECKING:
    from kubernetes.client import Configuration

PATIENCE_S: Final = 1.0
_PROBE_S: Final = 20.0  # also on a machine where a pod has to wait for its turn
_POLICIES: Final = "/apis/networking.k8s.io/v1/networkpolicies"
# Runs inside a pod: all connections at once, one word each.
_PROBE: Final = """
import errno, json, selectors, socket, sys, time
targets, patience = json.loads(sys.argv[1]), float(sys.argv[2])
answers, waiting = ["timeout"] * len(targets), selectors.DefaultSelector()
for number, (address, port) in enumerate(targets):
    sock = socket.socket()
    sock.setblocking(False)
    code = sock.connect_ex((address, port))
    if code in (0, errno.EINPROGRESS):
        waiting.register(sock, selectors.EVENT_WRITE, number)
    else:
        answers[number] = errno.errorcode.get(code, str(code))
until = time.monotonic() + patience
while waiting.get_map() and (left := until - time.monotonic()) > 0:
    for key, _ in waiting.select(left):
        code = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        answers[key.data] = "open" if code == 0 else errno.errorcode.get(code, str(code))
        waiting.unregister(key.fileobj)
        key.fileobj.close()
print(json.dumps(answers))
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of connection.

    Attributes:
        predicted: Whether the policies allow it.
        probed: ``open``, ``timeout``, ``ECONNREFUSED``...; None if the source cannot try it.
        policies: Keys of the policies that decide, with the direction; empty: no policy selects either end.
    """

    source: str
    destination: str
    port: int
    predicted: bool
    probed: str | None
    policies: tuple[str, ...]

    @property
    def agrees(self) -> bool | None:
        """Whether packets do what the policies say; None when it was not tried."""
        return None if self.probed is None else (self.probed == "open") == self.predicted

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "from": self.source,
            "to": self.destination,
            "port": self.port,
            "protocol": "TCP",
            "predicted": "allowed" if self.predicted else "denied",
            "probed": self.probed,
            "agrees": self.agrees,
            "policies": list(self.policies),
        }


def reach(info: LabInfo, namespaces: Sequence[str] = ()) -> list[Row]:
    """Predict and try every pod to every declared TCP port.

    Args:
        info: The running lab.
        namespaces: Only pods of these are sources and destinations; empty means all.

    Raises:
        LabError: A pod could not be asked, or there is no connection to try.
    """
    client = ApiClient(info.kubeconfig)
    manifests = {_key(pod): pod for pod in client.get("/api/v1/pods")["items"]}
    pods = [pod for manifest in manifests.values() if (pod := pod_net(manifest))]
    rules = _rules(client, pods) if info.settings.network_policy else PolicyRules()
    shown = [pod for pod in pods if not namespaces or pod.namespace in namespaces]
    targets = [(pod, port) for pod in shown for port in _tcp_ports(manifests[pod.key])]
    sources = [pod for pod in shown if not _is_builtin(manifests[pod.key])]
    settings = _settings(info)
    with loopback_spared(), ThreadPoolExecutor(max_workers=8) as pool:
        words = pool.map(lambda pod: _try(settings, manifests[pod.key], targets), sources)
    rows = []
    for source, answers in zip(sources, words, strict=True):
        for (destination, port), word in zip(targets, answers, strict=True):
            if source.key != destination.key:
                rows.append(_row(predict(rules, source, destination, "TCP", port), word))
    if not rows:
        places = f"namespace {', '.join(namespaces)}" if namespaces else "the lab"
        raise LabError(f"{places} has no two pods of which one declares a TCP port: there is nothing to try")
    return rows


def render(rows: Iterable[Row]) -> str:
    """The table as text."""
    table = [("FROM", "TO", "PORT", "PREDICTED", "PROBED", "BY")]
    for row in rows:
        mark = {True: "", False: "  <- differs", None: ""}[row.agrees]
        predicted = "allowed" if row.predicted else "denied"
        policies = ", ".join(row.policies) or "-"
        table.append(
            (
                row.source,
                row.destination,
                str(row.port),
                predicted,
                row.probed or "not tried",
                policies + mark,
            )
        )
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    return "\n".join(
        "   ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in table
    )


def _rules(client: ApiClient, pods: Sequence[PodNet]) -> PolicyRules:
    namespaces = {
        n["metadata"]["name"]: n["metadata"].get("labels") or {}
        for n in client.get("/api/v1/namespaces")["items"]
    }
    return compile_policies(client.get(_POLICIES)["items"], pods, namespaces)


def _row(prediction: Prediction, word: str | None) -> Row:
    rulings = prediction.denied_by or (prediction.egress, prediction.ingress)
    policies = tuple(f"{policy} ({r.direction})" for r in rulings if r.isolated for policy in r.policies)
    return Row(prediction.source, prediction.destination, prediction.port, prediction.allowed, word, policies)


def _settings(info: LabInfo) -> Configuration:
    """How the official client reaches the lab.

    Read once, by one thread: the client writes the authority to a file whose name its other threads know before
    anything is in it.
    """
    from kubernetes import client, config  # noqa: PLC0415 - slow to import, and only this command needs it

    settings = client.Configuration()
    config.load_kube_config(info.kubeconfig, client_configuration=settings)  # type: ignore[no-untyped-call]
    settings.proxy = None  # the API is on this machine's loopback
    return settings


def _try(
    settings: Configuration, pod: Mapping[str, Any], targets: Sequence[tuple[PodNet, int]]
) -> list[str | None]:
    """What a pod sees of all targets."""
    from kubernetes import client  # noqa: PLC0415 - slow to import, and only this command needs it
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
    from kubernetes.stream import stream  # noqa: PLC0415
    from websocket import WebSocketException  # noqa: PLC0415

    api = client.CoreV1Api(
        client.ApiClient(settings)
    )  # its own: `stream` changes the client that it is given
    addresses = json.dumps([[target.ip, port] for target, port in targets])
    meta = pod["metadata"]
    try:
        session = stream(
            api.connect_get_namespaced_pod_exec,
            meta["name"],
            meta["namespace"],
            container=pod["spec"]["containers"][0]["name"],
            command=["python", "-c", _PROBE, addresses, str(PATIENCE_S)],
            stderr=True,
            stdin=False,
            stdout=True,
            tty=False,
            _preload_content=False,
        )
        try:
            session.run_forever(timeout=_PROBE_S)
            ended = not session.is_open()
            said, complaint = session.read_stdout(), session.read_stderr()
        finally:
            session.close()
            session.sock.shutdown()  # closing leaves the socket open where the server closed first
        if not ended:
            raise LabError(f"pod {_key(pod)} did not try its connections within {_PROBE_S:g} s")
        answers: list[str | None] = json.loads(said)
    except (ApiException, WebSocketException, OSError) as error:
        raise LabError(f"pod {_key(pod)} could not try its connections: {error}") from error
    except ValueError as error:
        why = " ".join((complaint or said or "it said nothing").split())[-200:]
        raise LabError(f"pod {_key(pod)} could not try its connections: {why}") from error
    return answers


def _tcp_ports(pod: Mapping[str, Any]) -> list[int]:
    declared = (p for c in pod["spec"]["containers"] for p in c.get("ports") or ())
    return sorted({p["containerPort"] for p in declared if p.get("protocol", "TCP") == "TCP"})


def _is_builtin(pod: Mapping[str, Any]) -> bool:
    """Parts of the supervisor have an address and no process to run anything in."""
    own = ("meshverdict/dns", "meshverdict/flows", "meshverdict/delay-line", "meshverdict/traffic")
    return any(c["image"] in own for c in pod["spec"]["containers"])


def _key(pod: Mapping[str, Any]) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
