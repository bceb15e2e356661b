"""The document's own entries: what must be there, of which type, and under which keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshverdict.chaos.lint.document import Place, spell
from meshverdict.chaos.lint.findings import (
    Findings,
    Subject,
    among,
    as_list,
    as_object,
    listed,
    nearest,
    shown,
)

_TOP: Final = (
    "version", "title", "description", "tags", "contributions", "configuration", "secrets", "runtime",
    "extensions", "controls", "steady-state-hypothesis", "method", "rollbacks", "dry",
)  # fmt: skip
_ACTIVITY: Final = (
    "type", "name", "provider", "tolerance", "background", "pauses", "controls", "secrets", "timeout", "dry",
    "description", "section",
)  # fmt: skip
_PROVIDER: Final = {
    "python": ("type", "module", "func", "arguments", "secrets", "timeout"),
    "process": ("type", "path", "arguments", "timeout", "secrets"),
    "http": (
        "type", "url", "method", "headers", "arguments", "timeout", "verify_tls", "max_retries", "secrets",
        "expected_status",
    ),
}  # fmt: skip
_TOLERANCE: Final = {
    "range": ("type", "range", "target"),
    "regex": ("type", "pattern", "target"),
    "jsonpath": ("type", "path", "target", "count", "expect"),
    "probe": _ACTIVITY,
}
_CONTROL: Final = ("name", "provider", "scope", "automatic", "ref", "background", "description")
_TOP_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    "title": (str, "text"),
    "description": (str, "text"),
    "version": (str, "text"),
    "tags": (list, "a list"),
    "contributions": (dict, "an object"),
    "configuration": (dict, "an object"),
    "secrets": (dict, "an object"),
    "runtime": (dict, "an object"),
    "extensions": (list, "a list"),
    "controls": (list, "a list"),
    "steady-state-hypothesis": (dict, "an object"),
    "method": (list, "a list"),
    "rollbacks": (list, "a list"),
}
_INNER_TYPES: Final[Mapping[str, tuple[type, str]]] = {
    "title": (str, "text"),
    "description": (str, "text"),
    "controls": (list, "a list"),
    "probes": (list, "a list"),
    "provider": (dict, "an object"),
    "pauses": (dict, "an object"),
    "name": (str, "text"),
    "type": (str, "text"),
    "module": (str, "text"),
    "func": (str, "text"),
    "path": (str, "text"),
    "url": (str, "text"),
    "headers": (dict, "an object"),
    "background": (bool, "true or false"),
    "automatic": (bool, "true or false"),
}
_CONTRIBUTIONS: Final = ("high", "medium", "low", "none")
_STRATEGIES: Final = ("default", "always", "never", "deviated")
_HYPOTHESIS_STRATEGIES: Final = (
    "default", "before-method-only", "after-method-only", "during-method-only", "continuously", "skip",
)  # fmt: skip


def check(subject: Subject) -> None:
    """Everything above the activities, and the keys and types of all levels."""
    _document(subject)
    _hypothesis(subject)
    _labels(subject)
    _runtime(subject)
    _levels(subject)


def _document(subject: Subject) -> None:
    experiment, found = subject.experiment, subject.found
    _keys(found, (), experiment, _TOP)
    if not experiment.get("title"):
        found.say("no-title", (), "the experiment has no title", 'add "title": what is claimed, in a line')
    if not experiment.get("description"):
        found.say("no-description", (), "the experiment has no description", 'add "description": "..."')
    if not experiment.get("version"):
        found.say("no-version", (), "the experiment has no version", 'add "version": "1.0.0"')
    probes = as_list(as_object(experiment.get("steady-state-hypothesis")).get("probes"))
    if experiment.get("method") is None:
        found.say("no-method", (), "the experiment has no method", 'add "method": a list of activities')
    elif experiment["method"] == [] and probes:
        found.say(
            "only-hypothesis",
            ("method",),
            "the method is empty: the hypothesis is asked twice and nothing happens in between",
            "add the action whose effect is in question",
        )
    elif experiment["method"] == []:
        found.say(
            "empty-method",
            ("method",),
            "the method is empty and there is no hypothesis: a run does nothing and says `completed`",
            "add activities to the method",
        )


def _hypothesis(subject: Subject) -> None:
    experiment, found = subject.experiment, subject.found
    place = ("steady-state-hypothesis",)
    hypothesis = experiment.get("steady-state-hypothesis")
    if hypothesis is None:
        if experiment.get("method"):
            found.say(
                "no-hypothesis",
                (),
                "without a steady-state hypothesis no outcome can make this experiment deviate",
                'add "steady-state-hypothesis" with a title and probes that have tolerances',
            )
        return
    if not isinstance(hypothesis, dict):
        return  # its type is reported
    _keys(found, place, hypothesis, ("title", "probes", "controls", "description"))
    if not hypothesis.get("title"):
        found.say("no-hypothesis-title", place, "the hypothesis has no title", 'add "title"')
    if not hypothesis.get("probes"):
        found.say(
            "empty-hypothesis",
            (*place, "probes") if "probes" in hypothesis else place,
            "the hypothesis has no probes: it is never asked, so it can never fail",
            'add "probes" with a tolerance each, or take the hypothesis out',
        )


def _labels(subject: Subject) -> None:
    found = subject.found
    for index, tag in enumerate(as_list(subject.experiment.get("tags"))):
        if not isinstance(tag, str) or not tag:
            found.say("bad-tag", ("tags", index), f"the tag {shown(tag)} is no text", "write it in quotes")
    for name, value in as_object(subject.experiment.get("contributions")).items():
        if not among(value, _CONTRIBUTIONS):
            found.say(
                "bad-contribution",
                ("contributions", name),
                f"the contribution {shown(value)} is none of {listed(_CONTRIBUTIONS)}",
                f"{nearest(str(value), _CONTRIBUTIONS)}write one of them",
            )


def _runtime(subject: Subject) -> None:
    found = subject.found
    runtime = as_object(subject.experiment.get("runtime"))
    _keys(found, ("runtime",), runtime, ("hypothesis", "rollbacks"))
    for part, keys, known in (
        ("rollbacks", ("strategy",), _STRATEGIES),
        ("hypothesis", ("strategy", "frequency", "fail_fast"), _HYPOTHESIS_STRATEGIES),
    ):
        place: Place = ("runtime", part)
        settings = runtime.get(part)
        if settings is not None and not isinstance(settings, dict):
            found.say(
                "wrong-type", place, f"{spell(place)} is {shown(settings)}, not an object", "write an object"
            )
        _keys(found, place, as_object(settings), keys)
        strategy = as_object(settings).get("strategy")
        if strategy is not None and not among(strategy, known):
            found.say(
                "bad-strategy",
                (*place, "strategy"),
                f"the strategy {shown(strategy)} is none of {listed(known)}",
                f"{nearest(str(strategy), known)}write one of them",
            )


def _levels(subject: Subject) -> None:
    """Keys and types of what comes often."""
    found = subject.found
    _types(found, (), subject.experiment)
    hypothesis = subject.experiment.get("steady-state-hypothesis")
    _types(found, ("steady-state-hypothesis",), as_object(hypothesis))
    for key in ("method", "rollbacks"):
        _objects(found, (key,), subject.experiment.get(key), "activity")
    _objects(found, ("steady-state-hypothesis", "probes"), as_object(hypothesis).get("probes"), "activity")
    for activity in subject.every_activity():
        if "ref" in activity.value:
            _keys(found, activity.place, activity.value, ("ref",))
            continue
        _keys(found, activity.place, activity.value, _ACTIVITY)
        _types(found, activity.place, activity.value)
        _keys(
            found, (*activity.place, "pauses"), as_object(activity.value.get("pauses")), ("before", "after")
        )
        _provider(found, (*activity.place, "provider"), activity.provider)
        tolerance = as_object(activity.value.get("tolerance"))
        known = _known(_TOLERANCE, tolerance.get("type"))
        if known and tolerance.get("type") != "probe":
            _keys(found, (*activity.place, "tolerance"), tolerance, known)
    for place, control in subject.controls():
        _keys(found, place, as_object(control), _CONTROL)
        _types(found, place, as_object(control))
        provider = as_object(as_object(control).get("provider"))
        _keys(found, (*place, "provider"), provider, ("type", "module", "arguments", "secrets"))


def _provider(found: Findings, place: Place, provider: Mapping[str, Any]) -> None:
    known = _known(_PROVIDER, provider.get("type"))
    if known:
        _keys(found, place, provider, known)
        _types(found, place, provider)


def _known(table: Mapping[str, tuple[str, ...]], kind: Any) -> tuple[str, ...]:
    return table.get(kind, ()) if isinstance(kind, str) else ()


def _keys(found: Findings, place: Place, value: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in value:
        if key not in known and not key.startswith("x-"):
            found.say(
                "unknown-key",
                (*place, key),
                f"the key {key!r} is unknown here, so it is ignored without a word",
                f"{nearest(key, known)}known are {', '.join(known)}; a note of your own begins with `x-`",
            )


def _types(found: Findings, place: Place, value: Mapping[str, Any]) -> None:
    for key, entry in value.items():
        wanted = (_INNER_TYPES if place else _TOP_TYPES).get(key)
        if wanted is not None and entry is not None and not isinstance(entry, wanted[0]):
            found.say(
                "wrong-type",
                (*place, key),
                f"{key} is {shown(entry)}, not {wanted[1]}",
                f"write {wanted[1]}",
            )


def _objects(found: Findings, place: Place, value: Any, noun: str) -> None:
    for index, item in enumerate(as_list(value)):
        if not item or not isinstance(item, dict):
            found.say(
                "wrong-type",
                (*place, index),
                f"{shown(item)} is no {noun}",
                f"write an object for the {noun}",
            )
