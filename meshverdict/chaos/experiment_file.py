"""Read an experiment as a whole before anything happens: Chaos Toolkit accepts much that cannot be right.

An undefined ``${variable}`` reaches an activity as text, a misspelt ``--var`` is ignored, ``--var
seconds=5`` is a string, and a treatment that is not in the method leaves a run that measures nothing. All
pure: an experiment is JSON, and only `leave_out` changes it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshverdict.model.errors import UsageError

EXTENSION: Final = "meshverdict"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# What takes away what another activity made, by the names of the functions.
_UNDO: Final = {
    "create_network_policy": "remove_network_policy",
    "create_custom_object": "delete_custom_object",
    "apply_manifests": "delete_manifests",
    "apply_policy": "delete_manifests",
    "sweep_rate_limit": "delete_manifests",
}


@dataclass(frozen=True, slots=True)
class Treatment:
    """What an experiment says its treatment is.

    Attributes:
        apply: Names of the method's activities.
        undo: Names of the rollbacks that take them away.
    """

    apply: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()


def activities(experiment: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every activity with the name of its place: hypothesis, method or rollbacks."""
    hypothesis = experiment.get("steady-state-hypothesis") or {}
    for place, found in (
        ("hypothesis", hypothesis.get("probes")),
        ("method", experiment.get("method")),
        ("rollbacks", experiment.get("rollbacks")),
    ):
        for activity in found or ():
            yield place, activity


def undefined_variables(experiment: Mapping[str, Any], known: Iterable[str]) -> list[str]:
    """Each use of a variable that neither configuration nor secrets define, in words."""
    defined = set(known)
    places = [(f"{place}: {activity.get('name')!r}", activity) for place, activity in activities(experiment)]
    places += [(f"control {c.get('name')!r}", c) for c in experiment.get("controls") or ()]
    return [
        f"{where} uses ${{{name}}}, which nothing defines"
        for where, value in places
        for name in dict.fromkeys(_variables(value))
        if name not in defined
    ]


def _variables(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _VARIABLE.findall(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _variables(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _variables(item)


def numbers(declared: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, int | float]:
    """The values that came as text where the experiment declares a number, as numbers.

    ``--var seconds=5`` gives the text "5", and a pause of "5" seconds fails in the middle of a run.

    Raises:
        UsageError: A text is no number.
    """
    found: dict[str, int | float] = {}
    for name, default in declared.items():
        value = values.get(name)
        if isinstance(default, bool) or not isinstance(default, int | float) or not isinstance(value, str):
            continue
        try:
            whole = isinstance(default, int) and value.lstrip("-").isdigit()
            number = int(value) if whole else float(value)
        except ValueError:
            number = math.nan
        if not abs(number) < math.inf:  # NaN is not less either
            raise UsageError(f"--var {name}={value}: a number is needed, such as {name}={default}")
        found[name] = number
    return found


def unknown_names(given: Iterable[str], declared: Iterable[str]) -> list[str]:
    """Names given by --var that the experiment's configuration does not have, and so would be ignored."""
    return sorted(set(given) - set(declared))


def treatment_of(experiment: Mapping[str, Any]) -> Treatment:
    """The treatment that the experiment's extension ``meshverdict`` names.

    Raises:
        UsageError: It names an activity that is not in the method or the rollbacks, or is not a list of
        names.
    """
    extension: Mapping[str, Any] = next(
        (e for e in experiment.get("extensions") or () if e.get("name") == EXTENSION), {}
    )
    names = extension.get("treatment", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(
            f"extension {EXTENSION!r}: `treatment` must be a list of activity names, not {names!r}"
        )
    method = {a.get("name"): a for a in experiment.get("method") or ()}
    rollbacks = {a.get("name"): a for a in experiment.get("rollbacks") or ()}
    for name in names:
        if name not in method and name not in rollbacks:
            raise UsageError(
                f"extension {EXTENSION!r}: the treatment {name!r} is not in the method ({_listed(method)});"
                " put the activity back, or correct the name"
            )
    apply = tuple(name for name in names if name in method)
    undo = [name for name in names if name in rollbacks]
    undo += [
        str(n)
        for n, r in rollbacks.items()
        if n not in undo and any(_undoes(r, method[name]) for name in apply)
    ]
    return Treatment(apply, tuple(undo))


def _listed(found: Mapping[Any, Any]) -> str:
    return ", ".join(repr(name) for name in found) or "which is empty"


def _undoes(rollback: Mapping[str, Any], activity: Mapping[str, Any]) -> bool:
    back, made = rollback.get("provider") or {}, activity.get("provider") or {}
    if back.get("module") != made.get("module") or _UNDO.get(str(made.get("func"))) != back.get("func"):
        return False
    a, b = back.get("arguments") or {}, made.get("arguments") or {}
    shared = (set(a) & set(b)) - {"secrets"}
    return all(a[key] == b[key] for key in shared)


def leave_out(experiment: dict[str, Any], treatment: Treatment) -> None:
    """Take the treatment and its rollbacks out of *experiment*, in place: the control arm.

    In place, because Chaos Toolkit's journal holds the same lists: it then shows what this arm was to do.
    """
    for key, names in (("method", treatment.apply), ("rollbacks", treatment.undo)):
        listed = experiment.get(key)
        if listed:
            listed[:] = [activity for activity in listed if activity.get("name") not in names]


def planned_seconds(experiment: Mapping[str, Any], values: Mapping[str, Any]) -> float:
    """Roughly how long method and rollbacks take: their pauses and the `seconds` of our own actions."""
    total = 0.0
    for place, activity in activities(experiment):
        if place == "hypothesis" or activity.get("background"):
            continue
        pauses = activity.get("pauses") or {}
        arguments = (activity.get("provider") or {}).get("arguments")
        for value in (pauses.get("before"), pauses.get("after")):
            total += seconds_of(value, values)
        # A process has its arguments as a list or a text.
        if isinstance(arguments, Mapping):
            once = seconds_of(arguments.get("seconds"), values) + seconds_of(arguments.get("rest_s"), values)
            total += once * (seconds_of(arguments["faults"], values) if "faults" in arguments else 1)
    return total


def control_arguments(experiment: Mapping[str, Any], module: str) -> dict[str, Any] | None:
    """The arguments of the experiment's control of that module, as written; None when it has no such control."""
    for control in experiment.get("controls") or ():
        provider = control.get("provider") or {}
        if provider.get("module") == module:
            return dict(provider.get("arguments") or {})
    return None


def seconds_of(value: Any, values: Mapping[str, Any]) -> float:
    """A number, or the variable that it names; 0 for what is only known when it runs, such as an `env`."""
    match = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
    value = values.get(match[1]) if match else value
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
