"""The mesh's control plane in the supervisor: follows the store, keeps every sidecar's files, says when they are live.

    change -> snapshot -> translate for each sidecar -> publish -> status of the Istio resources

Changes that come while a round is under way make one more round together. It fails closed: what cannot be translated or
is refused by an Envoy leaves the sidecars with the configuration that they have, and the resource's status says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from meshverdict.mesh.bootstrap import bootstrap
from meshverdict.mesh.capture import ISTIO_UID, render
from meshverdict.mesh.identity import certificates
from meshverdict.mesh.inputs import locality, workload
from meshverdict.mesh.sidecar import Translation, translate
from meshverdict.mesh.translation_error import TranslationError, naming
from meshverdict.mesh.values import Mesh, Workload
from meshverdict.model.errors import LabError
from meshverdict.runtime.mesh_snapshot import WATCHED, snapshot
from meshverdict.runtime.mesh_status import Outcome, write_statuses
from meshverdict.runtime.nftables import Nftables, NftError
from meshverdict.runtime.sidecar import RefusedError, Sidecar, SidecarError
from meshverdict.runtime.sidecar_exemption import by_priority, marked
from meshverdict.runtime.sidecar_injection import FOLDER, VOLUME, capture, has_sidecar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from meshverdict.cluster.store import Event, Manifest
    from meshverdict.mesh.values import Settings
    from meshverdict.runtime.mesh_authority import Authority
    from meshverdict.runtime.node_services import KubeletObjects
    from meshverdict.runtime.world import Identity

_RETRY_S: Final = 1.0
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    workload: Workload
    sidecar: Sidecar
    leaving: bool = False


class MeshController:
    """Configures the sidecars of all pods.

    Args:
        objects: The cluster's objects.
        authority: Issues the workloads' certificates.
        settings: Istio's mesh configuration.
        identity: Whether the lab has a range of user ids.
        prefix: Folder with unpacked Debian packages, or empty.
    """

    def __init__(
        self,
        objects: KubeletObjects,
        authority: Authority,
        settings: Settings,
        identity: Identity,
        prefix: str = "",
    ) -> None:
        self._objects = objects
        self._authority = authority
        self._settings = settings
        self._identity: Identity = identity
        self._prefix = prefix
        self._running: dict[str, _Running] = {}
        self._dirty = asyncio.Event()
        self._served: tuple[Mesh, frozenset[str]] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._draining: set[asyncio.Task[None]] = set()
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Follow the store from now on."""
        self._unsubscribe = self._objects.store.subscribe(self._changed)
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._rotate())]

    async def stop(self) -> None:
        """End it; the sidecars go on with what they have."""
        self._unsubscribe()
        ending = [*self._tasks, *self._draining]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    # ---- pods (runtime.node_services.PodNetworking)

    def prepare(self, pod: Manifest, address: str, network: int, volumes: Path) -> None:
        """Before a pod's first container: its traffic captured, its sidecar's files written.

        Raises:
            LabError: The kernel refuses the rules.
            TranslationError: A resource that has no form in Envoy; the text names it.
        """
        if not has_sidecar(pod):
            return
        mesh = self._snapshot()
        proxy = self._workload(pod, address)
        own = (
            ISTIO_UID if self._identity == "range" else 0
        )  # a plain user's containers are all root of the world
        sidecar = Sidecar(proxy.key, volumes / VOLUME, network, own)
        with contextlib.ExitStack() as failed:
            failed.callback(sidecar.close)  # nobody else knows of its descriptor yet
            (request,) = certificates([proxy], self._settings.trust_domain)
            with naming(f"the configuration of {proxy.key}"):
                files = translate(mesh, proxy, FOLDER).files()
            start = bootstrap(proxy, FOLDER)
            if self._identity == "single":
                start = marked(start)
            sidecar.begin(start, self._authority.secrets(request, FOLDER), files)
            self._capture(pod, network)
            failed.pop_all()
        self._running[pod["metadata"]["uid"]] = _Running(proxy, sidecar)
        self._dirty.set()

    def forget(self, uid: str) -> None:
        """The pod has ended."""
        found = self._running.pop(uid, None)
        if found is not None:
            found.sidecar.close()
            self._dirty.set()

    def _workload(self, pod: Manifest, address: str) -> Workload:
        node = self._objects.get("nodes", None, pod["spec"].get("nodeName") or "") or {"metadata": {}}
        labels = node["metadata"].get("labels") or {}
        # The status may not have its address yet.
        found = workload({**pod, "status": {"podIP": address}}, labels)
        if found is None:
            raise LabError(f"pod {pod['metadata']['name']} has a sidecar and no address of its own")
        return replace(found, locality=locality(labels))

    def _capture(self, pod: Manifest, network: int) -> None:
        nft = Nftables(network, self._prefix)
        try:
            rules = render(capture(pod))
            nft.run(rules if self._identity == "range" else by_priority(rules))
        except NftError as error:
            raise LabError(f"the kernel refuses to capture the pod's traffic: {error}") from error
        finally:
            nft.close()

    # ---- rounds

    def _changed(self, event: Event) -> None:
        if event.resource in WATCHED:
            self._dirty.set()
        if event.resource == "pods" and "deletionTimestamp" in event.obj["metadata"]:
            self._drain(event.obj["metadata"]["uid"])

    def _drain(self, uid: str) -> None:
        """As Istio's sidecars at the beginning of their pod's end, whatever its containers do meanwhile."""
        found = self._running.get(uid)
        if found is not None and not found.leaving:
            found.leaving = True
            task = asyncio.create_task(found.sidecar.drain())
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    def _snapshot(self) -> Mesh:
        return replace(snapshot(self._objects.store), settings=self._settings)

    async def _follow(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._round()
            except asyncio.CancelledError:
                raise
            except Exception as error:
                # The sidecars keep what they have, and the control plane its life: the next change may mend it.
                log.exception("the mesh could not be configured")
                self._tell_failure(error)

    def _tell_failure(self, error: Exception) -> None:
        try:
            write_statuses(self._objects, self._snapshot(), Outcome(failures=(f"{error!r}",)))
        except Exception:  # perhaps for the same reason
            log.exception("and the Istio resources' statuses cannot say so")

    async def _round(self) -> None:
        mesh = self._snapshot()
        if self._served == (mesh, frozenset(self._running)):
            return
        rounds = dict(self._running)
        translations: dict[str, Translation] = {}
        untranslated: list[str] = []
        for uid, running in rounds.items():
            now = next((w for w in mesh.workloads if w.key == running.workload.key), running.workload)
            try:
                with naming(f"the configuration of {now.key}"):
                    translations[uid] = translate(mesh, now, FOLDER)
            except TranslationError as error:
                untranslated.append(str(error))  # this sidecar keeps what it has, the others go on
            await asyncio.sleep(0)  # the API goes on in between
        results = await asyncio.gather(
            *(self._publish(rounds[uid].sidecar, t) for uid, t in translations.items())
        )
        # One resource may fail in many sidecars, in the same words.
        failures = tuple(dict.fromkeys([*untranslated, *(str(error) for error in results if error)]))
        again = any(error and not isinstance(error, RefusedError) for error in results)
        self._served = None if again else (mesh, frozenset(rounds))
        write_statuses(self._objects, mesh, Outcome(failures, len(rounds), tuple(translations.values())))
        if failures:
            log.warning("%s", "; ".join(failures))
        if again:
            asyncio.get_running_loop().call_later(_RETRY_S, self._dirty.set)

    @staticmethod
    async def _publish(sidecar: Sidecar, translation: Translation) -> SidecarError | None:
        """Publish to one; what went wrong, or nothing."""
        try:
            await sidecar.publish(translation.files())
        except SidecarError as error:
            return error
        except FileNotFoundError:
            return None  # the pod has just gone, and its folder with it
        except OSError as error:
            return SidecarError(f"the files of {sidecar.name} cannot be written: {error}")
        return None

    # ---- certificates

    async def _rotate(self) -> None:
        while True:
            await asyncio.sleep(self._authority.lifetime.total_seconds() / 2)
            for running in list(self._running.values()):
                (request,) = certificates([running.workload], self._settings.trust_domain)
                with contextlib.suppress(FileNotFoundError):  # the pod has just gone
                    running.sidecar.replace_secrets(self._authority.secrets(request, FOLDER))
