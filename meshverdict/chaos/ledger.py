"""What a run changes in the cluster, written into the cluster before it is changed.

A run that is killed plays no rollbacks, and the next one may be another experiment on another machine. So a run
keeps a ConfigMap in the lab, ``meshverdict-run``: who it is, and every object that it is about to make or change,
with what the object was before. Who finds the ledger of a dead run puts everything back. A run that lives is left
alone: its ledger says so every few seconds, and on one machine its process can be looked for.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.chaos.cluster import short
from meshverdict.chaos.manifests import Manifest, Objects, named
from meshverdict.chaos.owner import Owner
from meshverdict.chaos.prober import LABEL
from meshverdict.chaos.rollout import RESTARTED, restart
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from meshverdict.chaos.cluster import KubeAccess

log = logging.getLogger("chaostoolkit")
NAME: Final = "meshverdict-run"
COMPONENT: Final = "run"
FORMAT: Final = "ledger/1"
BEAT_S: Final = 3.0
# A ledger that has not changed for so long belongs to a dead run.
SILENCE_S: Final = 3 * BEAT_S
INJECTION: Final = "istio-injection"
_POLL_S: Final = 0.2
_RESTART_S: Final = 120.0
# Notes of others, about the object rather than in it.
_NOTES: Final = frozenset(
    (RESTARTED, "deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
)
_EMPTY: Final[tuple[Any, ...]] = (None, {}, [], "")
# What the server adds to an object; it may not be sent back.
_SERVERS: Final = (
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


@dataclass
class Ledger:
    """The ledger of the run that lasts.

    Attributes:
        namespace: The lab's namespace that holds it.
        changes: What is about to be changed: an address and, in ``before``, the object as it was, or None.
    """

    access: KubeAccess
    objects: Objects
    namespace: str
    experiment: str
    owner: Owner = field(default_factory=Owner.here)
    changes: list[dict[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)

    def remember(self, manifests: Iterable[tuple[Mapping[str, Any], str | None]]) -> None:
        """Write down objects, each with its namespace, before they are made, changed or deleted.

        Raises:
            ApiException: The cluster does not take it; nothing may be changed then.
            UsageError: A Secret, which would be written down for all who may read the ledger.
        """
        known = {_key(change) for change in self.changes}
        added = []
        for manifest, namespace in manifests:
            change = _place(manifest, namespace)
            if change["kind"] == "Secret":
                raise UsageError(
                    f"Secret {change['metadata'].get('namespace')}/{change['metadata']['name']}: a run changes no Secrets, since"
                    " it writes down what it changes; take it out of the manifests and apply it before"
                )
            if _key(change) not in known:
                known.add(_key(change))
                found = self.objects.get(change, change["metadata"].get("namespace"))
                added.append({**change, "before": None if found is None else bare(found)})
        if added:
            self.changes += added
            try:
                self._write()
            except BaseException:
                # What is not written down must not pass for it when the same object is changed next.
                del self.changes[-len(added) :]
                raise

    def left(self) -> list[dict[str, Any]]:
        """The changes that are still in the cluster."""
        return [change for change in self.changes if not _undone(self.objects, change)]

    def _write(self, *, ended: bool = False) -> None:
        with self._lock:
            if self._stop.is_set() and not ended:
                return
            body = {"data": self._data(ended=ended)}
            self.access.json(self.access.core.patch_namespaced_config_map, NAME, self.namespace, body)

    def _data(self, *, ended: bool = False) -> dict[str, str]:
        owner = {name: getattr(self.owner, name) for name in self.owner.__slots__}
        run = {
            "format": FORMAT,
            "experiment": self.experiment,
            "owner": owner,
            "beat": time.time(),
            "ended": ended,
        }
        return {"run": json.dumps(run), "changes": json.dumps(self.changes)}

    def open(self) -> None:
        """Create the ledger.

        Raises:
            LabError: There is one: another run began at the same moment.
        """
        metadata = {"name": NAME, "namespace": self.namespace, "labels": {LABEL: COMPONENT}}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": self._data()}
        try:
            self.access.json(self.access.core.create_namespaced_config_map, self.namespace, body)
        except ApiException as error:
            raise LabError(
                f"ConfigMap {self.namespace}/{NAME}, where a run writes down what it changes, cannot be made"
                f" ({error.status} {error.reason}); is another run using this cluster?"
            ) from error
        threading.Thread(target=self._beat, name="ledger", daemon=True).start()

    def _beat(self) -> None:
        told = False
        while not self._stop.wait(BEAT_S):
            try:
                self._write()
                told = False
            except (ApiException, HTTPError, OSError) as error:
                if not told:
                    log.warning(
                        "ConfigMap %s/%s could not be renewed (%s): if that lasts, another run takes this one for dead and"
                        " puts back what it changed",
                        self.namespace,
                        NAME,
                        short(error),
                    )
                told = True

    def close(self) -> None:
        """Take the ledger away if everything is as before; otherwise leave it for the next run."""
        self._stop.set()
        left = self.left()
        for change in left:
            log.warning("%s is not as it was before the run; the next run puts it back", named(change))
        if left:
            self._write(ended=True)
        else:
            _delete(self.access, self.namespace)


@contextmanager
def kept(access: KubeAccess, scratch: Path, namespaces: Iterable[str], experiment: str) -> Iterator[Ledger]:
    """A ledger that lasts as long as the block.

    Raises:
        LabError: It cannot be made.
    """
    places = sorted(namespaces)
    ledger = Ledger(access, Objects(access, scratch), "load" if "load" in places else places[0], experiment)
    ledger.open()
    try:
        yield ledger
    finally:
        try:
            ledger.close()
        except (ApiException, HTTPError, OSError, LabError) as error:
            log.warning("The ledger %s/%s could not be closed: %s", ledger.namespace, NAME, error)


class LeftError(LabError):
    """Something that a dead run changed could not be put back; its ledger stays."""


def recover(access: KubeAccess, scratch: Path, namespaces: Iterable[str]) -> list[str]:
    """Put back what dead runs changed; returns what was put back, in words.

    Raises:
        LeftError: Something cannot be put back; everything else is.
        LabError: The run whose ledger it is lives, or its ledger cannot be read.
    """
    done: list[str] = []
    failed: list[str] = []
    objects = Objects(access, scratch)
    for namespace in sorted(namespaces):
        found = _read(access, namespace)
        if found is None:
            continue
        run, changes = found
        _refuse_living(access, namespace, run)
        left = []
        for change in reversed(changes):
            try:
                if _undo(objects, change):
                    done.append(f"{named(change)} as it was before {run.get('experiment')!r}")
            except (ApiException, LabError) as error:
                left.append(f"{named(change)} ({short(error)})")
        _restart(access, [c["metadata"]["name"] for c in changes if c["kind"] == "Namespace"], namespaces)
        if left:
            failed.append(f"{', '.join(left)}: ConfigMap {namespace}/{NAME} says how it was")
        else:
            _delete(access, namespace)
    if failed:
        raise LeftError(
            f"what an earlier run changed could not be put back ({len(done)} other objects were): {'; '.join(failed)}."
            " Put it back by hand, and delete that ConfigMap"
        )
    return done


def _restart(access: KubeAccess, relabelled: Iterable[str], lab: Iterable[str]) -> None:
    """Pods made while a namespace's label was another one have, or lack, a sidecar: make them anew."""
    names = sorted(set(relabelled) & set(lab))
    if names:
        restart(access, names, _RESTART_S)


def _read(access: KubeAccess, namespace: str) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    chosen = f"{LABEL}={COMPONENT}"
    items = access.json(access.core.list_namespaced_config_map, namespace, label_selector=chosen)["items"]
    if not items:
        return None
    data = items[0].get("data") or {}
    try:
        run, changes = json.loads(data["run"]), json.loads(data["changes"])
    except (KeyError, ValueError) as error:
        raise LabError(
            f"ConfigMap {namespace}/{NAME} cannot be read ({error!r}): see what it says, put that back by hand,"
            f" and delete it: kubectl delete configmap -n {namespace} {NAME}"
        ) from error
    if run.get("format") != FORMAT:
        raise LabError(
            f"ConfigMap {namespace}/{NAME} has format {run.get('format')!r}, this version reads {FORMAT}: use"
            " the version that wrote it"
        )
    return run, changes


def _refuse_living(access: KubeAccess, namespace: str, run: Mapping[str, Any]) -> None:
    """Refuse to touch the ledger of a run that lives."""
    if run.get("ended"):
        return
    owner = Owner(**run["owner"])
    lives = owner.lives()
    deadline = time.monotonic() + SILENCE_S
    if lives is None:
        log.info("A run on %s may still last; listening for %g s", owner.host, SILENCE_S)
    while lives is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        again = _read(access, namespace)
        if again is None:
            return
        if again[0].get("beat") != run.get("beat"):
            lives = True
    if lives:
        raise LabError(
            f"another run uses this cluster: {run.get('experiment')!r}, process {owner.pid} on {owner.host}; wait"
            " for its end"
        )


def _undo(objects: Objects, change: Mapping[str, Any]) -> bool:
    """Put one object back; False when it is as it was."""
    if _undone(objects, change):
        return False
    namespace = change["metadata"].get("namespace")
    if change["before"] is None:
        return objects.delete(change, namespace)
    objects.restore(change["before"], namespace)
    return True


def _undone(objects: Objects, change: Mapping[str, Any]) -> bool:
    # Of a kind that the cluster has forgotten, as when a mesh was uninstalled, nothing is there.
    known = objects.knows(change)
    found = objects.get(change, change["metadata"].get("namespace")) if known else None
    before: Mapping[str, Any] | None = change["before"]
    if found is None or before is None:
        return found is None and before is None
    now = bare(found)
    labels = now["metadata"].get("labels") == before["metadata"].get("labels")
    notes = [
        {k: v for k, v in (o["metadata"].get("annotations") or {}).items() if k not in _NOTES}
        for o in (now, before)
    ]
    return (
        labels
        and notes[0] == notes[1]
        and all(_same(now.get(k), v) for k, v in before.items() if k != "metadata")
    )


def _same(now: Any, before: Any) -> bool:
    """Whether two parts of an object mean the same: neither an empty field nor a mere restart counts."""
    if now in _EMPTY and before in _EMPTY:
        return True
    one, two = ({} if value is None else value for value in (now, before))
    if isinstance(one, dict) and isinstance(two, dict):
        return all(_same(one.get(k), two.get(k)) for k in one.keys() | two.keys() if k != RESTARTED)
    return bool(now == before)


def bare(found: Mapping[str, Any]) -> Manifest:
    """An object as one would write it: without what the server added."""
    metadata = {k: v for k, v in found["metadata"].items() if k not in _SERVERS}
    return {k: v for k, v in found.items() if k not in {"status", "metadata"}} | {"metadata": metadata}


def address(version: str, kind: str, name: str) -> Manifest:
    """An object by its name alone, for `Ledger.remember`."""
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}


def _place(manifest: Mapping[str, Any], namespace: str | None) -> dict[str, Any]:
    metadata = manifest.get("metadata") or {}
    where = metadata.get("namespace") or namespace
    place = {"namespace": where} if where else {}
    return {
        "apiVersion": manifest.get("apiVersion"),
        "kind": manifest.get("kind"),
        "metadata": {"name": metadata.get("name"), **place},
    }


def _key(change: Mapping[str, Any]) -> tuple[Any, ...]:
    metadata = change["metadata"]
    return change["apiVersion"], change["kind"], metadata.get("namespace"), metadata["name"]


def _delete(access: KubeAccess, namespace: str) -> None:
    try:
        access.json(access.core.delete_namespaced_config_map, NAME, namespace)
    except ApiException as error:
        if error.status != 404:
            raise
