"""Who may connect to whom, by trying: what probers saw, and what an experiment expects of it. Pure.

Behind a proxy a dropped packet looks like a slow upstream, so the truth about a policy is whether a new TCP
connection from one namespace to another opens.
"""

from __future__ import annotations

import bisect
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from meshverdict.model.errors import UsageError

State = Literal["open", "closed"]
STATES: Final = ("open", "closed")
# A prober tells of every second; a log that was lost is read again from where it ended, which takes a while.
SILENT_S: Final = 20.0
_SLOWEST_MS: Final = SILENT_S * 1000 / 2  # a prober tells of a second once the attempt after it has ended
_KEYS: Final = ("from", "to", "untreated", "treated", "every_ms", "talk")


@dataclass(frozen=True, slots=True)
class Connection:
    """One pair that is tried all the time.

    Attributes:
        source: Namespace of the prober.
        to: ``service.namespace:port``.
        untreated: What is expected without the treatment.
        treated: What is expected with it.
        every_ms: A new connection every so often; the resolution of its times.
        talk: Text that a connection which stays open sends, such as ``PING`` with a line end; None for none.
    """

    source: str
    to: str
    untreated: State = "open"
    treated: State = "open"
    every_ms: float = 200.0
    talk: str | None = None

    def __str__(self) -> str:
        return f"{self.source} → {self.to}"

    def expected(self, *, treated: bool) -> State:
        """What is expected now."""
        return self.treated if treated else self.untreated

    def as_target(self) -> dict[str, Any]:
        """What the prober's program is told."""
        target: dict[str, Any] = {"to": self.to, "every_ms": self.every_ms}
        return target | ({"talk": self.talk} if self.talk else {})

    @classmethod
    def parse(cls, value: Any) -> Connection:
        """Read ``{"from": "b-apacherr", "to": "redis-svc.d-redis:6379", "treated": "closed"}``.

        Raises:
            UsageError: A key is missing, unknown or wrong.
        """
        if not isinstance(value, Mapping) or not {"from", "to"} <= set(value) <= set(_KEYS):
            raise UsageError(
                f"connections: {value!r}: an object with `from` and `to`, and any of {', '.join(_KEYS[2:])}"
            )
        made = cls(
            str(value["from"]),
            str(value["to"]),
            value.get("untreated", "open"),
            value.get("treated", "open"),
            _number(value.get("every_ms", 200.0)),
            value.get("talk"),
        )
        if made.untreated not in STATES or made.treated not in STATES:
            raise UsageError(f"connections: {made}: `untreated` and `treated` are one of {', '.join(STATES)}")
        if not made.to.rpartition(":")[2].isdigit() or not 1 <= made.every_ms <= _SLOWEST_MS:
            raise UsageError(
                f"connections: {made}: `to` is name:port, and `every_ms` from 1 to {_SLOWEST_MS:g}"
            )
        return made


@dataclass(frozen=True, slots=True)
class Change:
    """A connection's state changed with the attempt that began at *t* (unix seconds)."""

    t: float
    state: str
    why: str | None = None


@dataclass
class Seen:
    """Everything seen of one connection, in order of time; filled by a thread, read by others.

    Attributes:
        connection: Which.
        changes: Of its state.
        talk: Of the connection that stays open.
        opened: Attempts.
        closed: Attempts.
        latest: The last second that was told of, by the prober's clock.
        heard: When something was last told, by ours.
    """

    connection: Connection
    changes: list[Change] = field(default_factory=list)
    talk: list[Change] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    latest: float = 0.0
    heard: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, line: Mapping[str, Any]) -> None:
        """One line of the prober; what was seen before is ignored."""
        with self._lock:
            if "state" in line:
                self._append(self.changes, Change(float(line["t"]), str(line["state"]), line.get("why")))
            elif "talk" in line:
                self._append(self.talk, Change(float(line["t"]), str(line["talk"])))
            elif "second" in line and float(line["second"]) > self.latest:
                self.opened += int(line["open"])
                self.closed += int(line["closed"])
                self.latest = float(line["second"])

    @staticmethod
    def _append(changes: list[Change], change: Change) -> None:
        if not changes or change.t > changes[-1].t:
            changes.append(change)

    def state(self, at: float | None = None) -> str | None:
        """The state at a unix time (now without one); None before the first attempt ended."""
        with self._lock:
            if at is None:
                return self.changes[-1].state if self.changes else None
            index = bisect.bisect_right([c.t for c in self.changes], at)
            return self.changes[index - 1].state if index else None

    def silent_s(self, now: float) -> float:
        """Seconds since the prober was last heard of; 0 if it never was."""
        return now - self.heard if self.heard else 0.0

    def first(self, state: str, after: float, before: float | None = None) -> Change | None:
        """The first change to *state* in [after, before)."""
        with self._lock:
            found = (c for c in self.changes if c.state == state and c.t >= after)
            change = next(found, None)
        return None if change is None or (before is not None and change.t >= before) else change

    def measure(self, applied: float | None, removed: float | None) -> dict[str, Any]:
        """What run.json says of this connection; times in milliseconds after the treatment's moments."""
        denied = None if applied is None else self.first("closed", applied, removed)
        allowed = None if removed is None else self.first("open", removed)
        with self._lock:
            reopened = [
                c
                for c in self.changes
                if denied and c.state == "open" and denied.t < c.t < (removed or float("inf"))
            ]
            silent = next(
                (c for c in self.talk if applied and c.t >= applied and c.state != "answered"), None
            )
        found: dict[str, Any] = {
            "from": self.connection.source,
            "to": self.connection.to,
            "attempts": {"open": self.opened, "closed": self.closed},
            "resolution_ms": self.connection.every_ms,
            "apply_to_denied_ms": _ms(applied, denied),
            "denied_as": denied.why if denied else None,
            "opened_after_denial": len(reopened),
            "remove_to_allowed_ms": _ms(removed, allowed),
        }
        if self.connection.talk:
            found["open_connection"] = {
                "ended_as": silent.state if silent else None,
                "after_ms": _ms(applied, silent),
            }
        return found


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan  # which is between no two bounds


def _ms(start: float | None, change: Change | None) -> float | None:
    return None if start is None or change is None else round((change.t - start) * 1000, 1)


def as_expected(seen: list[Seen], *, treated: bool, now: float) -> tuple[bool, str]:
    """Whether every connection is what is expected at *now*, unix seconds, and a sentence that says so."""
    wrong = [
        f"{s.connection} was not tried for {s.silent_s(now):.0f} s: its prober is silent"
        for s in seen
        if s.silent_s(now) > SILENT_S
    ]
    wrong += [
        f"{s.connection} is {s.state() or 'not yet seen'}, expected {s.connection.expected(treated=treated)}"
        for s in seen
        if s.state() != s.connection.expected(treated=treated)
    ]
    if wrong:
        return False, "; ".join(wrong)
    states = [s.connection.expected(treated=treated) for s in seen]
    return True, f"all {len(seen)} as expected: {states.count('open')} open, {states.count('closed')} closed"
