"""The Chaos Toolkit extension: thin controls, actions and probes for any cluster."""

from __future__ import annotations

from typing import Any

from meshverdict import __version__


def discover(discover_system: bool = True) -> Any:  # noqa: ARG001, FBT001, FBT002 - the toolkit calls it so
    """What ``chaos discover meshverdict`` shows."""
    from chaoslib.discovery.discover import (  # noqa: PLC0415 - the room's modules must stay quick to import
        discover_actions,
        discover_probes,
        initialize_discovery_result,
    )

    found = initialize_discovery_result("meshverdict", __version__, "meshverdict")
    found["activities"].extend(discover_actions("meshverdict.chaos.actions"))
    found["activities"].extend(discover_probes("meshverdict.chaos.probes"))
    return found
