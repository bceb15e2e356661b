"""The supervisor: the first process of the world, where store, API, controllers and runtime meet.

bootstrap objects -> runtime (networks, firewall, kubelet) -> controllers -> API -> manifests -> Ready
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meshverdict.cluster.controllers.registry import controllers
from meshverdict.cluster.objects import Objects
from meshverdict.cluster.reconcile import Reconciler
from meshverdict.cluster.store import Store
from meshverdict.lab.bootstrap import apply_all, create_cluster, create_system, install_mesh, warm
from meshverdict.lab.manifests import load
from meshverdict.lab.readiness import ingress_urls, wait_ingress, wait_pods
from meshverdict.lab.state import LabInfo
from meshverdict.mesh.values import Settings
from meshverdict.model.errors import EXIT_HOLDS, EXIT_INVALID, LabError, MeshverdictError
from meshverdict.model.settings import DEFAULT_INGRESS_PORT
from meshverdict.runtime import relay
from meshverdict.runtime.envoy_binary import few_files, proxy_image
from meshverdict.runtime.images import ImageTable
from meshverdict.runtime.runtime import Publisher, Runtime, RuntimeOptions
from meshverdict.runtime.topology import nodes

if TYPE_CHECKING:
    from meshverdict.lab.keeper import Plan, Teller
    from meshverdict.runtime.keeper import WorldHandle
    from meshverdict.runtime.relay import RelayClient

INGRESS_TIMEOUT_S = 10.0  # How long a lab whose state folder was deleted may go on.
REACHABLE_EVERY_S = 2.0

log = logging.getLogger(__name__)


def supervise(world: WorldHandle, plan: Plan, tell: Teller) -> int:
    """Run the lab until it is told to end; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    unwanted = [world.sockets["api"], world.spawner, world.keeper]
    front = relay.start({"ingress": world.sockets["ingress"]}, unwanted)
    # Not asyncio.run: it would wait for every open watch and stream, and nothing of this needs an orderly
    # end. The processes, namespaces, mounts and rules of a lab are the world's, and go when this process goes.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_Supervisor(world, plan, tell, front).run())
    except MeshverdictError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says it all, and a person reads this log
        tell.failed(error)
        return error.exit_code


@dataclass(slots=True)
class _Supervisor:
    world: WorldHandle
    plan: Plan
    tell: Teller
    front: RelayClient

    async def run(self) -> int:
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._watch(ended)
        starting = asyncio.create_task(self._start(ended))
        both: list[asyncio.Future[Any]] = [starting, ended]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            starting.result()
            return await ended
        if not starting.done():
            refuse_early_end(ended.result())
        return ended.result()

    def _watch(self, ended: asyncio.Future[int]) -> None:
        """End on SIGTERM in good order, and when nobody could tell the lab to end any more."""

        def end(status: int) -> None:
            if not ended.done():
                ended.set_result(status)

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, end, EXIT_HOLDS)
        relay_process = os.pidfd_open(self.front.pid)

        def relay_ended() -> None:
            loop.remove_reader(relay_process)
            os.close(relay_process)
            log.error("the relay has ended, and with it the lab")
            end(EXIT_INVALID)

        loop.add_reader(relay_process, relay_ended)
        lock = self.plan.state.lock_file
        ours = lock.stat().st_ino

        def reachable() -> None:
            try:
                still = lock.stat().st_ino == ours
            except FileNotFoundError:
                still = False
            if still:
                loop.call_later(REACHABLE_EVERY_S, reachable)
                return
            log.error(
                "the state folder %s was removed: no command finds this lab any more, so it ends", lock.parent
            )
            end(EXIT_INVALID)

        reachable()

    async def _start(self, ended: asyncio.Future[int]) -> None:
        """Bring everything up, and tell when it is Ready."""
        from meshverdict.lab.api import Api  # noqa: PLC0415 - its imports are heavy; the fork above must stay small

        options = self.plan.options
        manifests = load(options.manifest_paths())
        images = ImageTable([*ImageTable(), proxy_image()])
        if options.images:
            images = images.merged(Path(options.images))
        lab_nodes = nodes(options.settings.zones)
        # Higher than any revision of a lab before: old resourceVersions then get 410, as they should.
        objects = Objects(Store(first_revision=int(time.time())))
        api = Api(objects, self.plan, self.world)
        create_cluster(objects, lab_nodes)
        install_mesh(objects, everywhere=options.settings.sidecars)

        def lost() -> None:
            log.error("the spawner or the delay line has ended, and with it the lab")
            if not ended.done():
                ended.set_result(EXIT_INVALID)

        runtime = await Runtime.start(
            self.world,
            objects,
            RuntimeOptions(
                settings=options.settings,
                logs=self.plan.state.logs / "pods",
                images=images,
                token=api.pod_token,
                on_lost=lost,
                mesh=Settings(inline_endpoints=few_files(), retries=options.settings.mesh_retries),
            ),
        )
        reconciler = Reconciler(
            objects, controllers(api.root_ca), resources=[k.resource for k in objects.kinds.all()]
        )
        await reconciler.start()
        await api.start(runtime)
        await reconciler.wait_idle()
        create_system(objects, lab_nodes, delayed=runtime.delay_line is not None)
        publisher = Publisher(objects, self.front.point, {str(DEFAULT_INGRESS_PORT): "ingress"})
        apply_all(objects, [m for m in manifests if m["kind"] == "Namespace"])
        await reconciler.wait_idle()  # a namespace gets its service account, which a bare pod needs
        apply_all(objects, [m for m in manifests if m["kind"] != "Namespace"])
        self.tell.progress(f"{len(manifests)} objects applied, waiting for the pods")
        count = await wait_pods(objects.store, options.ready_timeout_s)
        published = publisher.targets["ingress"]
        if published is not None:
            await wait_ingress(published, ingress_urls(objects.store), INGRESS_TIMEOUT_S)
        warm(objects)
        log.info("%d pods Ready", count)
        self._announce(api, published is not None)

    def _announce(self, api: Any, published: bool) -> None:  # noqa: FBT001
        plan = self.plan
        info = LabInfo(
            name=plan.options.name,
            pid=plan.keeper_pid,
            kubeconfig=str(plan.state.kubeconfig),
            api=api.url,
            settings=plan.options.settings,
            started=plan.started,
            ingress={"host": "127.0.0.1", "port": plan.ingress_port} if published else None,
            ready_s=round(time.time() - plan.started, 3),
            manifests=plan.options.manifests,
            images=plan.options.images,
        )
        plan.state.write_info(info)
        self.tell.ready(info.as_dict())


def refuse_early_end(status: int) -> None:
    """A lab that ends while it starts did not come up, unless it was asked to end."""
    if status != EXIT_HOLDS:
        raise LabError("a part of the lab ended while it started; see the keeper's log in the state folder")
