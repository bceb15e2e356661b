"""Makes ``pretend_cluster`` importable for the tests of this folder, and spares them a namespace's grace."""

import sys
from pathlib import Path

import pytest

from meshverdict.cluster.controllers import namespace

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def no_grace(monkeypatch, request):
    """Namespaces are emptied at once, unless a test is about the wait."""
    if "grace" not in request.node.name:
        monkeypatch.setattr(namespace, "GRACE_S", 0.0)
