"""The random ends of generated names."""

from __future__ import annotations

import secrets
from typing import Final

# Kubernetes' alphabet: no vowels and no lookalikes, so that no words come out.
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


def random_suffix(length: int = 5) -> str:
    """*length* random characters."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
