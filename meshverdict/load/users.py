"""The user of exact load: a FastHttpUser whose tasks are due at given times, whatever the answers do.

This module lives in the Locust process. A locustfile subclasses `OpenUser` as it would FastHttpUser:

    class Visitor(OpenUser):
        @task
        def read(self):
            self.client.get("/count/get")

Run without ``--rate`` it *is* a FastHttpUser. With ``--rate 400`` its tasks start 400 times a second, in an open
loop: users have no wait time, their number does not matter, and all tasks of a process share one ``self``, which
takes no cookies. Latency of a task's first request counts from the time it was due, of further ones from the time
they were made. A task must not sleep or call other libraries that wait: the generator would be late, and say so.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import gevent
from gevent.monkey import get_original
from gevent.socket import wait_read
from locust import FastHttpUser, TaskSet, events
from locust.runners import STATE_MISSING, MasterRunner, WorkerRunner
from locust.stats import CSV_STATS_INTERVAL_SEC
from locust.user.task import LOCUST_STATE_WAITING

from meshverdict.load.arrivals import HELP, KINDS, constant, parse_rate
from meshverdict.load.engine_process import EngineProcess
from meshverdict.load.errors import LoadError
from meshverdict.load.openloop import Job, OpenLoop, Stream, Told
from meshverdict.load.recorder import RECORDER, deadline_of, refuse
from meshverdict.load.stats import merge_errors, merge_parts
from meshverdict.load.target import NO_TARGET
from meshverdict.model.errors import EXIT_USAGE, MeshverdictError, UsageError

log = logging.getLogger("meshverdict.load")
EVENTS: Any = events
FINISH, FINISHED = "meshverdict_finish", "meshverdict_finished"
PRIORITY_VARIABLE = "MESHVERDICT_PRIORITY"
_NEARLY_OVER_S, _LATE_START_S = 1.0, 5.0
_OWN_LISTENERS = {"locust.runners", "meshverdict.load.recorder"}


class OpenUser(FastHttpUser):
    """A FastHttpUser that can be driven in an open loop (``--rate``).

    Attributes:
        keep_alive: False opens a connection for every request of an open loop.
        network_timeout: Seconds after which a request is given up; in an open loop from its due time.
    """

    abstract = True
    network_timeout = 10.0
    connection_timeout = 10.0
    max_redirects = 5
    keep_alive = True

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        if is_open(environment):
            # Locust's users are only counted then: the engine does their work.
            self.tasks = [_stand_by]
            vars(self).update(on_start=_nothing, on_stop=_nothing)


def _nothing() -> None:
    """Nothing to start or stop in a user that stands by."""


def _stand_by(user: Any) -> None:
    user._state = LOCUST_STATE_WAITING  # noqa: SLF001  # so that Locust may end it at once
    while True:
        gevent.sleep(3600)


def is_open(environment: Any) -> bool:
    """Whether this run is an open loop."""
    options = environment.parsed_options
    return options is not None and bool(getattr(options, "rate", None) or getattr(options, "rate_for", None))


class Driver:
    """Runs the open loop beside Locust's event loop, and tells Locust what happens."""

    def __init__(self) -> None:
        self._engine: EngineProcess | None = None
        self._environment: Any = None
        self.booted = self._started = time.monotonic()
        self._pump: gevent.Greenlet | None = None
        self._users: list[OpenUser] = []
        self._listeners: list[Any] = []

    def start(self, environment: Any) -> None:
        """Start the open loop.

        Raises:
            MeshverdictError: The options or the tasks do not make one.
        """
        self._environment = environment
        self._started = time.monotonic()
        options = environment.parsed_options
        self._listeners = [
            listener
            for listener in environment.events.request._handlers  # noqa: SLF001  # there is no other way to ask
            if getattr(listener, "__module__", "") not in _OWN_LISTENERS
        ]
        self._users = []
        streams = self._make_streams(environment)
        run_time = getattr(options, "meshverdict_run_time", None) or options.run_time
        loop = OpenLoop(
            streams,
            kind=options.arrivals,
            seed=options.seed,
            share=RECORDER.share,
            duration=float(run_time) if run_time else None,
            deadline=(deadline_of(options) or float("inf")) / 1e3,
            samples=bool(self._listeners),
            fifo=os.environ.get(PRIORITY_VARIABLE) != "normal",
            epoll=get_original("select", "epoll"),
        )
        for user in self._users:
            user.on_start()  # with the stock client: its requests are no arrivals
        self._engine = EngineProcess(loop, fork=get_original("os", "fork"))
        self._pump = gevent.spawn(self._pump_told, self._engine)

    def _make_streams(self, environment: Any) -> list[Stream]:
        options = environment.parsed_options
        jobs = list(self._jobs(environment))
        streams = []
        for tag, rate in parse_rates_for(options.rate_for).items():
            own = tuple(job for job in jobs if tag in getattr(job.task, "locust_tag_set", ()))
            if not own:
                raise UsageError(f"--rate-for {tag}: no task of this run has the tag {tag!r}")
            jobs = [job for job in jobs if job not in own]
            streams.append(Stream(tag, constant(rate), own))
        if options.rate:
            if not jobs:
                raise UsageError("--rate: every task has a rate of its own by --rate-for; leave --rate away")
            streams.insert(0, Stream("", parse_rate(options.rate), tuple(jobs)))
        return streams

    def _jobs(self, environment: Any) -> Any:
        classes = [c for c in environment.user_classes if issubclass(c, OpenUser) and c.weight > 0]
        for user_class in classes:
            if environment.host:
                user_class.host = environment.host
            user = user_class(environment)
            del user.on_start, user.on_stop, user.tasks
            self._users.append(user)
            if not user.tasks:
                raise UsageError(f"user {user_class.__name__}: it has no tasks (or none with these tags)")
            for task in user.tasks:
                if isinstance(task, type) and issubclass(task, TaskSet):
                    raise UsageError(
                        f"user {user_class.__name__}: a nested TaskSet ({task.__name__}) has no place in an open"
                        " loop, where every arrival is somebody else; write its tasks into the user"
                    )
                yield Job(user, task, user_class.weight / len(user.tasks))

    def _pump_told(self, engine: EngineProcess) -> None:
        while not engine.over:
            wait_read(engine.fd)
            for told in engine.read():
                self._take(told)
        if engine.error:
            log.error("the load generator crashed:\n%s", engine.error)
            RECORDER.crashed = True
            refuse(self._environment, LoadError("the load generator crashed: see the log"))

    def _take(self, told: Told) -> None:
        """Give Locust and the record a second that is over."""
        RECORDER.write(told.lines())
        merge_parts(self._environment.stats, told.parts, told.t)
        merge_errors(self._environment.runner, told.errors)
        for sample in told.samples:
            self._fire(sample)

    def _fire(self, sample: Any) -> None:
        """The request event, for those who listen beside Locust itself."""
        error = None if sample.outcome == "ok" else Exception(f"{sample.outcome}: {sample.problem}")
        for listener in self._listeners:
            try:
                listener(
                    request_type=sample.method,
                    name=sample.name,
                    response_time=sample.latency * 1e3,
                    response_length=sample.size,
                    exception=error,
                    context={},
                    response=None,
                    start_time=sample.ended - sample.latency,
                    url=sample.name,
                )
            except Exception:  # as Locust's own events do: a listener's error is logged, and no more
                log.exception("a listener of the request event failed")

    def _run_time_is_over(self) -> bool:
        """Whether Locust's run time has passed; on a busy machine the load may have begun later than its clock."""
        options = self._environment.parsed_options
        since = self.booted if options.headless or options.autostart else self._started
        return bool(options.run_time) and time.monotonic() - since >= float(options.run_time) - 0.5

    def finish(self) -> bool:
        """End the loop and wait for the answers that are under way; False if it had ended before."""
        engine, self._engine = self._engine, None
        if engine is None or self._pump is None:
            return False
        if engine.left > (_LATE_START_S if self._run_time_is_over() else _NEARLY_OVER_S):
            engine.halt()
        patience = max(user.network_timeout for user in self._users) + _LATE_START_S + 1.0
        self._pump.join(patience)
        if not self._pump.ready():
            engine.abort()
            self._pump.join(_NEARLY_OVER_S)
        # A task that never ends, or a reader that broke down: what it would still tell is missing.
        if not engine.over:
            log.error("the load generator did not end: it was killed, and its last seconds are missing")
            RECORDER.crashed = True
            engine.kill()
            self._pump.join(_NEARLY_OVER_S)
        for user in self._users:
            user.on_stop()  # type: ignore[no-untyped-call]
        return True


DRIVER = Driver()


def parse_rates_for(texts: list[str] | None) -> dict[str, float]:
    """Read ``TAG=RATE`` options.

    Raises:
        UsageError: Not of that form.
    """
    rates = {}
    for text in texts or []:
        tag, equals, rate = text.partition("=")
        if not (tag and equals):
            raise UsageError(f"--rate-for {text}: expected TAG=RATE, such as case2=2")
        shape = parse_rate(rate)
        if ":" in rate:
            raise UsageError(f"--rate-for {text}: a number; shapes are for --rate")
        rates[tag] = shape.mean
    return rates


def open_header(environment: Any) -> dict[str, Any] | None:
    """What the record's header says of an open loop; None for a closed one."""
    if not is_open(environment):
        return None
    options = environment.parsed_options
    rates = parse_rates_for(options.rate_for)
    base = parse_rate(options.rate).mean if options.rate else 0.0
    return {
        "seed": options.seed,
        "arrivals": options.arrivals,
        "rate": base + sum(rates.values()),
        "rates": rates or None,
        "shape": options.rate if options.rate and ":" in options.rate else None,
    }


def _options(parser: Any) -> None:
    # Stock Locust opens its web page and its master's port to the whole network, and whoever reaches the page can
    # send load anywhere: both stay on this machine unless --web-host or --master-bind-host says otherwise.
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1")
    parser.add_argument(
        "--rate",
        metavar="RATE",
        help=f"Open loop: tasks start so many times a second, whatever the answers do. {HELP}",
    )
    parser.add_argument(
        "--rate-for",
        action="append",
        metavar="TAG=RATE",
        help="Open loop: tasks with this tag get arrivals of their own; may be given several times",
        include_in_web_ui=False,
    )
    parser.add_argument(
        "--arrivals", choices=KINDS, default="poisson", help="How open-loop arrivals are spaced"
    )
    parser.add_argument("--seed", type=int, default=1, help="The same seed makes the same open-loop arrivals")


def _init(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        runner.register_message(FINISH, _finish_worker, concurrent=True)
        return
    if isinstance(runner, MasterRunner):
        runner.register_message(FINISHED, _worker_finished)
    _need_a_host(environment)
    try:
        open_header(environment)
        if is_open(environment):
            _only_open_users(environment.user_classes)
    except MeshverdictError as error:
        log.error("%s", error)  # noqa: TRY400
        raise SystemExit(error.exit_code) from error


def _only_open_users(classes: list[Any]) -> None:
    if not any(issubclass(c, OpenUser) for c in classes):
        raise UsageError("--rate: the locustfile has no OpenUser whose tasks could be made due")
    others = [c.__name__ for c in classes if not issubclass(c, OpenUser) and (c.weight or c.fixed_count)]
    if others:
        raise UsageError(
            f"--rate: {', '.join(others)}: no OpenUser, so its requests would load the service and be in no record; name the"
            " users that you want on the command line, or make it one"
        )


def _need_a_host(environment: Any) -> None:
    # Stock Locust exits 0 after having done nothing.
    if environment.host or all(user_class.host for user_class in environment.user_classes):
        return
    if environment.web_ui is None:
        log.error(NO_TARGET)
        raise SystemExit(EXIT_USAGE)
    log.warning("%s (or type it into the web page)", NO_TARGET)


def _test_start(environment: Any, **_: Any) -> None:
    if not is_open(environment) or isinstance(environment.runner, MasterRunner) or RECORDER.spare:
        return
    try:
        DRIVER.start(environment)
    except MeshverdictError as error:
        refuse(environment, error)


def _finish(environment: Any, **_: Any) -> None:
    if not is_open(environment):
        return
    if isinstance(environment.runner, MasterRunner):
        if environment.runner.state not in {"running", "spawning"}:
            return
        _finish_workers(environment.runner)
    elif not DRIVER.finish():
        return
    if environment.parsed_options.csv_prefix:
        # Locust writes its CSV files once a second, and not at the end.
        gevent.sleep(CSV_STATS_INTERVAL_SEC + 0.1)


_AWAITED: set[str] = set()


def _finish_workers(runner: Any) -> None:
    """Ask the workers to finish and wait for their last numbers: Locust's own quit waits half a second."""
    _AWAITED.clear()
    _AWAITED.update(client.id for client in runner.clients.running + runner.clients.spawning)
    for client_id in tuple(_AWAITED):
        runner.send_message(FINISH, None, client_id)
    with gevent.Timeout(30.0, False):
        # One that has died says nothing more.
        while _AWAITED & {client.id for client in runner.clients.all if client.state != STATE_MISSING}:
            gevent.sleep(0.02)
    if _AWAITED:
        RECORDER.crashed = True
        log.error(
            "workers that did not finish: %s; their last seconds are missing", ", ".join(sorted(_AWAITED))
        )


def _finish_worker(environment: Any, **_: Any) -> None:
    _finish(environment)
    runner = environment.runner
    runner._send_stats()  # noqa: SLF001  # now, not with the next regular report
    runner.send_message(FINISHED, None)


def _worker_finished(msg: Any, **_: Any) -> None:
    _AWAITED.discard(msg.node_id)


RECORDER.open_header = open_header
EVENTS.init_command_line_parser.add_listener(_options)
EVENTS.init.add_listener(_init)
EVENTS.test_start.add_listener(_test_start)
EVENTS.test_stopping.add_listener(_finish)
EVENTS.quitting.add_listener(_finish)
