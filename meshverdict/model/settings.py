"""What an embedded lab was asked to be: one value, from the command line down to the rules."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Denied = Literal["drop", "reject"]
Established = Literal["keep", "cut"]
MeshRetries = Literal["today", "1.14"]
DEFAULT_INGRESS_PORT = 8081


@dataclass(frozen=True, slots=True)
class LabSettings:
    """Settings of one embedded lab.

    Attributes:
        zones: How many zones, one node each.
        zone_delay_ms: One-way delay between two zones, milliseconds: from the earlier one (zone-a) to the later.
        zone_delay_back_ms: The same the other way; None for as much.
        zone_jitter_ms: Each packet may take up to so much longer, milliseconds.
        denied: What happens to a denied packet: silence (``drop``) or an answer (``reject``).
        established: Whether a new policy also cuts connections that are open (``cut``) or not (``keep``).
        network_policy: False accepts NetworkPolicy objects and enforces none, as flannel does.
        sidecars: Inject an Envoy sidecar into every lab namespace's pods.
        mesh_retries: What the sidecars retry where no rule says: as Istio ``today``, or as Istio ``1.14``, which also
            retried answers of 503.
    """

    zones: int = 1
    zone_delay_ms: float = 0.0
    zone_delay_back_ms: float | None = None
    zone_jitter_ms: float = 0.0
    denied: Denied = "drop"
    established: Established = "cut"
    network_policy: bool = True
    sidecars: bool = False
    mesh_retries: MeshRetries = "today"

    @property
    def delays_ms(self) -> tuple[float, float]:
        """One-way delay from an earlier zone to a later one and back, milliseconds."""
        back = self.zone_delay_back_ms
        return self.zone_delay_ms, self.zone_delay_ms if back is None else back

    @property
    def delayed(self) -> bool:
        """Whether a delay line stands between the zones."""
        return self.zones > 1 and (any(self.delays_ms) or self.zone_jitter_ms > 0)

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LabSettings:
        """Read settings back; keys that are not known are ignored (see formats)."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})
