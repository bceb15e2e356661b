"""What a probe is held to: is it a tolerance, can it be met at all, and does it mean what it looks like?"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import warnings
from typing import Any, Final

from meshverdict.chaos.lint.document import Place
from meshverdict.chaos.lint.findings import Activity, Subject, among, is_number, listed, nearest, shown
from meshverdict.chaos.lint.functions import Signature

_KINDS: Final = ("range", "regex", "jsonpath", "probe")
# What a probe answers: an object with `status` (http, process), or by the annotation of its function.
_ANSWERS: Final = {
    "int": "number", "float": "number", "bool": "bool", "str": "text", "dict": "object", "list": "list",
    "Dict": "object", "List": "list",
}  # fmt: skip
_TARGETS: Final = {"http": '"target": "body"', "process": '"target": "stdout"'}
_MAX_JSONPATH: Final = 2000


def check(subject: Subject) -> None:
    """Those of the hypothesis count; anywhere else they change nothing."""
    for activity in subject.activities("hypothesis"):
        if "ref" in activity.value:
            continue
        if "tolerance" not in activity.value:
            subject.found.say(
                "no-tolerance",
                activity.place,
                f"the hypothesis probe {activity.name} has no tolerance",
                'add "tolerance": what the answer must be',
            )
            continue
        _tolerance(subject, activity, activity.value["tolerance"])
    judged = _judged_by_extension(subject)
    for activity in subject.activities("method", "rollbacks"):
        if "tolerance" in activity.value and not among(activity.value.get("name"), judged):
            subject.found.say(
                "tolerance-without-effect",
                (*activity.place, "tolerance"),
                f"a tolerance in {activity.section} changes nothing: {activity.name} may miss it and the run"
                " still says `completed`",
                "move the probe into the steady-state hypothesis, or take the tolerance out",
            )


def _judged_by_extension(subject: Subject) -> set[str]:
    """Probes of the method whose tolerance counts: those that our extension takes as "the treatment works"."""
    extensions = subject.experiment.get("extensions")
    named = (
        [e.get("in_effect") for e in extensions if isinstance(e, dict)]
        if isinstance(extensions, list)
        else []
    )
    return {name for name in named if isinstance(name, str)}


def _tolerance(subject: Subject, activity: Activity, value: Any) -> None:
    place: Place = (*activity.place, "tolerance")
    if isinstance(value, dict):
        _typed(subject, activity, value, place)
    elif isinstance(value, list):
        _several(subject, activity, value, place)
    elif isinstance(value, bool | int | str):
        _exact(subject, activity, value, place)
    else:
        subject.found.say(
            "bad-tolerance",
            place,
            f"{shown(value)} is no tolerance: text, a whole number, true, false, a list or an object is one",
            'for a number write {"type": "range", "range": [low, high]}',
        )


def _answer(subject: Subject, activity: Activity) -> str | None:
    """``status``, ``number``, ``bool``, ``text``, ``object``, ``list``; None when it is not known."""
    provider = activity.provider
    if among(provider.get("type"), ("http", "process")):
        return "status"
    module, name = provider.get("module"), provider.get("func")
    if provider.get("type") != "python" or not isinstance(module, str) or not isinstance(name, str):
        return None
    known = subject.look_up(module, name)
    if not isinstance(known, Signature) or known.returns is None:
        return None
    parts = {p.strip().partition("[")[0] for p in known.returns.split("|")} - {"None"}
    kinds = {_ANSWERS.get(part) for part in parts}
    return kinds.pop() if len(kinds) == 1 else None


def _exact(subject: Subject, activity: Activity, value: Any, place: Place) -> None:
    answer = _answer(subject, activity)
    if isinstance(value, str) and "${" in value:
        return
    kind = "bool" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
    fits = {
        "status": kind == "number",
        "number": kind == "number",
        "bool": kind in {"bool", "number"},
        "text": kind == "text",
        "object": kind == "number",  # compared with its `status`
        "list": False,
        None: True,
    }
    if not fits[answer]:
        said = {"status": "an object with a number `status`", None: ""}.get(answer, f"a {answer}")
        subject.found.say(
            "tolerance-never-met",
            place,
            f"{activity.name} answers {said}, which never equals {shown(value)}",
            "write a number for a status; for a part of the answer use a regex or jsonpath tolerance with a target",
        )


def _several(subject: Subject, activity: Activity, value: list[Any], place: Place) -> None:
    answer = _answer(subject, activity)
    words = ", ".join(shown(v) for v in value[:6])
    if not value:
        subject.found.say(
            "bad-tolerance", place, "an empty list accepts nothing", "write what the answer may be"
        )
        return
    if len(value) != 2:
        if answer is None and not all(isinstance(v, str) for v in value):
            _ambiguous(
                subject,
                place,
                f"a list of {len(value)} accepts one of {words} and nothing in between",
                "keep it if that is meant; a range has two values",
            )
        return
    as_range = f'{{"type": "range", "range": [{words}]}}'
    if answer == "status":
        _ambiguous(
            subject,
            place,
            f"of an answer with a status a list is a set: exactly {words} are accepted, nothing in between",
            'if a range is meant, write {"type": "range", "range": [...], "target": "status"}',
        )
    elif answer == "number":
        _ambiguous(
            subject,
            place,
            f"of a number a list of two is a range: everything from {words.replace(', ', ' to ')} is accepted",
            f"write {as_range}, which says so",
        )
    else:
        _ambiguous(
            subject,
            place,
            f"a list of two is a range for a number and a set for an object with a status: [{words}] can be either",
            f"write {as_range} for a range; for a set a list of the length 2 cannot be used with a number",
        )


def _ambiguous(subject: Subject, place: Place, what: str, fix: str) -> None:
    subject.found.say("ambiguous-tolerance", place, what, fix)


def _typed(subject: Subject, activity: Activity, value: dict[str, Any], place: Place) -> None:
    kind = value.get("type")
    match kind:
        case "range":
            _range(subject, activity, value, place)
        case "regex":
            _regex(subject, activity, value, place)
        case "jsonpath":
            _jsonpath(subject, value, place)
        case "probe":
            _probe(subject, value, place)
        case _:
            subject.found.say(
                "bad-tolerance",
                (*place, "type"),
                f"the tolerance type {shown(kind)} is unknown",
                f"{nearest(str(kind), _KINDS)}write one of {listed(_KINDS)}",
            )


def _range(subject: Subject, activity: Activity, value: dict[str, Any], place: Place) -> None:
    limits = value.get("range")
    if not isinstance(limits, list) or len(limits) != 2 or not all(is_number(v) for v in limits):
        subject.found.say(
            "bad-tolerance",
            (*place, "range"),
            f"a range is two numbers, not {shown(limits)}",
            'write "range": [low, high]',
        )
    elif limits[0] > limits[1]:
        subject.found.say(
            "bad-tolerance",
            (*place, "range"),
            f"the range {shown(limits)} is empty: its low end is above its high end",
            "swap the two",
        )
    if not value.get("target"):
        _needs_target(
            subject, activity, place, {"http": '"target": "status"', "process": '"target": "status"'}
        )


def _regex(subject: Subject, activity: Activity, value: dict[str, Any], place: Place) -> None:
    pattern = value.get("pattern")
    if not isinstance(pattern, str):
        subject.found.say(
            "bad-regex", place, f"the pattern is {shown(pattern)}, not text", 'add "pattern": "..."'
        )
    else:
        try:
            with warnings.catch_warnings(action="ignore"):
                re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            subject.found.say(
                "bad-regex",
                (*place, "pattern"),
                f"the pattern {shown(pattern)} is no regular expression: {error}",
                "correct it; a literal ( [ . * + ? needs a backslash",
            )
    if not value.get("target"):
        _needs_target(subject, activity, place, _TARGETS)
        if _answer(subject, activity) in {"number", "bool", "object", "list"}:
            subject.found.say(
                "tolerance-never-met",
                place,
                f"a regex is searched in text, but {activity.name} answers a {_answer(subject, activity)}",
                "use a range or jsonpath tolerance, or name a text by target",
            )


def _needs_target(subject: Subject, activity: Activity, place: Place, targets: dict[str, str]) -> None:
    kind = activity.provider.get("type")
    target = targets.get(kind) if isinstance(kind, str) else None
    if target:
        subject.found.say(
            "tolerance-never-met",
            place,
            f"{activity.name} answers an object, which this tolerance cannot judge as a whole",
            f"add {target}",
        )


def _jsonpath(subject: Subject, value: dict[str, Any], place: Place) -> None:
    path = value.get("path")
    if not isinstance(path, str) or not path.strip() or len(path) > _MAX_JSONPATH:
        subject.found.say("bad-jsonpath", place, f"the path is {shown(path)}", 'add "path": "$.a.b"')
        return
    try:
        parser = importlib.import_module("jsonpath2.path")
    except ImportError:
        subject.found.say(
            "jsonpath-missing",
            place,
            "a jsonpath tolerance needs the package jsonpath2, which is not installed",
            "pip install 'chaostoolkit-lib[jsonpath]'",
        )
        return
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its parser prints
            parser.Path.parse_str(path.strip())
    except (ValueError, TypeError, RecursionError) as error:
        subject.found.say(
            "bad-jsonpath",
            (*place, "path"),
            f"{shown(path)} is no JSON path: {error}",
            "begin with $ and write $.key, $[0] or $.list[*].key",
        )


def _probe(subject: Subject, value: dict[str, Any], place: Place) -> None:
    provider = value.get("provider")
    if isinstance(provider, dict) and not isinstance(provider.get("arguments"), dict):
        subject.found.say(
            "bad-tolerance",
            (*place, "provider"),
            "a tolerance probe is given the answer in its arguments, and has none: it would raise, and count as"
            " not met",
            'add "arguments": {}',
        )
