"""A cluster without HTTP and without processes: store, objects, controllers and a kubelet that pretends."""

# ruff: noqa: D102, ARG002, A002 - the signatures and their meaning are the writer's

from __future__ import annotations

import asyncio
import copy
import itertools
import time
import uuid

from meshverdict.cluster.controllers.registry import controllers
from meshverdict.cluster.errors import ApiError
from meshverdict.cluster.objects import Objects
from meshverdict.cluster.reconcile import Reconciler
from meshverdict.cluster.store import AlreadyExistsError, Store

ROOT_CA = "-----BEGIN CERTIFICATE-----\n"


def stamp():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class MinimalObjects:
    """The writer's interface over a store, with just the rules that the controllers rely on."""

    def __init__(self):
        self.store = Store()
        self.events = []
        self._names = itertools.count()

    def get(self, resource, namespace, name):
        return self.store.get(resource, namespace, name)

    def list(self, resource, namespace=None):
        return self.store.list(resource, namespace)

    def create(self, resource, obj, *, manager="test"):
        obj = copy.deepcopy(obj)
        meta = obj["metadata"]
        space = self.store.get("namespaces", "", meta.get("namespace", ""))
        if space and space["metadata"].get("deletionTimestamp"):
            raise ApiError(403, "Forbidden", "namespace is being terminated", {})
        if "name" not in meta:
            meta["name"] = f"{meta['generateName']}{next(self._names):05}"
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": stamp()}
        if "spec" in obj:
            meta["generation"] = 1
        if resource == "namespaces":
            obj["spec"] = {"finalizers": ["kubernetes"]}
            obj["status"] = {"phase": "Active"}
        try:
            return self.store.create(resource, obj)
        except AlreadyExistsError:
            raise ApiError(409, "AlreadyExists", meta["name"], {}) from None

    def update(self, resource, obj, *, manager="test"):
        meta = obj["metadata"]
        old = self._current(resource, obj)
        new = dict(obj)
        if "status" in old and resource not in {"configmaps", "endpoints"}:
            new["status"] = old["status"]
        changed = new.get("spec") != old.get("spec")
        if "generation" in old["metadata"] and changed and resource != "pods":
            new["metadata"] = {**meta, "generation": old["metadata"]["generation"] + 1}
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            if resource == "namespaces" and new["spec"]["finalizers"]:
                return self.store.update(resource, new)
            if resource != "pods" or "nodeName" not in new["spec"]:
                return self.store.remove(resource, meta.get("namespace"), meta["name"])
        return self.store.update(resource, new)

    def update_status(self, resource, obj, *, manager="test"):
        old = self._current(resource, obj)
        return self.store.update(resource, {**old, "status": obj["status"]})

    def delete(
        self, resource, namespace, name, *, grace=None, propagation="Background", uid=None, manager="test"
    ):
        old = self.store.get(resource, namespace, name)
        if old is None:
            raise ApiError(404, "NotFound", name, {})
        extra = {"Foreground": ["foregroundDeletion"], "Orphan": ["orphan"]}.get(propagation, [])
        finalizers = [*(old["metadata"].get("finalizers") or []), *extra]
        runs = resource == "pods" and old["spec"].get("nodeName") and grace != 0
        if finalizers or runs or resource == "namespaces":
            meta = {**old["metadata"], "deletionTimestamp": stamp()}
            if finalizers:
                meta["finalizers"] = finalizers
            self.store.update(resource, {**old, "metadata": meta})
        else:
            self.store.remove(resource, namespace, name)

    def finish_pod(self, namespace, name, uid):
        if self.store.get("pods", namespace, name):
            self.store.remove("pods", namespace, name)

    def event(self, obj, *, type, reason, message, source):
        self.events.append((obj["kind"], reason, message))

    def _current(self, resource, obj):
        meta = obj["metadata"]
        old = self.store.get(resource, meta.get("namespace"), meta["name"])
        if old is None:
            raise ApiError(404, "NotFound", meta["name"], {})
        if meta.get("resourceVersion") not in {None, old["metadata"]["resourceVersion"]}:
            raise ApiError(409, "Conflict", meta["name"], {})
        return old


class ToldObjects(Objects):
    """The real writer, which also keeps what it was told as (kind, reason, message)."""

    def __init__(self):
        super().__init__(Store())
        self.events = []

    def event(self, obj, *, type, reason, message, source):
        self.events.append((obj["kind"], reason, message))
        super().event(obj, type=type, reason=reason, message=message, source=source)


class PretendKubelet:
    """Marks bound pods as running and ready, and confirms the end of deleted ones.

    ``verdict(pod)`` may answer another phase than Running, or None to leave a pod alone.
    """

    def __init__(self, objects, verdict=lambda _: "Running"):
        self.objects = objects
        self.verdict = verdict
        self._addresses = itertools.count(1)
        objects.store.subscribe(self._see)

    def _see(self, event):
        if event.resource == "pods" and event.type != "DELETED" and event.obj["spec"].get("nodeName"):
            meta = event.obj["metadata"]
            asyncio.get_running_loop().call_later(
                0.002, self._sync, meta["namespace"], meta["name"], meta["uid"]
            )

    def sync(self):
        """Look at every pod again, after another verdict on it."""
        for pod in self.objects.list("pods"):
            meta = pod["metadata"]
            self._sync(meta["namespace"], meta["name"], meta["uid"])

    def _sync(self, namespace, name, uid):
        pod = self.objects.get("pods", namespace, name)
        if pod is None or pod["metadata"]["uid"] != uid:
            return
        phase = self.verdict(pod)
        if pod["metadata"].get("deletionTimestamp"):
            self.objects.finish_pod(namespace, name, uid)
        elif phase and (pod.get("status") or {}).get("phase", "Pending") != phase:
            self.objects.update_status("pods", {**pod, "status": self._status(pod, phase)}, manager="kubelet")

    def _status(self, pod, phase):
        status = pod.get("status") or {}
        kept = [c for c in status.get("conditions") or [] if c["type"] != "Ready"]
        ready = {
            "type": "Ready",
            "status": "True" if phase == "Running" else "False",
            "lastTransitionTime": stamp(),
        }
        number = next(self._addresses)
        address = status.get("podIP") or f"10.244.{number // 250}.{number % 250 + 1}"
        return {**status, "phase": phase, "podIP": address, "conditions": [*kept, ready]}


class Cluster:
    """Everything together; use as an asynchronous context manager."""

    def __init__(self, nodes=2, verdict=lambda _: "Running", objects=None):
        self.objects = objects or ToldObjects()
        self.store = self.objects.store
        self.reconciler = Reconciler(self.objects, controllers(ROOT_CA))
        self.kubelet = PretendKubelet(self.objects, verdict)
        self._nodes = nodes

    async def __aenter__(self):
        await self.reconciler.start()
        for i in range(self._nodes):
            self.add_node("abcdefgh"[i])
        self.create(
            "namespaces",
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x"}},
        )
        return self

    async def __aexit__(self, *exc):
        await self.reconciler.stop()

    def add_node(self, letter, **spec):
        name = f"node-{letter}"
        labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{letter}"}
        allocatable = {"cpu": "4", "memory": "8Gi", "pods": "500"}
        self.create(
            "nodes",
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "spec": spec,
            },
        )
        node = self.get("nodes", None, name)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp()}
        status = {"allocatable": allocatable, "capacity": allocatable, "conditions": [ready]}
        self.objects.update_status("nodes", {**node, "status": status}, manager="test")

    def create(self, resource, obj):
        return self.objects.create(resource, obj, manager="test")

    def get(self, resource, namespace, name):
        return self.store.get(resource, namespace, name)

    def list(self, resource, namespace="x"):
        return self.store.list(resource, namespace)

    def edit(self, resource, name, change, namespace="x"):
        """Apply ``change(copy)`` to a stored object and write it."""
        obj = copy.deepcopy(self.store.get(resource, namespace, name))
        change(obj)
        return self.objects.update(resource, obj, manager="test")

    async def until(self, claim, patience=5.0):
        """Wait for ``claim()`` to hold and return what it returned."""
        end = time.monotonic() + patience
        while not (value := claim()):
            if time.monotonic() > end:
                raise AssertionError("waited in vain")
            await asyncio.sleep(0.003)
        return value

    async def settled(self):
        """No controller has anything to do, and the kubelet has been heard."""
        for _ in range(50):
            revision = self.store.revision
            await asyncio.sleep(0.012)
            await self.reconciler.wait_idle()
            if self.store.revision == revision:
                return
        raise AssertionError("never settled")


def template(labels=None, **spec):
    containers = [{"name": "c", "image": "lab:1", "ports": [{"name": "http", "containerPort": 8080}]}]
    return {"metadata": {"labels": labels or {"app": "web"}}, "spec": {"containers": containers, **spec}}


def deployment(name="web", replicas=2, **spec):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "x"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template({"app": name}),
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
            },
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            **spec,
        },
    }
