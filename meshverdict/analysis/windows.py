"""Cut a run into windows, by one rule that is written down, so that nobody picks the seconds they like.

The rule: a phase counts from its first whole second to its last; the first WARM_UP_S seconds after the load
began are dropped, and so is every phase whose name says warm-up. The first SETTLE_S seconds after the
treatment was applied or removed are dropped too: the record counts a request in the second in which it ended,
so an answer that was waited for since before the change would count on the wrong side. What was dropped is
part of the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from meshverdict.analysis.loose import mapping, mappings, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Role = Literal["before", "during", "after"]

WARM_UP_S = 3.0
# Longer than the longest wait for an answer in the lab: Apache gives up on a silent redis after 2 s.
SETTLE_S = 3.0
WARM_UP_NAMES = ("warm-up", "warmup", "warm_up")
# A phase mark and the moment that it stands for are written by two lines of code, one after the other.
SLACK_S = 0.25


@dataclass(frozen=True, slots=True)
class Phase:
    """A named stretch of a run, as run.json marks it (unix seconds)."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Moments:
    """When the treatment was asked for, seen to work, taken away, and seen to be gone (unix seconds)."""

    applied: float | None = None
    in_effect: float | None = None
    removed: float | None = None
    restored: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Whole seconds of one phase that count.

    Attributes:
        name: The phase's name.
        role: Before, during or after the treatment.
        start: First second, unix time.
        end: The second after the last one.
    """

    name: str
    role: Role
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return max(0.0, self.end - self.start)


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a run, and what the rule left out of them, in words."""

    counted: tuple[Window, ...]
    dropped: tuple[str, ...]

    def of(self, role: Role) -> tuple[Window, ...]:
        """The windows with this role."""
        return tuple(w for w in self.counted if w.role == role)


def phases_of(run: Mapping[str, Any]) -> tuple[Phase, ...]:
    """The phases of a run.json, in time order; entries without times are left out."""
    found = [
        Phase(str(item.get("name", "unnamed")), start, end)
        for item in mappings(run.get("phases"))
        if (start := number(item.get("start"))) is not None and (end := number(item.get("end"))) is not None
    ]
    return tuple(sorted(found, key=lambda p: p.start))


def moments_of(run: Mapping[str, Any]) -> Moments:
    """The treatment's moments of a run.json; None where nothing was seen."""
    treatment = mapping(run.get("treatment"))
    return Moments(*(number(treatment.get(key)) for key in ("applied", "in_effect", "removed", "restored")))


def cut(phases: Sequence[Phase], moments: Moments, *, load_start: float, load_end: float) -> Windows:
    """The windows of a run.

    Args:
        phases: The run's phases. Without any, the treatment's moments divide the run.
        moments: The treatment's moments.
        load_start: Unix time of the first request.
        load_end: Unix time after the last request.
    """
    counted: list[Window] = []
    dropped: list[str] = []
    warm_until = load_start + WARM_UP_S
    for phase in phases or implied_phases(moments, load_start, load_end):
        if phase.name.lower() in WARM_UP_NAMES:
            dropped.append(f"phase {phase.name!r} ({phase.end - phase.start:.0f} s): warm-up")
            continue
        start, end = max(phase.start, load_start), min(phase.end, load_end)
        if start < min(warm_until, end):
            begins = min(warm_until, end)
            dropped.append(f"the first {begins - start:.0f} s of phase {phase.name!r}: warm-up")
            start = begins
        settled = _settled(start, end, moments)
        if settled > start:
            dropped.append(
                f"the first {settled - start:.0f} s of phase {phase.name!r}: answers to earlier requests"
            )
            start = settled
        window = Window(phase.name, role_of(phase, moments), math.ceil(start), math.floor(end))
        if window.seconds < 1:
            dropped.append(f"phase {phase.name!r}: no whole second under load")
            continue
        counted.append(window)
    return Windows(tuple(counted), tuple(dropped))


def _settled(start: float, end: float, moments: Moments) -> float:
    """The first moment of [start, end) that no change of the treatment touches."""
    changes = [
        m for m in (moments.applied, moments.removed) if m is not None and start - 2 * SLACK_S <= m < end
    ]
    return min(end, max([start, *(m + SETTLE_S for m in changes if m <= start + 2 * SLACK_S)]))


def implied_phases(moments: Moments, load_start: float, load_end: float) -> tuple[Phase, ...]:
    """Phases for a run that marked none: before, during and after the treatment."""
    if moments.applied is None:
        return (Phase("whole run", load_start, load_end),)
    if moments.removed is None:
        return (Phase("before", load_start, moments.applied), Phase("during", moments.applied, load_end))
    return (
        Phase("before", load_start, moments.applied),
        Phase("during", moments.applied, moments.removed),
        Phase("after", moments.removed, load_end),
    )


def role_of(phase: Phase, moments: Moments) -> Role:
    """Where a phase stands to the treatment, judged by its middle."""
    middle = (phase.start + phase.end) / 2
    if moments.applied is None or middle < moments.applied - SLACK_S:
        return "before"
    if moments.removed is None or middle < moments.removed + SLACK_S:
        return "during"
    return "after"


def bounds(windows: Iterable[Window]) -> tuple[tuple[float, float], ...]:
    """Start and end of each window."""
    return tuple((w.start, w.end) for w in windows)
