"""Brings Services and policies into the kernel of every node, and says when they are there.

    store --changes--> one compilation for all nodes --> one transaction a node --> who waits is told

It fails closed: a pod's processes are started only after the ruleset of its node that knows the pod's
address has been loaded, and a ruleset that is refused leaves the last good one in force.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from meshverdict.model.errors import UnsupportedError
from meshverdict.network.nft import NftSettings, NodeRuleset, render
from meshverdict.network.policy import compile_policies
from meshverdict.network.services import compile_services
from meshverdict.network.values import PodNet, pod_net
from meshverdict.runtime.nftables import Nftables, NftError, TransactionTooLongError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from meshverdict.cluster.store import Event, Store
    from meshverdict.runtime.topology import Node

POLICIES: Final = "networkpolicies.networking.k8s.io"
SLICES: Final = "endpointslices.discovery.k8s.io"
_WATCHED: Final = frozenset({"pods", "namespaces", "services", SLICES, POLICIES})
_KEPT_TIMES: Final = 1000
_REST: Final = 2.0  # times as long as the last application took
_LONGEST_REST_S: Final = 0.05
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """One application of changes.

    Attributes:
        at: Unix time when all nodes had it.
        seconds: How long compiling and loading took.
    """

    at: float
    seconds: float


@dataclass(slots=True)
class _NodeState:
    node: Node
    nft: Nftables
    text: str = ""
    covered: frozenset[str] = frozenset()
    deciders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    generation: int | None = None


class Firewall:
    """Keeps the rulesets of all nodes equal to the store's intent.

    Args:
        networks: Network namespace of each node by name.
        prefix: Folder with unpacked Debian packages, or empty.
        on_refused: Told when nftables refuses a ruleset (an event for people).
    """

    def __init__(
        self,
        store: Store,
        nodes: Sequence[Node],
        networks: Mapping[str, int],
        settings: NftSettings,
        *,
        prefix: str = "",
        on_refused: Callable[[str], None] | None = None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._on_refused = on_refused
        self._nodes = {n.name: _NodeState(n, Nftables(networks[n.name], prefix)) for n in nodes}
        self._timer: asyncio.TimerHandle | None = None
        self._rested = 0.0
        self._waiting: list[tuple[str, str, asyncio.Future[None]]] = []
        self.applied: deque[Applied] = deque(maxlen=_KEPT_TIMES)
        self.revision = 0
        self._unsubscribe: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Load what the store says now, and follow it."""
        self._unsubscribe = self._store.subscribe(self._changed)
        self.apply()

    def stop(self) -> None:
        """Follow no more; the rulesets stay in force."""
        self._unsubscribe()
        self._unsubscribe = lambda: None
        if self._timer is not None:
            self._timer.cancel()

    async def enforced(self, node: str, address: str) -> None:
        """Wait until the node's kernel has a ruleset that knows this pod address."""
        if address in self._nodes[node].covered and self._timer is None:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((node, address, future))
        self._schedule()
        await future

    def policies_of(self, node: str, decider: str) -> tuple[str, ...]:
        """The policies (``namespace/name``) that a decider in this node's flow log stands for."""
        return self._nodes[node].deciders.get(decider, ())

    def _changed(self, event: Event) -> None:
        if event.resource in _WATCHED and _matters(event):
            self._schedule(urgent=event.resource == POLICIES)

    def _schedule(self, *, urgent: bool = False) -> None:
        """Once the loop is idle: a hundred changes made at once are one transaction.

        Rulesets of big labs take long: between two of them the loop gets time for others, unless a
        policy has changed, because people measure how long that takes.
        """
        if self._timer is not None:
            if not urgent:
                return
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        due = loop.time() if urgent else max(loop.time(), self._rested)
        self._timer = loop.call_at(due, self.apply)

    def apply(self) -> None:
        """Compile and load now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        begun = time.perf_counter()
        self._compile_and_load()
        took = time.perf_counter() - begun
        self.applied.append(Applied(time.time(), took))
        self._rested = asyncio.get_running_loop().time() + min(_REST * took, _LONGEST_REST_S)
        self._tell()

    def _compile_and_load(self) -> None:
        revision = self._store.revision
        pods = [pod for manifest in self._store.list("pods") if (pod := pod_net(manifest))]
        namespaces = {
            n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in self._store.list("namespaces")
        }
        try:
            rules = compile_policies(self._store.list(POLICIES), pods, namespaces)
            services = compile_services(self._store.list("services"), self._store.list(SLICES))
        except UnsupportedError as error:  # past admission: nothing may be enforced by half
            self._refused(f"the last good rulesets stay in force: {error}")
            return
        good = True
        for state in self._nodes.values():
            ruleset = render(
                state.node.net, pods=pods, services=services, rules=rules, settings=self._settings
            )
            good = self._load(state, ruleset, pods) and good
        if good:
            self.revision = revision

    def _load(self, state: _NodeState, ruleset: NodeRuleset, pods: Sequence[PodNet]) -> bool:
        text = ruleset.text
        if text != state.text:
            try:
                self._transact(state, ruleset, text)
            except NftError as error:
                self._refused(
                    f"node {state.node.name}: nftables refused, the last good ruleset stays: {error}"
                )
                return False
            state.text = text
        state.deciders = (
            {**state.deciders, **ruleset.deciders} if len(state.deciders) < 1000 else ruleset.deciders
        )
        state.covered = frozenset(p.ip for p in pods if p.node == state.node.name)
        return True

    def _refused(self, message: str) -> None:
        log.error("%s", message)
        if self._on_refused:
            self._on_refused(message)

    def _transact(self, state: _NodeState, ruleset: NodeRuleset, text: str) -> None:
        if state.generation is None:
            try:
                state.nft.run(text)
            except TransactionTooLongError:
                log.info("node %s: ruleset of %d bytes is loaded in parts", state.node.name, len(text))
            else:
                return
        self._in_parts(state, ruleset)

    def _in_parts(self, state: _NodeState, ruleset: NodeRuleset) -> None:
        """A big ruleset for a small send buffer; from then on always in parts, one generation after another."""
        generation = (state.generation or 0) + 1
        whole = state.generation is None and bool(state.text)
        parts = ruleset.transactions(generation, previous=state.generation)
        try:
            for number, part in enumerate(parts, 1):
                last = number == len(parts)
                state.nft.run(part + ("delete table ip meshverdict\n" if last and whole else ""))
        except NftError:
            # Only the last part meets packets; what was loaded before it is taken away again.
            name = f"meshverdict_{generation}"
            state.nft.run(f"add table ip {name}\ndelete table ip {name}\n")
            raise
        state.generation = generation

    def _tell(self) -> None:
        still = []
        for node, address, future in self._waiting:
            if future.done():
                continue
            if address in self._nodes[node].covered:
                future.set_result(None)
            else:
                still.append((node, address, future))
        self._waiting = still


def _matters(event: Event) -> bool:
    """Whether a change can change a ruleset; most changes of pods are only of their status."""
    if event.resource == "pods":
        return event.old is None or event.type == "DELETED" or _address(event.obj) != _address(event.old)
    if event.old is None or event.type == "DELETED":
        return True
    return _essence(event.obj) != _essence(event.old)


def _address(pod: Mapping[str, Any]) -> PodNet | None:
    """What of a pod the rulesets know; whether it is Ready is the EndpointSlices' matter."""
    net = pod_net(pod)
    return replace(net, ready=True) if net else None


def _essence(obj: Mapping[str, Any]) -> tuple[Any, ...]:
    meta = obj["metadata"]
    return (
        obj.get("spec"),
        obj.get("endpoints"),
        obj.get("ports"),
        meta.get("labels"),
        meta.get("annotations"),
    )
