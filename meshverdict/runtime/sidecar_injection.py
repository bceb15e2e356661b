"""Which pods get a sidecar, and what is added to them: Istio's injector, as a function of the pod and its namespace. Pure.

The sidecar is a restartable init container, as in today's Istio: it is ready before the application starts, ends after
it, and the pod is Ready only while it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshverdict.mesh.bootstrap import HEALTH_PORT, STATS_PORT, command
from meshverdict.mesh.capture import ISTIO_UID, Capture
from meshverdict.mesh.inputs import TLS_MODE_LABEL
from meshverdict.model.digits import is_port, network
from meshverdict.model.errors import UnsupportedError

Manifest = dict[str, Any]

CONTAINER: Final = "istio-proxy"
IMAGE: Final = "meshverdict/proxy"
VOLUME: Final = "istio-envoy"
FOLDER: Final = "/etc/istio/proxy"
BOOTSTRAP: Final = f"{FOLDER}/bootstrap.json"
NAMESPACE_LABEL: Final = "istio-injection"
POD_KEY: Final = "sidecar.istio.io/inject"
LAB_LABEL: Final = "meshverdict.io/lab"
_STATUS: Final = "sidecar.istio.io/status"
_TRAFFIC: Final = "traffic.sidecar.istio.io/"
_EXCLUDED: Final = ("excludeInboundPorts", "excludeOutboundPorts", "excludeOutboundIPRanges")
_NEVER: Final = frozenset(
    {"kube-system", "kube-public", "kube-node-lease", "istio-system", "meshverdict-system"}
)


def wants_sidecar(pod: Manifest, namespace: Manifest, *, everywhere: bool) -> bool:
    """Whether a new pod gets a sidecar.

    Args:
        pod: The pod; its label or annotation ``sidecar.istio.io/inject`` has the last word in a namespace that injects.
        namespace: Its namespace, whose label ``istio-injection`` is ``enabled``, ``disabled`` or not there.
        everywhere: Inject into the lab's own namespaces as if they were labelled ``enabled``.
    """
    meta, spec = pod["metadata"], pod.get("spec") or {}
    if spec.get("hostNetwork") or namespace["metadata"]["name"] in _NEVER or has_sidecar(pod):
        return False
    labels = namespace["metadata"].get("labels") or {}
    injects = labels.get(NAMESPACE_LABEL)
    if injects is None and everywhere and labels.get(LAB_LABEL) == "true":
        injects = "enabled"
    asked = (meta.get("labels") or {}).get(POD_KEY)
    if injects == "enabled":
        asked = asked or (meta.get("annotations") or {}).get(POD_KEY) or "true"
    return injects != "disabled" and asked == "true"


def has_sidecar(pod: Mapping[str, Any]) -> bool:
    """Whether the injector has been at this pod."""
    inits = (pod.get("spec") or {}).get("initContainers") or ()
    return any(c.get("name") == CONTAINER for c in inits)


def injected(pod: Manifest) -> Manifest:
    """The pod with its sidecar, as a new object.

    Raises:
        UnsupportedError: An annotation asks for a capture of traffic that the lab does not do.
    """
    capture(pod)  # refuses what it does not understand, before the pod is stored
    meta, spec = pod["metadata"], pod["spec"]
    name = (meta.get("labels") or {}).get("app") or meta.get("generateName", meta.get("name", "")).rstrip("-")
    labels = (
        {"service.istio.io/canonical-name": name} | (meta.get("labels") or {}) | {TLS_MODE_LABEL: "istio"}
    )
    status = (
        f'{{"initContainers":["{CONTAINER}"],"containers":null,"volumes":["{VOLUME}"],"revision":"default"}}'
    )
    return {
        **pod,
        "metadata": {
            **meta,
            "labels": labels,
            "annotations": {**(meta.get("annotations") or {}), _STATUS: status},
        },
        "spec": {
            **spec,
            "initContainers": [_container(), *(spec.get("initContainers") or ())],
            "volumes": [*(spec.get("volumes") or ()), {"name": VOLUME, "emptyDir": {}}],
        },
    }


def _container() -> Manifest:
    healthy = {"httpGet": {"path": "/healthz/ready", "port": HEALTH_PORT}, "timeoutSeconds": 3}
    return {
        "name": CONTAINER,
        "image": IMAGE,
        "restartPolicy": "Always",
        "args": command("envoy", BOOTSTRAP)[1:],
        "ports": [{"name": "http-envoy-prom", "containerPort": STATS_PORT, "protocol": "TCP"}],
        "securityContext": {
            "runAsUser": ISTIO_UID,
            "runAsGroup": ISTIO_UID,
            "allowPrivilegeEscalation": False,
        },
        "startupProbe": {**healthy, "periodSeconds": 1, "failureThreshold": 600},
        "readinessProbe": {**healthy, "periodSeconds": 15, "failureThreshold": 4},
        "volumeMounts": [{"name": VOLUME, "mountPath": FOLDER, "readOnly": True}],
    }


def capture(pod: Manifest) -> Capture:
    """What of the pod's traffic passes through its sidecar, by its annotations.

    Raises:
        UnsupportedError: An annotation that the lab does not follow, or a port or a range that is none.
    """
    annotations = pod["metadata"].get("annotations") or {}
    for key in annotations:
        if key.startswith(_TRAFFIC) and key.removeprefix(_TRAFFIC) not in _EXCLUDED:
            known = ", ".join(_EXCLUDED)
            raise UnsupportedError(
                f"metadata.annotations[{key}]",
                f"the lab's sidecars capture all but what is excluded by: {known}",
            )
    texts = {name: annotations.get(_TRAFFIC + name) or "" for name in _EXCLUDED}
    ranges = _ranges(texts)
    return Capture(
        outbound="*" not in ranges,
        excluded_inbound_ports=_ports(texts, "excludeInboundPorts"),
        excluded_outbound_ports=_ports(texts, "excludeOutboundPorts"),
        excluded_outbound_ranges=tuple(text for text in ranges if text != "*"),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _ranges(texts: Mapping[str, str]) -> tuple[str, ...]:
    """IPv4 networks; ``*`` means all of them."""
    name = "excludeOutboundIPRanges"
    words = _words(texts[name])
    for word in words:
        written = network(word)
        if word != "*" and (written is None or written.version != 4):
            raise UnsupportedError(
                f"metadata.annotations[{_TRAFFIC}{name}]",
                f"{word} is not an IPv4 network: write such as 10.0.0.0/8, separated by commas, or *",
            )
    return words


def _ports(texts: Mapping[str, str], name: str) -> tuple[int, ...]:
    words = _words(texts[name])
    for word in words:
        if not is_port(word):
            raise UnsupportedError(f"metadata.annotations[{_TRAFFIC}{name}]", f"{word} is not a port")
    return tuple(int(word) for word in words)
