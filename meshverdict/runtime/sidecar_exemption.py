"""How the kernel tells a sidecar's own connections from its pod's, so that they are not captured again.

By its user, as in Istio, where the lab has a range of ids. In a plain user's lab all containers are one user to the
kernel; there Envoy gives its sockets a priority (SO_PRIORITY, which needs no right up to 6), and the rules look for
that. 5 is none of the values that a type of service sets by itself (0, 2, 4, 6). Pure.
"""

from __future__ import annotations

from typing import Any, Final

from meshverdict.mesh.capture import ISTIO_UID

PRIORITY: Final = 5
_SOL_SOCKET: Final = 1
_SO_PRIORITY: Final = 12
_USER: Final = "meta skuid"


def marked(bootstrap: dict[str, Any]) -> dict[str, Any]:
    """The bootstrap with the priority on every connection that Envoy makes to others, as a new object."""
    option = {
        "description": "not captured again",
        "level": _SOL_SOCKET,
        "name": _SO_PRIORITY,
        "int_value": PRIORITY,
        "state": "STATE_PREBIND",
    }
    return {**bootstrap, "cluster_manager": {"upstream_bind_config": {"socket_options": [option]}}}


def by_priority(rules: str) -> str:
    """Capture rules that tell Envoy by its priority instead of its user.

    Raises:
        ValueError: The rules do not speak of the user as expected.
    """
    found = rules
    for operator in ("", "!= "):
        words = f"{_USER} {operator}{ISTIO_UID}"
        if words not in found:
            raise ValueError(f"the capture rules have no {words!r}")
        found = found.replace(words, f"meta priority {operator}0:{PRIORITY}")
    return found
