"""Record what a Locust process does, whatever its users are, without touching Locust's own statistics.

This module lives in the Locust process, and importing it from a locustfile is all it takes: it adds the
options ``--record``, ``--deadline`` and ``--share``, and writes the record. Users that wait for answers are
recorded here, from Locust's ``request`` event, as a closed loop. Workers of a distributed run hand their
lines to the master, which writes one record of them all.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import gevent
from locust import events
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from meshverdict.load.outcomes import judge
from meshverdict.load.share import Share
from meshverdict.load.tally import Tally
from meshverdict.load.writer import Discard, RecordWriter, Target, open_writer
from meshverdict.model.errors import MeshverdictError
from meshverdict.model.histogram import RATIO
from meshverdict.model.record import CLOSED, GeneratorSecond, Header, Line
from meshverdict.model.record_reader import RecordReader

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshverdict.model.record import Reason

log = logging.getLogger("meshverdict.load")
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
        running: Whether a header was written and no end yet.
    """

    def __init__(self) -> None:
        self.target: Target = Discard()
        self.share = Share()
        self.running = False
        self.stopped_early = False
        self.open_loop: Header | None = None
        self._writer: RecordWriter | None = None
        self._tally = Tally(0)
        self._deadline_ms: float | None = None
        self._flusher: gevent.Greenlet | None = None
        self._environment: Any = None
        self._fatal = False

    def configure(self, environment: Any) -> None:
        """Take the options, once Locust has parsed them and made its runner."""
        self._environment = environment
        options = environment.parsed_options
        if isinstance(environment.runner, WorkerRunner):
            self.target = Relay()
            return
        where = getattr(options, "record", None)
        alone = isinstance(environment.runner, LocalRunner)
        self.share = Share.parse(getattr(options, "share", None), os.environ)
        if where:
            self._writer = open_writer(where, w=self.share.index if alone and self.share.of > 1 else None)
            self.target = self._writer

    @property
    def recording(self) -> bool:
        """Whether anybody asked for the record."""
        return not isinstance(self.target, Discard)

    def header(self, environment: Any, **given: Any) -> Header:
        """The header of a run that starts now; *given* overrides what a closed loop says."""
        options = environment.parsed_options
        values: dict[str, Any] = {
            "start": round(time.time(), 3),
            "seed": None,
            "arrivals": CLOSED,
            "rate": None,
            "deadline_ms": options.deadline,
            "workers": self.workers(environment),
            "locustfile": str(options.locustfile),
            "host": str(environment.host or next((c.host for c in environment.user_classes if c.host), "")),
            "ratio": RATIO,
            "w": self.share.index if self.share.of > 1 else None,
        }
        return Header(**(values | given))

    def workers(self, environment: Any) -> int:
        """How many processes share the load."""
        if isinstance(environment.runner, MasterRunner):
            return int(environment.runner.worker_count)
        return self.share.of

    def begin(self, header: Header) -> None:
        """Start the record of a run."""
        self.running, self.stopped_early = True, False
        self.guard(lambda: self.target.begin(header))

    def write(self, lines: Iterable[Line]) -> None:
        """Write lines of the running record."""
        self.guard(lambda: self.target.write(lines))

    def end(self, reason: Reason) -> None:
        """Finish the record of the run; a second call does nothing."""
        if self.running:
            self.running = False
            self.guard(lambda: self.target.end(time.time(), reason))

    def guard(self, action: Any) -> None:
        """Do *action*; a record that cannot be written ends the run with an error, once."""
        if self._fatal:
            return
        try:
            action()
        except MeshverdictError as error:
            self._fatal = True
            log.error("%s: the run is stopped, for without its record it proves nothing", error)  # noqa: TRY400
            self._environment.process_exit_code = error.exit_code
            gevent.spawn(self._environment.runner.quit)

    # --- a closed loop, told by Locust's own events ---

    def begin_closed(self, environment: Any) -> None:
        """Start to record users that wait for answers."""
        self._tally = Tally(self.share.index)
        self._deadline_ms = environment.parsed_options.deadline
        self.begin(self.header(environment))
        self._flusher = gevent.spawn(self._flush_each_second)

    def end_closed(self, reason: Reason) -> None:
        """Write what is left of the last second, and the end."""
        if self._flusher is None:
            return
        self._flusher.kill()
        self._flusher = None
        self._flush(int(time.time()), 1.0)
        self.end(reason)

    def count(
        self, name: str, response_time: float | None, response: Any, error: BaseException | None
    ) -> None:
        """Take one request of a closed loop."""
        if self._flusher is None:
            return
        status = int(getattr(response, "status_code", 0) or 0)
        latency = response_time or 0.0
        outcome = judge(status, error, latency, self._deadline_ms)
        self._tally.add(name, outcome, status or (200 if error is None else 0), latency * 1000.0)

    def _flush_each_second(self) -> None:
        second, cpu = int(time.time()), time.process_time()
        began = time.monotonic()
        while True:
            gevent.sleep(second + 1 - time.time())
            now, used = time.monotonic(), time.process_time()
            self._flush(second, (used - cpu) / max(now - began, 1e-3))
            cpu, began = used, now
            # The steady second: a wall clock that steps back must not make a second twice.
            second = max(second + 1, int(time.time()))

    def _flush(self, second: int, cpu: float) -> None:
        lines = self._tally.take(second)
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
    if isinstance(environment.runner, WorkerRunner):
        shares = getattr(environment.parsed_options, "meshverdict_shares", {})
        index = shares.get(environment.runner.client_id, environment.runner.worker_index)
        RECORDER.share = Share(int(index), max(len(shares), int(index) + 1))
    if isinstance(environment.runner, MasterRunner):
        runner = environment.runner
        ready = runner.clients.ready + runner.clients.running + runner.clients.spawning
        environment.parsed_options.meshverdict_shares = {c.id: i for i, c in enumerate(ready)}
        _ARRIVED = RecordReader()
        header = RECORDER.open_loop or RECORDER.header(environment)
        _ARRIVED.header = header
        RECORDER.begin(header)
    elif RECORDER.open_loop is None and RECORDER.recording:
        RECORDER.begin_closed(environment)


def _request(
    name: str, response_time: float | None, response: Any = None, exception: Any = None, **_: Any
) -> None:
    RECORDER.count(name, response_time, response, exception)


def _test_stop(environment: Any, **_: Any) -> None:
    reason: Reason = "stopped" if RECORDER.stopped_early else "done"
    if isinstance(environment.runner, MasterRunner):
        gevent.sleep(0.3)  # the workers' last reports are on their way
        RECORDER.end(reason)
    else:
        RECORDER.end_closed(reason)


def _quitting(environment: Any, **_: Any) -> None:
    # A signal fires this event first, while the test still runs.
    if environment.runner is not None and environment.runner.state in {"running", "spawning"}:
        RECORDER.stopped_early = True


def _report_to_master(data: dict[str, Any], **_: Any) -> None:
    if isinstance(RECORDER.target, Relay):
        data[LINES_KEY] = RECORDER.target.take()


def _worker_report(data: dict[str, Any], **_: Any) -> None:
    lines = (_ARRIVED.feed(json.dumps(line)) for line in data.get(LINES_KEY, ()))
    RECORDER.write([line for line in lines if line is not None])


events.init_command_line_parser.add_listener(_options)
events.init.add_listener(_init)
events.test_start.add_listener(_test_start)
events.request.add_listener(_request)
events.test_stop.add_listener(_test_stop)
events.quitting.add_listener(_quitting)
