"""Every configuration that we make is one that the real Envoy takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshverdict.mesh.bootstrap import bootstrap
from meshverdict.mesh.identity import certificates
from meshverdict.mesh.sidecar import translate
from meshverdict.mesh.values import Mesh, Settings

from . import cases, golden, real_envoy
from .authority import Authority

ADDRESSES = [f"10.77.0.{number}" for number in range(11, 11 + cases.SLOTS)]


def _accepted(worlds, folder: Path) -> int:
    """How many different configurations Envoy took; each is asked for once."""
    authority = Authority()
    seen = set()
    for name, mesh, proxy, quiet in worlds:
        (request,) = certificates([proxy])
        for file in authority.files(request, str(folder)):
            Path(file.path).write_text(file.text)
        start = bootstrap(proxy, str(folder))
        config = real_envoy.static(translate(mesh, proxy, str(folder)), start)
        key = json.dumps(config, sort_keys=True)
        if key not in seen:
            seen.add(key)
            assert real_envoy.complaint(config, folder, quiet=quiet) == "", name
    return len(seen)


@pytest.mark.skipif(not golden.records(), reason="needs the yardsticks: golden_istio_open.jsonl")
def test_envoy_takes_the_configuration_of_every_recording(tmp_path):
    """All recordings' configurations pass Envoy's validation, without a warning of ours."""
    # A user's own EnvoyFilter may use deprecated fields, and Istio's DNS settings are deprecated in Envoy.
    worlds = [
        (r["id"], *golden.mesh(r), "EnvoyFilter" in r["resources"] or "ServiceEntry" in r["resources"])
        for r in golden.records()
    ]
    assert _accepted(worlds, tmp_path) > 50


@pytest.mark.skipif(not cases.cases(), reason="needs the yardsticks: istio_cases_open.yaml")
def test_envoy_takes_the_configuration_of_every_behaviour_case(tmp_path):
    """The client's configuration of every case that is not refused, with an access log."""
    found = []
    for case in cases.cases():
        if case["kind"] == "Sidecar" or "zoneAwareLbSetting" in json.dumps(case["apply"]):
            continue
        world = cases.world(case, ADDRESSES)
        mesh = world.mesh()
        logged = Mesh(mesh.services, mesh.workloads, mesh.resources, Settings(access_log="/dev/null"))
        found += [(case["id"], logged, pod, True) for pod in world.pods[:2]]
    assert _accepted(found, tmp_path) > 50
