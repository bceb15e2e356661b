"""Watches: changes of a collection as they happen, filtered, batched a little, and never without bound.

Each change is encoded once for all watchers that want it in the same form. A watcher that does not read is cut
off when its buffer is full: it starts again from its last revision, as clients of a real server do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from meshverdict.cluster.http.answers import Form, add_warnings, encode
from meshverdict.cluster.http.call import Call
from meshverdict.cluster.http.lists import Selection, check_list_options, revision, selection
from meshverdict.cluster.store import Event, GoneError, Manifest
from meshverdict.cluster.tables import partial, table
from meshverdict.cluster.versions import to_shown

_BUFFER_LIMIT: Final = 32 * 1024 * 1024
_BOOKMARK_SECONDS: Final = 60.0
_BEFORE_END: Final = 1.4
_PAUSE: Final = 0.004  # changes within it share one write; far below what a watcher can notice
_LONGEST: Final = 86_400

Render = Callable[[str, Manifest], bytes]


class Watcher:
    """One watch in progress.

    Args:
        call: The request.
        chosen: What is watched.
    """

    def __init__(self, call: Call, chosen: Selection) -> None:
        self._call = call
        self._chosen = chosen
        self._resource = call.kind.resource
        self._namespace = call.route.namespace
        self._render = _renderer(call)
        self._parts: list[bytes] = []
        self._size = 0
        self._wake = asyncio.Event()
        self.overflowed = False
        self.last = 0
        self._shared = call.form.shape == "object" and not call.kind.secondary

    def see(self, event: Event) -> None:
        """A change in the store."""
        if event.resource != self._resource:
            return
        if self._namespace and event.obj["metadata"].get("namespace") != self._namespace:
            return
        kind = self._kind_of(event)
        if kind is None:
            return
        self.put(self._encoded(kind, event))

    def _kind_of(self, event: Event) -> str | None:
        """What the change means to this watcher: an object may enter and leave its selection."""
        if self._chosen.everything:
            return event.type
        after = event.type != "DELETED" and self._chosen.matches(event.obj)
        before = event.old is not None and self._chosen.matches(event.old)
        if before and after:
            return "MODIFIED"
        if after:
            return "ADDED"
        return "DELETED" if before else None

    def _encoded(self, kind: str, event: Event) -> bytes:
        if not self._shared:
            return self._render(kind, event.obj)
        last = self._call.services.last
        if last.event is not event or last.type != kind:
            last.event, last.type = event, kind
            last.data = self._render(kind, event.obj)
        return last.data

    def put(self, data: bytes) -> None:
        """Something to send."""
        if self.overflowed:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > _BUFFER_LIMIT:
            self.overflowed = True
            self._parts.clear()
        self._wake.set()

    def show(self, kind: str, obj: Manifest) -> None:
        """Send one event."""
        self.put(self._render(kind, obj))

    def bookmark(self, at: int, *, initial: bool = False) -> None:
        """Send a bookmark."""
        meta: dict[str, Any] = {"resourceVersion": str(at)}
        if initial:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        kind = self._call.kind
        obj = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
        self.put(self._render("BOOKMARK", obj))

    async def pump(self, response: web.StreamResponse, deadline: float, *, bookmarks: bool) -> None:
        """Send until *deadline* (monotonic)."""
        store = self._call.objects.store
        next_mark = time.monotonic() + _BOOKMARK_SECONDS
        last_mark = deadline - _BEFORE_END
        if bookmarks and last_mark <= time.monotonic():
            last_mark = deadline
        while not self.overflowed:
            now = time.monotonic()
            if now >= deadline:
                break
            if bookmarks and now >= min(next_mark, last_mark):
                self.bookmark(store.revision)
                if now >= last_mark:
                    last_mark = deadline + 1
                next_mark = now + _BOOKMARK_SECONDS
            until = min(deadline, next_mark, last_mark) if bookmarks else deadline
            if not self._parts:
                await self._sleep(max(until - now, 0.001))
            if self._parts:
                data = b"".join(self._parts)
                self._parts.clear()
                self._size = 0
                await response.write(data)
                await asyncio.sleep(_PAUSE)

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        loop = asyncio.get_running_loop()
        timer = loop.call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()


def _renderer(call: Call) -> Render:
    form: Form = call.form
    kind = call.kind
    first = True

    def render(event: str, obj: Manifest) -> bytes:
        nonlocal first
        shown: Any = present(call, obj)
        if form.shape == "Table" and event != "ERROR":
            include: Any = call.query("includeObject") or "Metadata"
            items = [] if event == "BOOKMARK" else [shown]
            now = call.objects.clock()
            meta = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            shown = table(kind, items, meta, include=include, now=now, version=form.version)
            if event == "BOOKMARK":
                shown["rows"] = [_bookmark_row(obj)]
            if not first:
                shown["columnDefinitions"] = None
            first = False
        elif form.shape == "PartialObjectMetadata" and event != "ERROR":
            shown = partial(obj, form.version)
        return encode({"type": event, "object": shown}) + b"\n"

    return render


def _bookmark_row(obj: Manifest) -> dict[str, Any]:
    return {"cells": [], "object": partial(obj)}


def present(call: Call, obj: Manifest) -> Manifest:
    """A stored object as this API version shows it."""
    return to_shown(call.kind, obj)


async def watch(call: Call) -> web.StreamResponse:
    """Answer a watch until its time is over or the client goes."""
    check_list_options(call, watching=True)
    chosen = selection(call)
    asked = revision(call)
    seconds = call.integer("timeoutSeconds") or 0
    if seconds <= 0:
        seconds = random.randint(1800, 3600)  # noqa: S311 - spreads reconnects, as a real server does
    deadline = time.monotonic() + min(seconds, _LONGEST)
    response = web.StreamResponse()
    response.headers["Content-Type"] = call.form.media
    response.headers["Cache-Control"] = "no-cache, private"
    add_warnings(response, call.warnings)
    response.enable_chunked_encoding()
    watcher = Watcher(call, chosen)
    # From the start of reading old changes to the subscription nothing may happen: no await in between.
    gone = _begin(call, watcher, chosen, asked)
    unsubscribe = call.objects.store.subscribe(watcher.see)
    try:
        await response.prepare(call.request)
        if gone:
            await response.write(gone)
        else:
            await watcher.pump(response, deadline, bookmarks=call.flag("allowWatchBookmarks"))
        await response.write_eof()
    except ConnectionError:
        pass  # the client has gone; there is nobody to tell
    finally:
        unsubscribe()
    return response


def _begin(call: Call, watcher: Watcher, chosen: Selection, asked: int | None) -> bytes:
    """Queue what comes before live changes; or answer the ERROR event that is all there will be."""
    store = call.objects.store
    if not asked or call.flag("sendInitialEvents"):
        if call.query("sendInitialEvents").lower() not in {"false", "0"}:
            for obj in store.list(call.kind.resource, call.route.namespace or None):
                if chosen.matches(obj):
                    watcher.show("ADDED", obj)
        if call.flag("sendInitialEvents") and call.flag("allowWatchBookmarks"):
            watcher.bookmark(store.revision, initial=True)
        return b""
    try:
        for event in store.since(asked):
            watcher.see(event)
    except GoneError:
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": f"too old resource version: {asked} ({store.oldest})",
            "reason": "Expired",
            "code": 410,
        }
        return encode({"type": "ERROR", "object": status}) + b"\n"
    return b""
