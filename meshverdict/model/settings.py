"""What an embedded lab was asked to be: one value, from the command line down to the rules."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Denied = Literal["drop", "reject"]
Established = Literal["keep", "cut"]
DEFAULT_INGRESS_PORT = 8081


@dataclass(frozen=True, slots=True)
class LabSettings:
    """Settings of one embedded lab.

    Attributes:
        zones: How many zones, one node each.
        zone_delay_ms: One-way delay between two zones, milliseconds.
        denied: What happens to a denied packet: silence (``drop``) or an answer (``reject``).
        established: Whether a new policy also cuts connections that are open (``cut``) or not (``keep``).
        network_policy: False accepts NetworkPolicy objects and enforces none, as flannel does.
        sidecars: Inject an Envoy sidecar into every lab namespace's pods.
    """

    zones: int = 1
    zone_delay_ms: float = 0.0
    denied: Denied = "drop"
    established: Established = "cut"
    network_policy: bool = True
    sidecars: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LabSettings:
        """Read settings back; keys that are not known are ignored (see formats)."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})
