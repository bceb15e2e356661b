"""Record what a Locust process does, whatever its users are, without touching Locust's own statistics.

This module lives in the Locust process, and importing it from a locustfile is all it takes: it adds the
options ``--record``, ``--deadline`` and ``--share``, and writes the record. Users that wait for answers are
recorded here, from Locust's ``request`` event, as a closed loop. Workers of a distributed run hand their
lines to the master, which writes one record of them all.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from typing import TYPE_CHECKING, Any

import gevent
from locust import events
from locust.runners import STATE_MISSING, LocalRunner, MasterRunner, WorkerRunner

from meshverdict.load.outcomes import judge
from meshverdict.load.share import Share
from meshverdict.load.tally import Tally, seconds
from meshverdict.load.writer import Discard, Target, open_writer
from meshverdict.model.errors import MeshverdictError, UsageError
from meshverdict.model.histogram import FINE
from meshverdict.model.record import CLOSED, GeneratorSecond, Header, Line
from meshverdict.model.record_reader import RecordReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshverdict.model.record import Reason

log = logging.getLogger("meshverdict.load")
EVENTS: Any = events
LINES_KEY = "meshverdict_lines"


class Relay:
    """On a worker: lines wait here until Locust's next report to the master."""

    def __init__(self) -> None:
        self.waiting: list[dict[str, Any]] = []

    def begin(self, header: Header) -> None:
        """The master writes the header."""

    def write(self, lines: Iterable[Line]) -> None:
        """Queue lines."""
        self.waiting.extend(line.as_json() for line in lines)

    def end(self, when: float, reason: Reason) -> None:
        """The master writes the end."""

    def take(self) -> list[dict[str, Any]]:
        """The lines that wait; they are the caller's now."""
        taken, self.waiting = self.waiting, []
        return taken


class Recorder:
    """The record of this process' runs. There is one, `RECORDER`, because Locust's events are global.

    Attributes:
        target: Where lines go.
        share: Which worker of how many this process is.
        crashed: Set when the generator broke down.
        spare: Whether this process is a worker without a part in the run.
        open_header: What the header says of an open loop; answers None for a closed one.
    """

    def __init__(self) -> None:
        self.target: Target = Discard()
        self.share = Share()
        self.crashed = False
        self.spare = False
        self.open_header: Callable[[Any], dict[str, Any] | None] = lambda _environment: None
        self._began: float | None = None
        self._tally: Tally | None = None
        self._deadline_ms: float | None = None
        self._flusher: gevent.Greenlet | None = None
        self._second = 0
        self._environment: Any = None
        self._broken = False

    def configure(self, environment: Any) -> None:
        """Take the options, once Locust has parsed them and made its runner."""
        self._environment = environment
        options = environment.parsed_options
        if isinstance(environment.runner, WorkerRunner):
            return
        self.share = Share.parse(options.share, os.environ)
        if options.record:
            alone = isinstance(environment.runner, LocalRunner)
            self.target = open_writer(
                options.record, w=self.share.index if alone and self.share.of > 1 else None
            )

    @property
    def recording(self) -> bool:
        """Whether anybody asked for the record."""
        return not isinstance(self.target, Discard)

    def header(self, environment: Any, **given: Any) -> Header:
        """The header of a run that starts now; *given* overrides what a closed loop says."""
        options = environment.parsed_options
        master = isinstance(environment.runner, MasterRunner)
        values: dict[str, Any] = {
            "start": round(time.time(), 3),
            "seed": None,
            "arrivals": CLOSED,
            "rate": None,
            "deadline_ms": deadline_of(options),
            "workers": int(environment.runner.worker_count) if master else self.share.of,
            "locustfile": str(options.locustfile),
            "host": str(environment.host or next((c.host for c in environment.user_classes if c.host), "")),
            "ratio": FINE,
            "w": self.share.index if self.share.of > 1 else None,
        }
        return Header(**(values | given))

    def begin(self, header: Header) -> None:
        """Start the record of a run."""
        self._began, self.crashed, self._broken = time.monotonic(), False, False
        self._guard(lambda: self.target.begin(header))

    def write(self, lines: Iterable[Line]) -> None:
        """Write lines of the running record."""
        self._guard(lambda: self.target.write(lines))

    def end(self) -> None:
        """Finish the record of the run; a second call does nothing."""
        if self._began is None:
            return
        run_time = self._environment.parsed_options.run_time
        whole = bool(run_time) and time.monotonic() - self._began >= float(run_time) - 1.0
        reason: Reason = "crashed" if self.crashed else "done" if whole else "stopped"
        self._began = None
        self._guard(lambda: self.target.end(time.time(), reason))

    def _guard(self, action: Callable[[], None]) -> None:
        """Do *action*; a record that cannot be written ends the run with an error, once."""
        if self._broken:
            return
        try:
            action()
        except MeshverdictError as error:
            self._broken = True
            refuse(self._environment, error)

    # --- a closed loop, told by Locust's own events ---

    def begin_closed(self, environment: Any) -> None:
        """Start to record users that wait for answers."""
        self._tally = Tally()
        self._deadline_ms = deadline_of(environment.parsed_options)
        self.begin(self.header(environment))
        self._flusher = gevent.spawn(self._flush_each_second)

    def end_closed(self) -> None:
        """Write what is left of the last second."""
        if self._flusher is not None:
            self._flusher.kill()
            self._flusher = None
            self._flush(self._second or int(time.time()), 0.0)
            self._tally = None

    def count(
        self, method: str, name: str, milliseconds: float | None, response: Any, error: BaseException | None
    ) -> None:
        """Take one request of a closed loop."""
        if self._tally is None:
            return
        status = int(getattr(response, "status_code", 0) or 0)
        latency = milliseconds or 0.0
        outcome = judge(status, error, latency, self._deadline_ms)
        known = status or (200 if error is None else 0)
        self._tally.add(name, outcome, known, latency * 1000.0, method=method)

    def _flush_each_second(self) -> None:
        self._second, cpu, began = int(time.time()), time.process_time(), time.monotonic()
        while True:
            gevent.sleep(max(0.01, self._second + 1 - time.time()))
            if time.time() < self._second + 1:
                continue  # the wall clock went back
            now, used = time.monotonic(), time.process_time()
            self._flush(self._second, (used - cpu) / max(now - began, 1e-3))
            cpu, began = used, now
            self._second = int(time.time())

    def _flush(self, second: int, cpu: float) -> None:
        assert self._tally is not None  # noqa: S101  # only called while a closed loop is recorded
        lines = seconds(self._tally.take(), second, self.share.index)
        done = sum(line.n for line in lines)
        users = int(getattr(self._environment.runner, "user_count", 0))
        generator = GeneratorSecond(
            t=second,
            w=self.share.index,
            scheduled=done,
            sent=done,
            dropped=0,
            in_flight=users,
            connections=users,
            lag=None,
            cpu=cpu,
            priority="normal",
        )
        self.write([*lines, generator])


def deadline_of(options: Any) -> float | None:
    """The deadline in milliseconds; the web page's field brings text.

    Raises:
        UsageError: It is no time.
    """
    if options.deadline in {None, ""}:
        return None
    try:
        deadline = float(options.deadline)
    except ValueError:
        deadline = math.nan
    if not (math.isfinite(deadline) and deadline > 0):
        raise UsageError(f"--deadline {options.deadline}: milliseconds above 0")
    return deadline


def refuse(environment: Any, error: MeshverdictError) -> None:
    """A run that cannot go on: end it, with the reason in the log and in the exit code."""
    log.error("%s", error)
    environment.process_exit_code = error.exit_code
    gevent.spawn(environment.runner.quit if environment.web_ui is None else environment.runner.stop)


RECORDER = Recorder()
_ARRIVED = RecordReader()


def _options(parser: Any) -> None:
    parser.add_argument(
        "--record",
        metavar="FILE",
        help="Write the load record (format load/1, one JSON line a second) to FILE; '-' is standard output,"
        " and then everything else goes to standard error",
        include_in_web_ui=False,
    )
    parser.add_argument(
        "--deadline",
        type=float,
        metavar="MS",
        help="A good answer later than MS milliseconds is recorded as 'late', not as goodput",
    )
    parser.add_argument(
        "--share",
        metavar="K/N",
        help="This process is worker K (from 0) of N that know nothing of each other: it makes 1/N of the rate,"
        " with its own part of the seed. Default: JOB_COMPLETION_INDEX of MESHVERDICT_WORKERS, where set",
        include_in_web_ui=False,
    )


def _init(environment: Any, **_: Any) -> None:
    try:
        deadline_of(environment.parsed_options)
        RECORDER.configure(environment)
    except MeshverdictError as error:
        log.error("%s", error)  # noqa: TRY400
        raise SystemExit(error.exit_code) from error
    if isinstance(environment.runner, MasterRunner):
        environment.events.worker_report.add_listener(_worker_report)
    if isinstance(environment.runner, WorkerRunner):
        environment.events.report_to_master.add_listener(_report_to_master)


def _test_start(environment: Any, **_: Any) -> None:
    global _ARRIVED  # noqa: PLW0603  # one run after the other in the same web UI
    runner, options = environment.runner, environment.parsed_options
    try:
        deadline_of(options)
        given = RECORDER.open_header(environment)
    except MeshverdictError as error:
        refuse(environment, error)
        return
    if isinstance(runner, WorkerRunner):
        shares = getattr(options, "meshverdict_shares", {})
        RECORDER.spare = runner.client_id not in shares
        if RECORDER.spare:
            log.warning(
                "this worker came too late to share the load that is running; it waits for the next run"
            )
            return
        RECORDER.share = Share(shares[runner.client_id], len(shares))
        RECORDER.target = Relay() if options.record else Discard()
    elif isinstance(runner, MasterRunner):
        ready = runner.clients.ready + runner.clients.running + runner.clients.spawning
        options.meshverdict_shares = {client.id: index for index, client in enumerate(ready)}
        options.meshverdict_run_time = options.run_time
        header = RECORDER.header(environment, **(given or {}))
        _ARRIVED = RecordReader()
        _ARRIVED.header = header
        RECORDER.begin(header)
        return
    if given is not None:
        RECORDER.begin(RECORDER.header(environment, **given))
    elif RECORDER.recording:
        RECORDER.begin_closed(environment)


def _request(
    request_type: str,
    name: str,
    response_time: float | None,
    response: Any = None,
    exception: Any = None,
    **_: Any,
) -> None:
    RECORDER.count(request_type, name, response_time, response, exception)


def _test_stop(environment: Any, **_: Any) -> None:
    RECORDER.end_closed()
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        gevent.sleep(0.3)  # the workers' last reports are on their way
        there = {client.id for client in runner.clients.all if client.state != STATE_MISSING}
        gone = set(getattr(environment.parsed_options, "meshverdict_shares", {})) - there
        if gone:
            log.error(
                "workers that were lost: %s; their part of the load is missing", ", ".join(sorted(gone))
            )
            RECORDER.crashed = True
    RECORDER.end()


def _report_to_master(data: dict[str, Any], **_: Any) -> None:
    if isinstance(RECORDER.target, Relay):
        data[LINES_KEY] = RECORDER.target.take()


def _worker_report(data: dict[str, Any], **_: Any) -> None:
    lines = (_ARRIVED.feed(json.dumps(line)) for line in data.get(LINES_KEY, ()))
    RECORDER.write([line for line in lines if line is not None])


EVENTS.init_command_line_parser.add_listener(_options)
EVENTS.init.add_listener(_init)
EVENTS.test_start.add_listener(_test_start)
EVENTS.request.add_listener(_request)
EVENTS.test_stop.add_listener(_test_stop)
