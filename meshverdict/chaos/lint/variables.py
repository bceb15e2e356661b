"""``${name}`` in an experiment: defined or not, and whether Chaos Toolkit looks at that place at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from meshverdict.chaos.lint.document import Place
from meshverdict.chaos.lint.findings import Activity, Subject, as_object, listed, nearest, shown

# As string.Template has it: `$$` is a dollar sign.
_USE = re.compile(r"\$(?:(\$)|\{([^{}$]*)\})")
_NAME = re.compile(r"[_A-Za-z][_A-Za-z0-9]*")
# Where values are put in, by kind of provider; everything else reaches the run as written.
_SUBSTITUTED: Final = {
    "python": ("arguments",),
    "process": ("arguments",),
    "http": ("url", "headers", "timeout", "arguments"),
}
_TOLERANCE: Final = {"regex": ("pattern",), "jsonpath": ("path", "expect"), "probe": ("provider",)}


def single_variable(value: Any) -> str | None:
    """The name in text that is one variable and nothing else."""
    found = _USE.fullmatch(value) if isinstance(value, str) else None
    return found[2] if found and found[2] is not None else None


def uses(value: Any, place: Place = ()) -> Iterator[tuple[str, Place]]:
    """Every ``${name}`` in text at any depth, with its place."""
    if isinstance(value, str):
        for found in _USE.finditer(value):
            if found[2] is not None:
                yield found[2], place
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from uses(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from uses(item, (*place, index))


def check(subject: Subject) -> None:
    """Uses that nothing defines, and uses where nothing is put in."""
    defined = _defined(subject)
    for activity in subject.every_activity():
        if activity.section != "tolerance":
            for place, value in _substituted(activity):
                _undefined(subject, activity, place, value, defined)
        for place, value in _as_written(activity):
            _not_substituted(subject, place, value)
    for place, control in subject.controls():
        provider = as_object(as_object(control).get("provider"))
        here = (*place, "provider", "arguments")
        for name, at in uses(provider.get("arguments"), here):
            _say_undefined(subject, name, at, defined)
    for key, value in subject.configuration.items():
        if not (isinstance(value, dict) and value.get("type") == "probe"):
            _not_substituted(subject, ("configuration", key), value)


def _defined(subject: Subject) -> set[str]:
    secrets = as_object(subject.experiment.get("secrets"))
    return {*subject.configuration, *(name for group in secrets.values() for name in as_object(group))}


def _substituted(activity: Activity) -> Iterator[tuple[Place, Any]]:
    kind = activity.provider.get("type")
    for key in _SUBSTITUTED.get(kind, ()) if isinstance(kind, str) else ():
        yield (*activity.place, "provider", key), activity.provider.get(key)
    yield (*activity.place, "pauses"), activity.value.get("pauses")
    tolerance = activity.value.get("tolerance")
    if isinstance(tolerance, str):
        yield (*activity.place, "tolerance"), tolerance
    kind = as_object(tolerance).get("type")
    for key in _TOLERANCE.get(kind, ()) if isinstance(kind, str) else ():
        yield (*activity.place, "tolerance", key), as_object(tolerance).get(key)


def _as_written(activity: Activity) -> Iterator[tuple[Place, Any]]:
    kind = activity.provider.get("type")
    known = _SUBSTITUTED.get(kind, ()) if isinstance(kind, str) else ()
    for key, value in activity.provider.items():
        if known and key not in known:
            yield (*activity.place, "provider", key), value
    yield (*activity.place, "name"), activity.value.get("name")
    tolerance = activity.value.get("tolerance")
    if isinstance(tolerance, list):
        yield (*activity.place, "tolerance"), tolerance
    kind = as_object(tolerance).get("type")
    if isinstance(kind, str) and kind != "probe":
        for key, value in as_object(tolerance).items():
            if key not in _TOLERANCE.get(kind, ()):
                yield (*activity.place, "tolerance", key), value


def _undefined(subject: Subject, activity: Activity, place: Place, value: Any, defined: set[str]) -> None:
    # A process with its arguments as one text runs in a shell, which has variables of its own.
    in_shell = activity.provider.get("type") == "process" and isinstance(value, str)
    for name, at in uses(value, place):
        if not (in_shell and name in subject.environ):
            _say_undefined(subject, name, at, defined)


def _say_undefined(subject: Subject, name: str, place: Place, defined: set[str]) -> None:
    if name in defined and _NAME.fullmatch(name):
        return
    what = f"${{{name[:60]}}} is defined by neither configuration nor secrets, so it stays text"
    if not _NAME.fullmatch(name):
        what = f"${{{name[:60]}}} is no variable: a name has letters, digits and _ only, so it stays text"
    subject.found.say(
        "undefined-variable",
        place,
        what,
        f"{nearest(name, defined)}add it to configuration, with a default (--var sets only what is declared"
        f" there); defined are: {listed(sorted(defined))}",
    )


def _not_substituted(subject: Subject, place: Place, value: Any) -> None:
    for name, at in uses(value, place):
        subject.found.say(
            "variable-not-substituted",
            at,
            f"${{{name[:60]}}} is not replaced here: {shown(value)} is used as written",
            "write the value itself, or move the variable into arguments, url, headers or pauses",
        )
