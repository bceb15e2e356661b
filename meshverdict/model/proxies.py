"""Loopback is never asked through a proxy of the environment.

Libraries differ: some know loopback by themselves, some only what NO_PROXY names.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
NO_PROXY: Final = ("NO_PROXY", "no_proxy")


def spare_loopback() -> None:
    """Add loopback to what NO_PROXY names, in this process's environment."""
    for variable in NO_PROXY:
        present = [p for p in os.environ.get(variable, "").split(",") if p]
        os.environ[variable] = ",".join(dict.fromkeys([*present, *LOOPBACK]))


@contextmanager
def loopback_spared() -> Iterator[None]:
    """:func:`spare_loopback` for a while; the environment is put back afterwards."""
    before = {name: os.environ.get(name) for name in NO_PROXY}
    spare_loopback()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
