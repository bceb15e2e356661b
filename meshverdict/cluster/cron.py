"""Schedules of CronJobs: the grammar, the words of its refusals, and the times that it names.

Both the API (which refuses a wrong schedule) and the controller (which waits for the next time) read them, and
both must read the same. Grammar and words are those of robfig/cron v3's standard parser, which Kubernetes uses.
Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from meshverdict.model import durations

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final[tuple[tuple[int, int, dict[str, int]], ...]] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    (0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FAR: Final = timedelta(days=366 * 5)  # a schedule without a time within five years has none (30 February)
_MINUTE: Final = timedelta(minutes=1)
_DIGITS: Final = 18  # more do not fit into Go's int


class ScheduleError(ValueError):
    """A schedule or a time zone that cannot be read; the text is Kubernetes' own."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times of a CronJob.

    Attributes:
        fields: The minutes, hours, days of the month, months and days of the week (0 is Sunday) that match.
        any_day: Whether one of the two kinds of days is ``*``: then both must match, else one of them.
        every: Seconds between two times, for ``@every``; 0 for all others.
    """

    fields: tuple[frozenset[int], ...]
    any_day: bool
    every: int = 0

    def after(self, moment: float, zone: tzinfo = UTC) -> float | None:
        """The first time later than *moment* (both Unix seconds); None for never."""
        if self.every:
            return float(int(moment) + self.every)
        minutes, hours, _, months, _ = self.fields
        if not (minutes and hours and months):
            return None  # a field of commas alone names nothing
        time = datetime.fromtimestamp(moment, UTC).replace(second=0, microsecond=0) + _MINUTE
        end = time + _FAR
        while time < end:
            step = self._step(time, time.astimezone(zone))
            if step is None:
                return time.timestamp()
            time = max(step, time + _MINUTE)
        return None

    def _step(self, time: datetime, local: datetime) -> datetime | None:
        """Where to look next, in UTC; None when *time* itself matches."""
        minutes, hours, _, months, _ = self.fields
        midnight = local.replace(hour=0, minute=0, fold=0)
        if local.month not in months:
            first = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
            return first.astimezone(UTC)
        if not self._on(local):
            return (midnight + timedelta(days=1)).astimezone(UTC)
        if local.hour not in hours:
            return time + timedelta(minutes=60 - local.minute)
        return None if local.minute in minutes else time + _MINUTE

    def _on(self, local: datetime) -> bool:
        in_month, in_week = local.day in self.fields[2], local.isoweekday() % 7 in self.fields[4]
        return in_month and in_week if self.any_day else in_month or in_week


def parse_schedule(text: str) -> Schedule:
    """A schedule such as ``*/5 * * * mon-fri``, ``@hourly`` or ``@every 90s``.

    Raises:
        ScheduleError: What is wrong with it.
    """
    if not text:
        raise ScheduleError("empty spec string")
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, _, text = text.partition("=")[2].partition(" ")
        time_zone(zone)
        text = text.strip()
    if text.startswith("@"):
        return _nickname(text)
    words = text.split()
    if len(words) != 5:
        raise ScheduleError(f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]")
    found = [_field(word, *bounds) for word, bounds in zip(words, _FIELDS, strict=True)]
    return Schedule(tuple(f for f, _ in found), found[2][1] or found[4][1])


def time_zone(name: str) -> ZoneInfo:
    """The time zone of this name.

    Raises:
        ScheduleError: There is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(f"unknown time zone {name}") from None


def _nickname(text: str) -> Schedule:
    if text in _NICKNAMES:
        return parse_schedule(_NICKNAMES[text])
    prefix = "@every "
    if not text.startswith(prefix):
        raise ScheduleError(f"unrecognized descriptor: {text}")
    try:
        length = durations.seconds(text.removeprefix(prefix))
    except ValueError as error:
        raise ScheduleError(f"failed to parse duration {text}: {error}") from None
    return Schedule((), any_day=True, every=max(int(length), 1))


def _field(text: str, low: int, high: int, names: dict[str, int]) -> tuple[frozenset[int], bool]:
    """The numbers that one field names, and whether it is a star."""
    numbers: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        values, all_of_them = _range(part, low, high, names)
        numbers.update(values)
        star = star or all_of_them
    return frozenset(numbers), star


def _range(text: str, low: int, high: int, names: dict[str, int]) -> tuple[range, bool]:
    bounds, *steps = text.split("/")
    ends = bounds.split("-")
    star = ends[0] in {"*", "?"}
    if star:
        first, last = low, high
    else:
        first = _number(ends[0], names)
        if len(ends) > 2:
            raise ScheduleError(f"too many hyphens: {text}")
        last = _number(ends[1], names) if len(ends) == 2 else first
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {text}")
    step = 1
    if steps:
        step = _number(steps[0], {})
        if not star and len(ends) == 1:
            last = high  # N/step means N to the end
        star = star and step == 1
    if first < low:
        raise ScheduleError(f"beginning of range ({first}) below minimum ({low}): {text}")
    if last > high:
        raise ScheduleError(f"end of range ({last}) above maximum ({high}): {text}")
    if first > last:
        raise ScheduleError(f"beginning of range ({first}) beyond end of range ({last}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")
    return range(first, last + 1, step), star


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        why = f'strconv.Atoi: parsing "{text}": invalid syntax'
        raise ScheduleError(f"failed to parse int from {text}: {why}")
    if len(text) > _DIGITS:
        why = f'strconv.Atoi: parsing "{text}": value out of range'
        raise ScheduleError(f"failed to parse int from {text}: {why}")
    number = int(text)
    if number < 0:
        raise ScheduleError(f"negative number ({number}) not allowed: {text}")
    return number
