"""One fabric of namespaces for all tests of this folder that send packets."""

import os

import pytest

from . import cases
from .kernel import Fabric, Servers


@pytest.fixture(scope="session")
def fabric():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    made = Fabric(cases.SLOTS)
    try:
        made.build()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def servers(fabric):
    running = Servers(fabric)
    yield running
    running.close()
