"""When a run did what: its stage, its phases, and the moments of its treatment."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BASELINE: Final = "baseline"
TREATED: Final = "treated"
UNTREATED: Final = "untreated"
RESTORED: Final = "restored"


@dataclass
class Phase:
    """A named stretch of the run; unix seconds, no end while it lasts."""

    name: str
    start: float
    end: float | None = None


@dataclass
class Timeline:
    """What has happened so far; written by Chaos Toolkit's thread and read by others.

    Attributes:
        control_arm: The treatment is left out of this run.
        applied: When the treatment was about to be asked for; every later effect is dated from here.
        removed: When its removal was about to be asked for.
        method_over: The method has ended, so the treatment must show.
    """

    control_arm: bool = False
    phases: list[Phase] = field(default_factory=list)
    applied: float | None = None
    removed: float | None = None
    method_over: bool = False
    rolled_back: bool = False
    clock: Callable[[], float] = time.time
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def phase(self) -> Phase | None:
        """The phase that lasts."""
        with self._lock:
            return self.phases[-1] if self.phases and self.phases[-1].end is None else None

    def enter(self, name: str) -> None:
        """Begin a phase; the one before ends."""
        with self._lock:
            now = self.clock()
            self._close(now)
            self.phases.append(Phase(name, now))

    def leave(self) -> None:
        """End the phase that lasts."""
        with self._lock:
            self._close(self.clock())

    def _close(self, now: float) -> None:
        if self.phases and self.phases[-1].end is None:
            self.phases[-1].end = now

    def treatment_begins(self) -> None:
        """The treatment is about to be asked for."""
        with self._lock:
            self.applied = self.applied if self.applied is not None else self.clock()
            self.leave()

    def treatment_given(self) -> None:
        """The treatment was accepted."""
        self.enter(TREATED)

    def removal_begins(self) -> None:
        """The treatment's removal is about to be asked for."""
        with self._lock:
            self.removed = self.removed if self.removed is not None else self.clock()
            self.leave()

    def removal_done(self) -> None:
        """The treatment's removal was accepted."""
        with self._lock:
            self.rolled_back = True
            self.enter(RESTORED)

    @property
    def treated(self) -> bool:
        """Whether a probe must find the treated answer now.

        After the method this does not ask whether the treatment was applied: a run that forgot it must
        deviate.
        """
        if self.control_arm or self.removed is not None or self.rolled_back:
            return False
        return self.method_over or self.applied is not None

    def find(self, name: str) -> Phase | None:
        """The last phase of that name."""
        with self._lock:
            return next((p for p in reversed(self.phases) if p.name == name), None)

    def as_json(self) -> list[dict[str, Any]]:
        """``[{"name", "start", "end"}]``; a phase that lasts ends now."""
        with self._lock:
            now = self.clock()
            return [
                {"name": p.name, "start": p.start, "end": p.end if p.end is not None else now}
                for p in self.phases
            ]
