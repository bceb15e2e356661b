"""Make an open loop of a locustfile's users: whose task is due when, and what it came to.

Nothing here knows Locust: users are objects with tasks, and what happened is handed over once a second.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import random
import ssl
import sys
import time
import traceback
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import greenlet  # type: ignore[import-untyped]

from meshverdict.load.engine import Engine
from meshverdict.load.meter import Meter
from meshverdict.load.pool import Pool, resolve, split_origin
from meshverdict.load.session import Session, forget_name
from meshverdict.load.tally import Part, Tally, seconds
from meshverdict.model.limits import raise_file_limit

if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Iterable, Iterator

    from meshverdict.load.arrivals import Kind, Shape
    from meshverdict.load.share import Share
    from meshverdict.model.record import GeneratorSecond, Line, Outcome

_LEAD_S = 0.05
_FILES, _SPARE_FILES = 20_000, 200
_BUSY_RATE = 4000


@dataclass(frozen=True, slots=True)
class Job:
    """One task of one user, and how often it is chosen in comparison."""

    user: Any
    task: Callable[[Any], object]
    weight: float


@dataclass(frozen=True, slots=True)
class Stream:
    """Arrivals of their own: a shape, and the tasks to choose from at each of them."""

    name: str
    shape: Shape
    jobs: tuple[Job, ...]


@dataclass(slots=True)
class Told:
    """What happened in one second.

    Attributes:
        samples: Single requests, for those who listen to Locust's request event; empty if nobody does.
        errors: Tasks that raised, by their traceback.
    """

    t: int
    parts: list[Part]
    generator: GeneratorSecond
    samples: list[Sample] = field(default_factory=list)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)

    def lines(self) -> list[Line]:
        """The record's lines."""
        return [*seconds(self.parts, self.t, self.generator.w), self.generator]


@dataclass(frozen=True, slots=True)
class Sample:
    """One request: what Locust's request event tells."""

    method: str
    name: str
    outcome: Outcome
    status: int
    ended: float
    latency: float
    size: int
    problem: str


class OpenLoop:
    """The open loop of one process.

    Args:
        streams: What is due when.
        kind: Constant or Poisson arrivals.
        seed: The same seed makes the same arrivals and the same choice of tasks.
        share: Which part of the load this process makes.
        duration: Seconds; None until `halt`.
        deadline: Seconds; a good answer later than this is ``late``.
        fifo: Whether to ask for real-time priority.
        samples: Whether single requests are told, too.
        epoll: Makes an epoll object.
    """

    def __init__(
        self,
        streams: Iterable[Stream],
        *,
        kind: Kind,
        seed: int,
        share: Share,
        duration: float | None,
        deadline: float,
        samples: bool = False,
        fifo: bool = True,
        epoll: Callable[[], select.epoll] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.duration = duration
        self.error: str | None = None
        self._streams = list(streams)
        self._kind = kind
        self._seed = seed
        self._share = share
        self._deadline = deadline
        self._fifo = fifo
        self._epoll = epoll
        self._clock = clock
        self._began = 0.0
        self._tell_to: Callable[[Told], None] = lambda _told: None
        self._tally = Tally()
        self._samples: list[Sample] | None = [] if samples else None
        self._errors: Counter[tuple[str, str]] = Counter()
        self._pools: dict[tuple[str, str, int, bool, bool], Pool] = {}
        self._loop: greenlet.greenlet | None = None
        self._resting: list[greenlet.greenlet] = []
        for user in self._users():
            split_origin(user.host)
            self._pool(
                user.host, keep_alive=user.keep_alive, insecure=user.insecure
            )  # names are resolved now

    def open(self) -> None:
        """Make what belongs to the process that will run the loop."""
        files = raise_file_limit(_FILES)
        busy = sum(stream.shape.mean for stream in self._streams) / self._share.of > _BUSY_RATE
        self._meter = Meter(self._share.index, self._tell, busy=busy, fifo=self._fifo, clock=self._clock)
        self._engine = Engine(
            self._arrivals(),
            self._meter,
            most_connections=max(100, files - _SPARE_FILES),
            clock=self._clock,
            epoll=self._epoll,
        )
        for user in self._users():
            self._equip(user)

    def _users(self) -> list[Any]:
        return list({id(job.user): job.user for stream in self._streams for job in stream.jobs}.values())

    def halt(self) -> None:
        """No more arrivals; may be called from a signal handler."""
        self._engine.halt()

    def abort(self) -> None:
        """Give up what is under way, too; may be called from a signal handler."""
        self._engine.abort()

    def run(self, tell: Callable[[Told], None]) -> None:
        """Make the load, and *tell* of every second. Returns when it is over; `error` says if that was too early."""
        self._tell_to = tell
        self._loop = greenlet.getcurrent()
        # Everything made so far stays: collecting it again and again would delay what is due.
        gc.collect()
        gc.freeze()
        try:
            now = self._clock()
            self._meter.start(now)
            self._began = now + _LEAD_S
            self._engine.run()
        except Exception:  # noqa: BLE001  # the process' last words; its parent tells them
            self.error = traceback.format_exc()
        finally:
            self._meter.stop()
            gc.unfreeze()

    def _arrivals(self) -> Iterator[tuple[float, Callable[[float], None]]]:
        streams = [self._stream(number, stream) for number, stream in enumerate(self._streams)]
        began = self._began
        for offset, _number, act in streams[0] if len(streams) == 1 else heapq.merge(*streams):
            yield began + offset, act

    def _stream(self, number: int, stream: Stream) -> Iterator[tuple[float, int, Callable[[float], None]]]:
        offsets = stream.shape.offsets(self._kind, f"{self._seed}/{stream.name}", self._share)
        if self.duration is not None:
            limit = self.duration
            offsets = itertools.takewhile(lambda offset: offset < limit, offsets)
        source = random.Random(f"{self._seed}/{stream.name}/tasks/{self._share.index}")  # noqa: S311
        bounds = list(itertools.accumulate(job.weight for job in stream.jobs))
        total, jobs, choose = bounds[-1], stream.jobs, source.random
        resting, serve, loop = self._resting, self._serve, self._loop

        def act(due: float) -> None:
            job = jobs[bisect_right(bounds, choose() * total)] if len(jobs) > 1 else jobs[0]
            session = job.user.client
            session.due = due
            (resting.pop() if resting else greenlet.greenlet(serve, loop)).switch(job)
            session.due = None

        for offset in offsets:
            yield offset, number, act

    def _serve(self, job: Job) -> None:
        """One greenlet's life: a task after the other. One that raises is counted, and spoils no other."""
        assert self._loop is not None  # noqa: S101  # it called
        me, rest, resting = greenlet.getcurrent(), self._loop.switch, self._resting
        while True:
            try:
                job.task(job.user)
            except Exception as error:  # noqa: BLE001  # a locustfile may raise anything
                trace = "".join(traceback.format_tb(sys.exc_info()[2]))
                self._errors[f"{type(error).__name__}: {error}", trace] += 1
            forget_name()
            resting.append(me)
            job = rest()

    def _count(  # noqa: PLR0917  # called for every request: names cost time
        self,
        method: str,
        name: str,
        outcome: Outcome,
        status: int,
        ended: float,
        latency: float,
        size: int,
        problem: str,
    ) -> None:
        self._tally.add(name, outcome, status, latency * 1e6, method, size, problem)
        if self._samples is not None:
            wall = ended + self._meter.offset
            self._samples.append(Sample(method, name, outcome, status, wall, latency, size, problem))

    def _tell(self, generator: GeneratorSecond) -> None:
        samples = self._samples or []
        if self._samples is not None:
            self._samples = []
        errors, self._errors = self._errors, Counter()
        self._tell_to(Told(generator.t, self._tally.take(), generator, samples, errors))

    # --- users ---

    def _equip(self, user: Any) -> None:
        """Give a user its client on the engine, in place of the stock one."""
        headers = {str(k): str(v) for k, v in (user.default_headers or {}).items()}
        headers.setdefault("User-Agent", "meshverdict")
        headers.setdefault("Accept", "*/*")
        user.client = Session(
            self._engine,
            lambda url: self._pool(url, keep_alive=user.keep_alive, insecure=user.insecure),
            user.host,
            headers=headers,
            timeout=float(user.network_timeout),
            deadline=self._deadline,
            count=self._count,
            most_redirects=int(user.max_redirects),
            further=self._meter.further,
            clock=self._clock,
        )

    def _pool(self, url: str, *, keep_alive: bool, insecure: bool) -> Pool:
        scheme, host, port = split_origin(url)
        key = (scheme, host, port, keep_alive, insecure)
        pool = self._pools.get(key)
        if pool is None:
            context = _tls(insecure=insecure) if scheme == "https" else None
            pool = self._pools[key] = Pool(host, port, resolve(host, port), context, keep_alive=keep_alive)
        return pool


def _tls(*, insecure: bool) -> ssl.SSLContext:
    """A client's TLS settings; *insecure* takes any certificate, which is Locust's default for load tests."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
