"""Traffic between pods is counted by the kernel, once each packet, whether it crosses zones or not."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from labs import Lab, lab
from memory_objects import is_ready
from two_zones import round_trips, two_zones
from worlds import in_world, plain_user_world

from meshverdict.network.nft_traffic import read_traffic
from meshverdict.runtime.keeper import WorldHandle
from meshverdict.runtime.runtime import delay_pod, traffic_pod
from meshverdict.runtime.traffic import differences

POLICY = {
    "metadata": {"name": "closed", "namespace": "test"},
    "spec": {"podSelector": {"matchLabels": {"nobody": "here"}}, "policyTypes": ["Ingress"]},
}


async def seconds(running: Lab, pod: str, container: str, key: str) -> list[dict]:  # type: ignore[type-arg]
    log = await running.log("meshverdict-system", pod, container)
    return [line for text in log.splitlines() if key in (line := json.loads(text))]


@pytest.mark.root
@pytest.mark.parametrize("world", [in_world, plain_user_world])
def test_packets_within_and_across_zones_are_counted(world, tmp_path: Path) -> None:
    """Pairs, zones and numbers; the delay line, which carried the crossing ones, counted as many bytes."""

    async def body(handle: WorldHandle) -> None:
        async with lab(handle, handle.scratch, zones=2, zone_delay_ms=1.0) as running:
            node = running.runtime.nodes[0]
            for pod in (delay_pod(node), traffic_pod(node)):
                running.objects.create("pods", pod)
                await running.objects.until("meshverdict-system", pod["metadata"]["name"], is_ready)
            address = await two_zones(running)
            await round_trips(running, "far", address)
            # A new policy replaces the other table: nothing counted may be lost.
            running.objects.create("networkpolicies.networking.k8s.io", POLICY)
            await round_trips(running, "near", address)
            await asyncio.sleep(2.2)
            counted: Counter[tuple[str, ...]] = Counter()
            crossed = 0
            for line in await seconds(running, "traffic", "traffic", "traffic"):
                for pair in line["traffic"]:
                    key = (pair["from"], pair["to"], pair["from_zone"], pair["to_zone"])
                    counted[key] += pair["packets"]
                    crossed += pair["bytes"] if key[2] != key[3] else 0
            assert set(counted) == {
                ("test/far", "test/server", "zone-a", "zone-b"),
                ("test/server", "test/far", "zone-b", "zone-a"),
                ("test/near", "test/server", "zone-b", "zone-b"),
                ("test/server", "test/near", "zone-b", "zone-b"),
            }
            assert min(counted.values()) >= 52  # fifty round trips and what opened the connection
            told = await seconds(running, "delay-line", "delay", "delay_line")
            # Their frames: what the kernel hands on in one piece, and counts once, crosses in many, each with headers.
            carried = sum(pair["bytes"] for line in told for pair in line["pairs"])
            assert 0.9 * carried < crossed < carried

    world(body, tmp_path)


def test_silent_pairs_are_left_out() -> None:
    """Only what was counted since the reading before; a pair that is new counts from zero."""
    before = {("a", "b"): (3, 300), ("b", "a"): (2, 200)}
    now = {("a", "b"): (3, 300), ("b", "a"): (5, 500), ("c", "a"): (1, 60)}
    assert differences(before, now) == {("b", "a"): (3, 300), ("c", "a"): (1, 60)}


def test_an_empty_set_is_no_traffic() -> None:
    """The list leaves the elements out when there are none."""
    assert read_traffic('{"nftables": [{"metainfo": {}}, {"set": {"name": "pairs"}}]}') == {}
