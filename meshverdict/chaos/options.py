"""What a run was asked for: the control's arguments in the experiment, and the environment around it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from meshverdict.chaos.connections import Connection
from meshverdict.chaos.lab import DEFAULT_NAME, Wanted
from meshverdict.load.spec import IMAGE_VARIABLE
from meshverdict.model.errors import UsageError

ARMS: Final = ("treatment", "control")
ARGUMENTS: Final = (
    "zones",
    "zone_delay_ms",
    "zone_delay_back_ms",
    "zone_jitter_ms",
    "denied",
    "established",
    "sidecars",
    "mesh_retries",
    "manifests",
    "load",
    "baseline_s",
    "connections",
    "telemetry",
    "progress",
)
_DELAYS: Final = ("zone_delay_ms", "zone_delay_back_ms", "zone_jitter_ms")
_CHOICES: Final = {
    "denied": ("drop", "reject"),
    "established": ("keep", "cut"),
    "mesh_retries": ("today", "1.14"),
}


@dataclass(frozen=True, slots=True)
class Options:
    """One run's options.

    Attributes:
        wanted: What the embedded lab must be like.
        context: Name of a real cluster's context; None for the embedded lab.
        sources: Kubeconfig paths in which the context is looked up.
        arm: ``treatment`` or ``control`` in a campaign, else None.
        pair: Number of the pair in a campaign.
        seed: Seed of the load's arrivals.
        load: Fields of the load that begins before the hypothesis; None for no load.
        baseline_s: Seconds under load before the hypothesis is asked for the first time.
        connections: What the probers try.
        telemetry: Sample the workloads' metrics.
        progress: Show a progress line, if on a terminal.
        ingress: Base URL of the ingress, where it is not the embedded lab's.
        workers: Load pods, whatever the experiment says; None for its own number.
        load_image: Image of the load pods, where the cluster has it under another name.
        tell: A file into which the run folder's path is written at the end.
    """

    wanted: Wanted = field(default_factory=Wanted)
    context: str | None = None
    sources: str = "~/.kube/config"
    arm: str | None = None
    pair: int | None = None
    seed: int = 1
    load: Mapping[str, Any] | None = None
    baseline_s: float = 10.0
    connections: tuple[Connection, ...] = ()
    telemetry: bool = True
    progress: bool = True
    ingress: str | None = None
    workers: int | None = None
    load_image: str | None = None
    tell: Path | None = None


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that the control does not know: Chaos Toolkit would skip the whole control, silently.

    Raises:
        UsageError: Naming them.
    """
    unknown = sorted(set(arguments) - set(ARGUMENTS))
    if unknown:
        raise UsageError(
            f"control meshverdict: unknown argument {', '.join(unknown)}; known are {', '.join(ARGUMENTS)}"
        )


def parse(arguments: Mapping[str, Any], environ: Mapping[str, str]) -> Options:
    """The options of a run.

    Raises:
        UsageError: An argument or a variable of the environment is wrong.
    """
    check_arguments(arguments)
    arm = environ.get("MESHVERDICT_ARM") or None
    if arm is not None and arm not in ARMS:
        raise UsageError(f"MESHVERDICT_ARM={arm}: one of {', '.join(ARMS)}")
    load = arguments.get("load")
    if load is not None and not isinstance(load, Mapping):
        raise UsageError(f"control meshverdict: `load` must be an object, not {load!r}")
    tell = environ.get("MESHVERDICT_TELL")
    return Options(
        wanted=_wanted(arguments, environ.get("MESHVERDICT_LAB") or DEFAULT_NAME),
        context=environ.get("MESHVERDICT_CONTEXT") or None,
        sources=environ.get("KUBECONFIG") or "~/.kube/config",
        arm=arm,
        pair=_whole("MESHVERDICT_PAIR", environ),
        seed=1 if (seed := _whole("MESHVERDICT_SEED", environ)) is None else seed,
        load=load,
        baseline_s=_number("baseline_s", arguments, 10.0),
        connections=tuple(Connection.parse(c) for c in arguments.get("connections") or ()),
        telemetry=bool(arguments.get("telemetry", True)),
        progress=bool(arguments.get("progress", True)) and not environ.get("MESHVERDICT_QUIET"),
        ingress=environ.get("MESHVERDICT_INGRESS") or None,
        workers=_whole("MESHVERDICT_WORKERS", environ),
        load_image=environ.get(IMAGE_VARIABLE) or None,
        tell=Path(tell) if tell else None,
    )


def _wanted(arguments: Mapping[str, Any], name: str) -> Wanted:
    for key, choices in _CHOICES.items():
        # A variable that looks like a number has become one: 1.14.
        if arguments.get(key) is not None and str(arguments[key]) not in choices:
            raise UsageError(f"control meshverdict: {key} {arguments[key]!r}: one of {', '.join(choices)}")
    retries = arguments.get("mesh_retries")
    zones = arguments.get("zones")
    delays = {key: _number(key, arguments, 0.0) for key in _DELAYS if arguments.get(key) is not None}
    if delays and "zone_delay_ms" not in delays:
        raise UsageError(f"control meshverdict: {next(iter(delays))} without zone_delay_ms: name that too")
    return Wanted(
        zones=None if zones is None else int(_number("zones", arguments, 1)),
        **delays,
        denied=arguments.get("denied"),
        established=arguments.get("established"),
        sidecars=arguments.get("sidecars"),
        mesh_retries=None if retries is None else str(retries),
        manifests=_paths(arguments.get("manifests")),
        name=name,
    )


def _paths(value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value or []
    if not isinstance(listed, list) or not all(isinstance(path, str) for path in listed):
        raise UsageError(f"control meshverdict: `manifests` must be a list of folders, not {value!r}")
    return tuple(listed)


def _number(key: str, arguments: Mapping[str, Any], default: float) -> float:
    value = arguments.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UsageError(f"control meshverdict: {key} {value!r}: a number from 0")
    return float(value)


def _whole(name: str, environ: Mapping[str, str]) -> int | None:
    text = environ.get(name)
    if not text:
        return None
    if not text.isdigit():
        raise UsageError(f"{name}={text}: a whole number")
    return int(text)
