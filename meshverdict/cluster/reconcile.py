"""Runs the controllers: wakes plans on the store's events and applies what they ask for.

    store event -> mappers -> queue of (controller, key) -> plan -> changes -> Objects -> store event ...

A plan and its changes are one uninterrupted step of the event loop, so a plan never works on old
objects. A key that was just planned rests for a few milliseconds, so that a burst of changes (256
pods becoming ready) costs a few plans, not 256.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from meshverdict.cluster.controllers.changes import (
    Change,
    Controller,
    Create,
    Delete,
    Emit,
    Key,
    Mapper,
    Requeue,
    Update,
    UpdateStatus,
)
from meshverdict.cluster.controllers.view import IndexedView
from meshverdict.cluster.errors import ApiError
from meshverdict.cluster.store import Event, Manifest, Store

_log = logging.getLogger(__name__)

REST = 0.005  # seconds between two plans of one key
TURN = 0.01  # seconds of planning after which the event loop's other tasks get their turn
FIRST_RETRY, LONGEST_RETRY = 0.02, 16.0
# A plan that trips over one odd object must not stop the planning of all others.
_PLAN_ERRORS = (ApiError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Writer(Protocol):
    """What the runner needs of :class:`meshverdict.cluster.objects.Objects`."""

    @property
    def store(self) -> Store:
        """Where the objects are."""

    def create(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Create an object."""

    def update(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Replace an object."""

    def update_status(self, resource: str, obj: Manifest, *, manager: str) -> Manifest:
        """Replace its status."""

    def delete(
        self,
        resource: str,
        namespace: str,
        name: str,
        *,
        grace: int | None = None,
        propagation: str = "Background",
        uid: str | None = None,
        manager: str,
    ) -> None:
        """Delete an object."""

    def event(self, obj: Manifest, *, type: str, reason: str, message: str, source: str) -> None:  # noqa: A002
        """Record an Event about an object."""


class Reconciler:
    """The controllers of one cluster at work, between :meth:`start` and :meth:`stop`.

    Args:
        objects: The writer; its store must not be written by anybody else.
        controllers: Usually :func:`.controllers.registry.controllers`.
        resources: The resources that may be in the store already, when the runner is made.
        clock: Unix seconds.
    """

    def __init__(
        self,
        objects: Writer,
        controllers: Sequence[Controller],
        *,
        resources: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects = objects
        self._controllers = controllers
        self._known = tuple(resources)
        self._clock = clock
        self.view = IndexedView(objects.store, self._known)
        self._routes: dict[str, list[tuple[Controller, Mapper | None]]] = defaultdict(list)
        for controller in controllers:
            if controller.resource:
                self._routes[controller.resource].append((controller, None))
            for resource, mapper in controller.watches.items():
                self._routes[resource].append((controller, mapper))
        self._queue: deque[tuple[str, Key]] = deque()
        self._by_name = {c.name: c for c in controllers}
        self._queued: set[tuple[str, Key]] = set()
        self._resting: dict[tuple[str, Key], bool] = {}  # and whether it was woken meanwhile
        self._timers: dict[tuple[str, Key], asyncio.TimerHandle] = {}
        self._failures: dict[tuple[str, Key], int] = {}
        self._awake = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.plans = 0
        self._end = objects.store.subscribe(self._see)  # now, so that nothing is missed before the start

    async def start(self) -> None:
        """Plan everything that is there, and go on with what changes."""
        for resource in self._known:
            for obj in self._objects.store.list(resource):
                self._wake_for(resource, obj)
        self._awake.set()
        self._task = asyncio.create_task(self._work(), name="controllers")
        self._task.add_done_callback(_tell)

    async def stop(self) -> None:
        """Leave all as it is now."""
        self._end()
        for timer in self._timers.values():
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait_idle(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109 - reads better at call sites
        """Until nothing is due. Requeues and retries of the future do not count.

        Raises:
            TimeoutError: Something is always due.
        """
        async with asyncio.timeout(timeout):
            await self._idle.wait()

    def _see(self, event: Event) -> None:
        self.view.see(event)
        self._wake_for(event.resource, event.obj)
        if event.old is not None and _moved(event.old, event.obj):
            self._wake_for(event.resource, event.old)

    def _wake_for(self, resource: str, obj: Manifest) -> None:
        for controller, mapper in (*self._routes.get(resource, ()), *self._routes.get("*", ())):
            if mapper is None:
                self._enqueue(
                    controller.name, (obj["metadata"].get("namespace") or "", obj["metadata"]["name"])
                )
                continue
            try:
                keys = list(mapper(self.view, obj))
            except _PLAN_ERRORS:
                # The change is stored already: that somebody cannot read it is no failure of whoever wrote it.
                _log.exception(
                    "%s could not tell whom %s concerns", controller.name, obj["metadata"].get("name")
                )
                continue
            for key in keys:
                self._enqueue(controller.name, key)

    def _enqueue(self, controller: str, key: Key) -> None:
        work = (controller, key)
        if work in self._queued:
            return
        self._idle.clear()
        if work in self._resting:
            self._resting[work] = True
            return
        self._queued.add(work)
        self._queue.append(work)
        self._awake.set()

    async def _work(self) -> None:
        while True:
            await self._awake.wait()
            turn = time.monotonic()
            while self._queue:
                self._run(self._queue.popleft())
                if time.monotonic() - turn > TURN:
                    await asyncio.sleep(0)
                    turn = time.monotonic()
            self._awake.clear()
            self._check_idle()

    def _check_idle(self) -> None:
        if not self._queue and not any(self._resting.values()):
            self._idle.set()

    def _run(self, work: tuple[str, Key]) -> None:
        self._queued.discard(work)
        self.plans += 1
        self._set_timer(work, None)
        self._resting[work] = False
        asyncio.get_running_loop().call_later(REST, self._rested, work)
        name, key = work
        try:
            failed = self._apply(self._by_name[name], work, self._plan(self._by_name[name], key))
        except _PLAN_ERRORS:
            _log.exception("%s could not plan %s", name, "/".join(filter(None, key)) or "anything")
            failed = True
        if not failed:
            self._failures.pop(work, None)
            return
        count = self._failures[work] = self._failures.get(work, 0) + 1
        self._set_timer(work, min(FIRST_RETRY * 2 ** min(count - 1, 20), LONGEST_RETRY))

    def _rested(self, work: tuple[str, Key]) -> None:
        if self._resting.pop(work, False):
            self._enqueue(*work)
        elif not self._queue:
            self._check_idle()

    def _set_timer(self, work: tuple[str, Key], delay: float | None) -> None:
        timer = self._timers.pop(work, None)
        if timer is not None:
            timer.cancel()
            if delay is not None:
                delay = min(delay, max(timer.when() - asyncio.get_running_loop().time(), 0))
        if delay is not None:
            self._timers[work] = asyncio.get_running_loop().call_later(delay, self._due, work)

    def _due(self, work: tuple[str, Key]) -> None:
        self._timers.pop(work, None)
        self._enqueue(*work)

    def _plan(self, controller: Controller, key: Key) -> list[Change]:
        obj = controller.find(self.view, key) if controller.find else None
        if controller.find is None and controller.resource:
            obj = self.view.get(controller.resource, *key)
        if obj is not None:
            return controller.plan(self.view, obj, self._clock())
        return controller.gone(self.view, key, self._clock()) if controller.gone else []

    def _apply(self, controller: Controller, work: tuple[str, Key], changes: list[Change]) -> bool:
        """Apply all changes; after a failed creation no further ones. Returns whether one failed."""
        failed = refused = False
        for change in changes:
            if isinstance(change, Requeue):
                self._set_timer(work, change.seconds)
                continue
            if refused and isinstance(change, Create):
                continue
            try:
                self._write(controller, change)
            except ApiError as error:
                failed = True
                refused = refused or isinstance(change, Create)
                _log.info("%s: %s: %s", controller.name, type(change).__name__, error)
        return failed

    def _write(self, controller: Controller, change: Change) -> None:
        objects, manager = self._objects, controller.manager
        match change:
            case Create():
                self._create(controller, change)
            case Update(resource, obj):
                if (fresh := self._fresh(resource, obj)) is not None:
                    objects.update(resource, fresh, manager=manager)
            case UpdateStatus(resource, obj):
                if (fresh := self._fresh(resource, obj)) is not None:
                    objects.update_status(resource, fresh, manager=manager)
            case Delete():
                self._delete(change, manager)
            case Emit():
                self._emit(controller, change, change.message)

    def _delete(self, change: Delete, manager: str) -> None:
        current = self._objects.store.get(change.resource, change.namespace, change.name)
        if current is not None and current["metadata"]["uid"] == change.uid:
            self._objects.delete(
                change.resource,
                change.namespace,
                change.name,
                grace=change.grace,
                propagation=change.propagation,
                uid=change.uid,
                manager=manager,
            )

    def _create(self, controller: Controller, change: Create) -> None:
        event = change.event
        try:
            made = self._objects.create(change.resource, change.obj, manager=controller.manager)
        except ApiError as error:
            if event is not None:
                warning = Emit(event.obj, "Warning", "FailedCreate", "")
                self._emit(controller, warning, f"Error creating: {error}")
            raise
        if event is not None:
            self._emit(controller, event, event.message.replace("{name}", made["metadata"]["name"]))

    def _emit(self, controller: Controller, emit: Emit, message: str) -> None:
        """Record an event. Events are told, not relied on: a refusal (the namespace ends) changes nothing."""
        try:
            self._objects.event(
                emit.obj, type=emit.type, reason=emit.reason, message=message, source=controller.name
            )
        except ApiError as error:
            _log.debug("%s: event %s: %s", controller.name, emit.reason, error)

    def _fresh(self, resource: str, obj: Manifest) -> Manifest | None:
        """*obj* with the stored resource version, which earlier changes of the same plan may have moved.

        None if the object is gone.
        """
        meta = obj["metadata"]
        current = self._objects.store.get(resource, meta.get("namespace"), meta["name"])
        if current is None or current["metadata"]["uid"] != meta["uid"]:
            return None
        return {**obj, "metadata": {**meta, "resourceVersion": current["metadata"]["resourceVersion"]}}


def _tell(task: asyncio.Task[None]) -> None:
    """The controllers must not stop unnoticed."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("the controllers have stopped; restart the lab", exc_info=error)


def _moved(old: Manifest, new: Manifest) -> bool:
    """Whether an object may concern others than it did."""
    return any(old["metadata"].get(k) != new["metadata"].get(k) for k in ("labels", "ownerReferences"))
