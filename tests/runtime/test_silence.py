"""A node that is cut off: its kubelet tells nothing, and everything once it is back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from labs import Lab, lab
from memory_objects import is_ready, pod
from worlds import in_world

from meshverdict.model.silence import NOTICED_AT, STATUS_UNKNOWN
from meshverdict.runtime.keeper import WorldHandle
from meshverdict.runtime.node_object import node_manifest

pytestmark = pytest.mark.root
THEN = "2026-11-23T08:00:00Z"


def written(running: Lab, resource: str, namespace: str | None, name: str) -> dict[str, Any]:
    """An object, to be changed and put back."""
    found = running.objects.get(resource, namespace, name)
    assert found is not None
    return found


def conditions(found: dict[str, Any]) -> dict[str, str]:
    """The status of each condition."""
    return {c["type"]: c["status"] for c in found["status"]["conditions"]}


def with_conditions(found: dict[str, Any], **fields: str) -> dict[str, Any]:
    """All conditions changed, as the node controller changes them."""
    changed = [{**c, **fields} for c in found["status"]["conditions"]]
    return {**found, "status": {**found["status"], "conditions": changed}}


def test_silent_kubelet_tells_nothing_and_all_of_it_afterwards(tmp_path: Path) -> None:
    """A container that ends meanwhile is known when the node is back; so is that pods and node are Ready."""

    async def body(handle: WorldHandle) -> None:
        async with lab(handle, handle.scratch) as running:
            objects = running.objects
            node = node_manifest(running.runtime.nodes[0], {"cpu": 2, "memory": 1 << 30}, THEN)
            labels = node["metadata"]["labels"]
            objects.create("nodes", node)
            objects.create("pods", pod("stays", {"image": "python", "command": ["sleep", "60"]}))
            await objects.until("test", "stays", is_ready)
            cut = {**node["metadata"], "labels": {**labels, NOTICED_AT: "0"}}
            objects.update("nodes", {**node, "metadata": cut})
            made = pod("comes", {"image": "python", "command": ["sleep", "60"]})
            objects.create("pods", made)
            await asyncio.sleep(1.0)
            assert "conditions" not in (written(running, "pods", "test", "comes").get("status") or {})
            objects.update("pods", with_conditions(written(running, "pods", "test", "stays"), status="False"))
            silent = with_conditions(
                written(running, "nodes", None, "node-a"), status="Unknown", reason=STATUS_UNKNOWN
            )
            objects.update("nodes", silent)
            await asyncio.sleep(0.2)
            assert conditions(written(running, "pods", "test", "stays"))["Ready"] == "False"
            objects.update("nodes", {**silent, "metadata": node["metadata"]})
            await objects.until("test", "stays", is_ready)
            await objects.until("test", "comes", is_ready)
            assert conditions(written(running, "nodes", None, "node-a"))["Ready"] == "True"

    in_world(body, tmp_path)
