"""Which pods get a sidecar, and what of their traffic it captures: Istio's labels and annotations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshverdict.mesh.capture import Capture
from meshverdict.model.errors import UnsupportedError

NAMESPACE_LABEL: Final = "istio-injection"
INJECT: Final = "sidecar.istio.io/inject"
_TRAFFIC: Final = "traffic.sidecar.istio.io/"
_KNOWN: Final = frozenset({"excludeInboundPorts", "excludeOutboundPorts", "excludeOutboundIPRanges"})


def wants_sidecar(pod: Mapping[str, Any], namespace_labels: Mapping[str, str]) -> bool:
    """Whether Istio would inject: the pod's own word first (label, then annotation), then the namespace's.

    A namespace that says ``disabled`` is not overruled, and a pod in the host's network never gets one.
    """
    meta, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    space = namespace_labels.get(NAMESPACE_LABEL)
    if spec.get("hostNetwork") or space == "disabled":
        return False
    own = (meta.get("labels") or {}).get(INJECT) or (meta.get("annotations") or {}).get(INJECT)
    return own == "true" if own in {"true", "false"} else space == "enabled"


def capture(annotations: Mapping[str, str], direct_sources: tuple[str, ...] = ()) -> Capture:
    """What a pod's annotations leave out of the capture.

    Args:
        annotations: Of the pod.
        direct_sources: See `Capture`.

    Raises:
        UnsupportedError: An annotation of Istio's about traffic that the lab does not honour, or a bad value.
    """
    for name in annotations:
        if name.startswith(_TRAFFIC) and name.removeprefix(_TRAFFIC) not in _KNOWN:
            known = ", ".join(sorted(_TRAFFIC + word for word in _KNOWN))
            raise UnsupportedError(
                f"metadata.annotations[{name}]", f"not honoured by the lab; these are: {known}"
            )
    ranges = annotations.get(f"{_TRAFFIC}excludeOutboundIPRanges") or ""
    return Capture(
        excluded_inbound_ports=_ports(annotations, "excludeInboundPorts"),
        excluded_outbound_ports=_ports(annotations, "excludeOutboundPorts"),
        excluded_outbound_ranges=tuple(part.strip() for part in ranges.split(",") if part.strip()),
        direct_sources=direct_sources,
    )


def _ports(annotations: Mapping[str, str], word: str) -> tuple[int, ...]:
    name = f"{_TRAFFIC}{word}"
    parts = [part.strip() for part in (annotations.get(name) or "").split(",") if part.strip()]
    if any(not part.isdigit() or not 1 <= int(part) <= 65535 for part in parts):
        raise UnsupportedError(f"metadata.annotations[{name}]", "write port numbers, separated by commas")
    return tuple(int(part) for part in parts)
