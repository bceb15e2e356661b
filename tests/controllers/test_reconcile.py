"""The runner: one plan at a time, retries, timers, rest."""

import asyncio

from pretend_cluster import MinimalObjects

from meshverdict.cluster.controllers.changes import Controller, Create, Emit, Requeue
from meshverdict.cluster.errors import ApiError
from meshverdict.cluster.reconcile import Reconciler


def configmap(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "x"}}


class Running:
    """A runner with one controller of ConfigMaps, whose plan is given."""

    def __init__(self, plan, objects=None, **fields):
        self.objects = objects or MinimalObjects()
        controller = Controller("test-controller", "test", "configmaps", plan, **fields)
        self.reconciler = Reconciler(self.objects, [controller])

    async def __aenter__(self):
        await self.reconciler.start()
        return self

    async def __aexit__(self, *exc):
        await self.reconciler.stop()


async def test_a_burst_of_changes_is_a_few_plans():
    """A hundred changes of one object in one go are planned once or twice."""
    seen = []

    def plan(_view, obj, _now):
        seen.append(obj["metadata"]["resourceVersion"])
        return []

    async with Running(plan) as running:
        obj = running.objects.create("configmaps", configmap("a"))
        for i in range(100):
            obj = running.objects.update("configmaps", {**obj, "data": {"i": str(i)}})
        await running.reconciler.wait_idle()
    assert seen == [obj["metadata"]["resourceVersion"]]


async def test_requeue_plans_again_later():
    """The plan runs again after the time that it asked for, and then no more."""
    times = []

    def plan(_view, _obj, _now):
        times.append(asyncio.get_running_loop().time())
        return [Requeue(0.05)] if len(times) == 1 else []

    async with Running(plan) as running:
        running.objects.create("configmaps", configmap("a"))
        await asyncio.sleep(0.15)
    assert len(times) == 2
    assert times[1] - times[0] >= 0.05


async def test_a_refused_creation_is_told_and_tried_again():
    """One FailedCreate a try; what succeeds in the end is told as the controller wants it."""

    class Refusing(MinimalObjects):
        refusals = 2

        def create(self, resource, obj, *, manager="test"):
            if resource == "pods" and self.refusals:
                self.refusals -= 1
                raise ApiError(403, "Forbidden", "exceeded quota")
            return super().create(resource, obj, manager=manager)

    def plan(view, obj, _now):
        if view.get("pods", "x", "p"):
            return []
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "x"}, "spec": {}}
        return [Create("pods", pod, Emit(obj, "Normal", "SuccessfulCreate", "Created pod: {name}"))]

    async with Running(plan, Refusing()) as running:
        running.objects.create("configmaps", configmap("a"))
        await asyncio.sleep(0.15)
        assert [(reason, text) for _, reason, text in running.objects.events] == [
            ("FailedCreate", "Error creating: exceeded quota"),
            ("FailedCreate", "Error creating: exceeded quota"),
            ("SuccessfulCreate", "Created pod: p"),
        ]


async def test_an_object_that_cannot_be_planned_does_not_stop_the_others():
    """The odd one is logged and tried again, the good one is planned."""
    planned = []

    def plan(_view, obj, _now):
        planned.append(obj["data"]["needed"])
        return []

    async with Running(plan) as running:
        running.objects.create("configmaps", configmap("odd"))
        running.objects.create("configmaps", {**configmap("good"), "data": {"needed": "yes"}})
        await running.reconciler.wait_idle()
    assert planned == ["yes"]


async def test_what_is_gone_has_its_own_plan():
    """The plan for a deleted object gets its key."""
    keys = []

    def gone(_view, key, _now):
        keys.append(key)
        return []

    async with Running(lambda *_: [], gone=gone) as running:
        running.objects.create("configmaps", configmap("a"))
        await running.reconciler.wait_idle()
        running.objects.delete("configmaps", "x", "a")
        await asyncio.sleep(0.02)
    assert keys == [("x", "a")]


async def test_a_runner_over_a_filled_store_plans_what_is_there():
    """After a restart every object is planned once."""
    objects = MinimalObjects()
    objects.create("configmaps", configmap("a"))
    seen = []

    def plan(_view, obj, _now):
        seen.append(obj["metadata"]["name"])
        return []

    controller = Controller("test-controller", "test", "configmaps", plan)
    reconciler = Reconciler(objects, [controller], resources=["configmaps"])
    await reconciler.start()
    await reconciler.wait_idle()
    await reconciler.stop()
    assert seen == ["a"]
