"""Watches: order, filters that objects enter and leave, history, and many watchers at once."""

from __future__ import annotations

import asyncio
import json
import time

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name, labels=None, data=None):
    """A ConfigMap of the namespace ``default``."""
    meta = {"name": name, "namespace": "default", "labels": labels or {}}
    return {"metadata": meta, "data": data or {"k": "v"}}


async def events(api, query, count, seconds=5.0):
    """The first *count* events of a watch as (type, name), and the time each came."""
    seen = []
    headers = {"Authorization": f"Bearer {api.auth.admin_token}"}
    async with (
        asyncio.timeout(seconds),
        api.session.get(f"{api.url}{CONFIG_MAPS}?watch=1&{query}", headers=headers) as response,
    ):
        async for line in response.content:
            event = json.loads(line)
            seen.append((event["type"], event["object"].get("metadata", {}).get("name"), time.monotonic()))
            if len(seen) == count:
                break
    return [(kind, name) for kind, name, _ in seen], seen


async def test_objects_enter_and_leave_a_selection(api):
    """A label change turns a MODIFIED into an ADDED or a DELETED for a watch with a selector."""
    start = api.objects.store.revision
    made = api.objects.create("configmaps", config_map("a", {"app": "x"}), manager="t")
    made = api.objects.update("configmaps", {**made, "data": {"k": "w"}}, manager="t")
    left = {**made, "metadata": {**made["metadata"], "labels": {"app": "y"}}}
    made = api.objects.update("configmaps", left, manager="t")
    back = {**made, "metadata": {**made["metadata"], "labels": {"app": "x"}}}
    api.objects.update("configmaps", back, manager="t")
    api.objects.delete("configmaps", "default", "a", manager="t")
    found, _ = await events(api, f"labelSelector=app%3Dx&resourceVersion={start}", 5)
    assert [kind for kind, _ in found] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]


async def test_update_that_changes_nothing(api):
    """Writing what is there makes no event and no new revision."""
    made = api.objects.create("configmaps", config_map("a"), manager="t")
    assert api.objects.update("configmaps", made, manager="t") is made
    status, _, answer = await api.request("PUT", f"{CONFIG_MAPS}/a", config_map("a"))
    assert (status, answer["metadata"]["resourceVersion"]) == (200, made["metadata"]["resourceVersion"])


async def test_revision_that_is_too_old(api):
    """A revision older than the log is 410 as an event of a 200 answer, and a list page of it 410."""
    for number in range(20_050):
        meta = {"name": f"e{number % 50}", "namespace": "default"}
        store = api.objects.store
        if store.get("leases.coordination.k8s.io", "default", meta["name"]) is None:
            store.create("leases.coordination.k8s.io", {"metadata": meta})
        else:
            store.update("leases.coordination.k8s.io", {"metadata": meta})
    headers = {"Authorization": f"Bearer {api.auth.admin_token}"}
    async with api.session.get(
        f"{api.url}{CONFIG_MAPS}?watch=1&resourceVersion=1001", headers=headers
    ) as response:
        line = json.loads(await response.read())
        assert response.status == 200
    assert (line["type"], line["object"]["code"], line["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_bookmark_before_the_end(api):
    """A watch that asks for bookmarks gets one shortly before its time is over."""
    _, seen = await events(
        api, f"allowWatchBookmarks=true&timeoutSeconds=2&resourceVersion={api.objects.store.revision}", 1
    )
    assert seen[0][0] == "BOOKMARK"


async def test_many_watchers(api):
    """20 watchers see 500 changes each, in order and without delay."""
    start = api.objects.store.revision
    query = f"resourceVersion={start}&timeoutSeconds=30"
    watchers = [asyncio.create_task(events(api, query, 500, 30)) for _ in range(20)]
    await asyncio.sleep(0.3)
    for number in range(500):
        api.objects.create("configmaps", config_map(f"c{number:03}"), manager="t")
        if number % 20 == 0:
            await asyncio.sleep(0)
    expected = [("ADDED", f"c{number:03}") for number in range(500)]
    for found, _ in await asyncio.gather(*watchers):
        assert found == expected


async def test_a_watcher_that_does_not_read_is_cut_off(api):
    """A client that reads nothing costs bounded memory: its watch ends."""
    headers = {"Authorization": f"Bearer {api.auth.admin_token}"}
    query = f"watch=1&resourceVersion={api.objects.store.revision}"
    async with api.session.get(f"{api.url}{CONFIG_MAPS}?{query}", headers=headers):
        before = len(api.objects.store._subscribers)
        text = "x" * 900_000
        made = api.objects.create("configmaps", config_map("big"), manager="t")
        for number in range(60):
            made = api.objects.update("configmaps", {**made, "data": {"a": f"{number}{text}"}}, manager="t")
        for _ in range(100):
            await asyncio.sleep(0.02)
            if len(api.objects.store._subscribers) < before:
                break
        assert len(api.objects.store._subscribers) == before - 1
