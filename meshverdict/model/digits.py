"""Numbers and networks that people write as text, where Python takes more than Kubernetes and Istio do.

``str.isdigit`` takes digits that ``int`` does not, and thousands of them; ``ipaddress`` takes netmasks.
"""

from __future__ import annotations

import ipaddress

_LONGEST = 5


def small_number(text: str) -> int | None:
    """The number that up to five ASCII digits write; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST else None


def is_port(text: str) -> bool:
    """Whether the text is a port: 1..65535."""
    return 1 <= (small_number(text) or 0) <= 65535


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """An address, or an address and the length of its network in bits; None for any other text."""
    _, slash, length = text.partition("/")
    if slash and small_number(length) is None:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
