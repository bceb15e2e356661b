"""What other rooms may say about a write, as admission webhooks do on a real cluster: the seam for them.

The mesh changes pods (sidecars) and refuses Istio resources that would not be enforced. Which webhooks there are is the
composition root's choice; this room knows only when they are asked.
"""

from __future__ import annotations

from typing import Protocol

from meshverdict.cluster.store import Manifest


class Webhook(Protocol):
    """One part that takes part in admission; synchronous, because a write is one step of the event loop."""

    def mutate(self, resource: str, obj: Manifest) -> Manifest:
        """The object to create instead; *obj* itself is not changed.

        Raises:
            ApiError: Refused.
        """

    def check(self, resource: str, obj: Manifest) -> None:
        """Look at a complete object that is about to be stored, new or changed.

        Raises:
            ApiError: Refused.
        """

    def warnings(self, resource: str, obj: Manifest) -> list[str]:
        """What the author of an accepted object should know."""
