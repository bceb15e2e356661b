"""Activities as such: type, name, references, pauses, timeouts, what runs in the background."""

from __future__ import annotations

from typing import Any, Final

from meshverdict.chaos.lint.document import Place, spell
from meshverdict.chaos.lint.findings import (
    Activity,
    Subject,
    among,
    as_object,
    is_number,
    listed,
    nearest,
    shown,
)
from meshverdict.chaos.lint.variables import single_variable

_TYPES: Final = ("probe", "action")
_PROVIDERS: Final = ("python", "process", "http")
_DRY: Final = ("probes", "actions", "activities", "pause")
# Arguments by which an activity says how long it lasts.
_WAITS: Final = ("seconds", "duration", "duration_s")
_NUMBER_TYPES: Final = ("int", "integer", "float", "number")


def check(subject: Subject) -> None:
    """Each activity by itself, then names and references across them."""
    for activity in subject.every_activity():
        if activity.value.get("ref") is None:
            _kind(subject, activity)
            _pauses(subject, activity)
            _timeouts(subject, activity)
    _names(subject)
    _references(subject)
    _background(subject)


def _kind(subject: Subject, activity: Activity) -> None:
    found, value, place = subject.found, activity.value, activity.place
    kind = value.get("type")
    if not among(kind, _TYPES):
        said = f"the activity type {shown(kind)} is unknown" if kind else "the activity has no type"
        found.say(
            "unknown-activity-type",
            (*place, "type"),
            said,
            f'{nearest(str(kind), _TYPES)}write "probe" or "action"',
        )
    if not value.get("name") and activity.section not in {"tolerance", "configuration"}:
        found.say("no-name", place, "the activity has no name", 'add "name": journals call it by that')
    if not value.get("provider"):
        found.say(
            "no-provider",
            place,
            f"the activity {activity.name} has no provider",
            'add "provider" with a type',
        )
    elif not among(activity.provider.get("type"), _PROVIDERS) and activity.provider:
        kind = activity.provider.get("type")
        found.say(
            "unknown-provider-type",
            (*place, "provider", "type"),
            f"the provider type {shown(kind)} is unknown",
            f"{nearest(str(kind), _PROVIDERS)}write one of {listed(_PROVIDERS)}",
        )
    if value.get("dry") is not None and not among(value["dry"], _DRY):
        found.say("bad-dry", (*place, "dry"), f"dry is {shown(value['dry'])}", f"write one of {listed(_DRY)}")


def _pauses(subject: Subject, activity: Activity) -> None:
    pauses = as_object(activity.value.get("pauses"))
    for key in ("before", "after"):
        value = pauses.get(key)
        if value is not None:
            why = _no_seconds(subject, value, zero=True)
            if why:
                place = (*activity.place, "pauses", key)
                subject.found.say(
                    "bad-pause",
                    place,
                    f"the pause {shown(value)} {why}",
                    'write seconds as a number without quotes, or "${name}" of a configuration number',
                )


def _no_seconds(subject: Subject, value: Any, *, zero: bool) -> str:
    """Why *value* is no time in seconds; empty when it is one."""
    if is_number(value):
        good = value >= 0 if zero else value > 0
        return "" if good else f"is {'negative' if value < 0 else 'zero'}"
    name = single_variable(value)
    if name is None:
        return "is text, not a number" if isinstance(value, str) else "is no number"
    declared = subject.configuration.get(name)
    if isinstance(declared, dict) and declared.get("type") == "env":
        if among(declared.get("env_var_type"), _NUMBER_TYPES):
            return ""
        return f'is text: configuration.{name} needs "env_var_type": "float"'
    if isinstance(declared, dict) or declared is None:
        return ""  # of a probe or a secret: known only at the run; undefined is said elsewhere
    return (
        f"is {shown(declared)}, by configuration.{name}"
        if not is_number(declared) or declared < 0 or (declared == 0 and not zero)
        else ""
    )


def _timeouts(subject: Subject, activity: Activity) -> None:
    found, provider = subject.found, activity.provider
    kind = provider.get("type")
    fix = "write seconds as a number above 0, without quotes"
    if activity.value.get("timeout") is not None:
        value = activity.value["timeout"]
        place: Place = (*activity.place, "timeout")
        if not is_number(value) or value <= 0:
            found.say("bad-timeout", place, f"the timeout {shown(value)} is no time in seconds", fix)
        else:
            found.say(
                "timeout-without-effect",
                place,
                "Chaos Toolkit reads no timeout of an activity, so it is without effect",
                "write it into the provider (process, http), or into the arguments of the function",
            )
    if provider.get("timeout") is None:
        return
    value, place = provider["timeout"], (*activity.place, "provider", "timeout")
    if kind == "python":
        found.say(
            "timeout-without-effect",
            place,
            "a python provider knows no timeout, so it is without effect",
            "give it as an argument, if the function takes one",
        )
    parts = value if kind == "http" and isinstance(value, list) and len(value) == 2 else [value]
    for part in parts:
        is_variable = single_variable(part) is not None
        why = _no_seconds(subject, part, zero=False)
        if why and not (is_variable and kind != "http"):  # a process's is said to be unsubstituted
            found.say("bad-timeout", place, f"the timeout {shown(part)} {why}", fix)


def _names(subject: Subject) -> None:
    seen: dict[str, Activity] = {}
    for activity in subject.activities():
        name = activity.value.get("name")
        if not isinstance(name, str) or not name:
            continue
        first = seen.setdefault(name, activity)
        if first is activity:
            continue
        place = (*activity.place, "name")
        if first.section == activity.section or dict(first.value) != dict(activity.value):
            subject.found.say(
                "duplicate-name",
                place,
                f"two activities are called {shown(name)} (first: {spell(first.place)}); a journal, a reference"
                " and a treatment cannot tell them apart",
                "give each a name of its own",
            )
        else:
            subject.found.say(
                "repeated-activity",
                place,
                f"the activity {shown(name)} is written out again (first: {spell(first.place)})",
                f'write {{"ref": "{name[:60]}"}} here, or give it a name of its own',
            )


def _references(subject: Subject) -> None:
    names = {a.value["name"] for a in subject.activities() if isinstance(a.value.get("name"), str)}
    for activity in subject.activities():
        ref = activity.value.get("ref")
        if "ref" in activity.value and (not isinstance(ref, str) or ref not in names):
            subject.found.say(
                "unknown-reference",
                (*activity.place, "ref"),
                f"it refers to {shown(ref)}, but no activity has that name",
                f"{nearest(str(ref), names)}names are: {listed(sorted(names))}",
            )


def _background(subject: Subject) -> None:
    for section in ("method", "rollbacks"):
        activities = list(subject.activities(section))
        for index, activity in enumerate(activities):
            if activity.value.get("background") is not True:
                continue
            after = as_object(activity.value.get("pauses")).get("after")
            following = activities[index + 1] if index + 1 < len(activities) else None
            if following is None:
                why = "nothing comes after it, so it runs beside nothing"
            elif not after and not _waits(following):
                why = f"{following.name} begins at the same moment, perhaps before it has started"
            else:
                continue
            subject.found.say(
                "background-without-wait",
                (*activity.place, "background"),
                f"{activity.name} runs in the background, and {why}",
                'take "background" out, or let the next activity wait ("pauses": {"before": seconds})',
            )


def _waits(activity: Activity) -> bool:
    pauses = as_object(activity.value.get("pauses"))
    return bool(pauses.get("before")) or any(key in activity.arguments for key in _WAITS)
