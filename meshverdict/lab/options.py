"""What `meshverdict up` was asked for, as one value that travels to the keeper."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from meshverdict.model.settings import DEFAULT_INGRESS_PORT, LabSettings


@dataclass(frozen=True, slots=True)
class UpOptions:
    """One request to start a lab.

    Attributes:
        name: Name of the lab; one of each name runs at a time.
        manifests: Folders or files that are applied, in order.
        images: A user's own image table, or None.
        port: Where the ingress is published on 127.0.0.1; another one is taken if this is in use.
        tie: Inherited file descriptor; the lab ends when its other end is closed. None: the lab stays.
        ready_timeout_s: How long everything may take to become Ready.
    """

    name: str = "default"
    settings: LabSettings = field(default_factory=LabSettings)
    manifests: tuple[str, ...] = ()
    images: str | None = None
    port: int = DEFAULT_INGRESS_PORT
    tie: int | None = None
    ready_timeout_s: float = 60.0

    def to_json(self) -> str:
        """One line of JSON."""
        values: dict[str, Any] = {**asdict(self), "settings": self.settings.as_dict()}
        return json.dumps(values)

    @classmethod
    def from_json(cls, text: str) -> UpOptions:
        """The value that :meth:`to_json` wrote."""
        values = json.loads(text)
        values["settings"] = LabSettings.from_dict(values["settings"])
        values["manifests"] = tuple(values["manifests"])
        return cls(**values)

    def manifest_paths(self) -> list[Path]:
        """The manifests as paths."""
        return [Path(m) for m in self.manifests]
