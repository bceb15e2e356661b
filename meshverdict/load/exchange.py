"""One request and what became of it: the value that travels through the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshverdict.load.connection import Connection
    from meshverdict.load.pool import Pool
    from meshverdict.model.record import Outcome


class Exchange:
    """A request under way, or over.

    Attributes:
        due: When it was scheduled, seconds of the steady clock; latency counts from here.
        timeout: Seconds after *due* at which it is given up.
        done: Called once when it is over, with the exchange.
        scheduled: Whether *due* was given by the schedule, so that sending it later is the generator's fault.
        repeatable: Whether it may be sent again when an idle connection turns out to be dead.
        ended: When it was over.
        status: HTTP status; 0 without an answer.
        failure: What went wrong, as an outcome; None when an answer came.
        problem: The same in words.
        sent: Whether it was handed to the kernel.
    """

    __slots__ = ("body", "connection", "data", "done", "due", "ended", "failure", "head", "head_only", "pool", "problem",
                 "repeatable", "scheduled", "sent", "status", "timeout")  # fmt: skip

    def __init__(
        self,
        pool: Pool,
        data: bytes,
        due: float,
        timeout: float,
        done: Callable[[Exchange], object],
        *,
        head_only: bool = False,
        repeatable: bool = True,
        scheduled: bool = True,
    ) -> None:
        self.pool = pool
        self.data = data
        self.due = due
        self.timeout = timeout
        self.done = done
        self.head_only = head_only
        self.repeatable = repeatable
        self.scheduled = scheduled
        self.ended = 0.0
        self.status = 0
        self.head = b""
        self.body: bytes | bytearray = b""
        self.failure: Outcome | None = None
        self.problem = ""
        self.sent = False
        self.connection: Connection | None = None
