"""How long a container that keeps ending waits before it is started again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST_S: Final = 10.0
LONGEST_S: Final = 300.0
FORGIVEN_AFTER_S: Final = 600.0


@dataclass(slots=True)
class Backoff:
    """Kubernetes' series: at once, then 10 s, 20 s, ... 300 s; a run of ten minutes starts it anew."""

    _next: float = 0.0

    def delay(self, ran_s: float) -> float:
        """Seconds to wait after a run that lasted *ran_s* seconds."""
        if ran_s >= FORGIVEN_AFTER_S:
            self._next = 0.0
        delay = self._next
        self._next = min(LONGEST_S, delay * 2 if delay else FIRST_S)
        return delay
