"""Read Chaos Toolkit journals as they really come out, because their status and exit code do not tell.

``completed`` and exit 0 also stand for: hypothesis not met before the method (nothing was run), an action
that raised, a process that ended with an error, a rollback that failed. All of that is read here, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshverdict.analysis.loose import mapping, mappings
from meshverdict.model.errors import RecordError
from meshverdict.report.claims import EXPECTATIONS, Expectation
from meshverdict.report.journal_words import MAX_VALUE_CHARS, last_line, shorten, timestamp, tolerance_words


@dataclass(frozen=True, slots=True)
class Activity:
    """One action or probe that was started.

    Attributes:
        name: Its name in the experiment.
        kind: ``action`` or ``probe``.
        failure: Why it did not do its work, in words; None when it did.
        start: Unix seconds, None where the journal has none.
        end: See start.
        background: It ran beside the others.
        met: Whether it answered within its tolerance; None where it has none.
    """

    name: str
    kind: str
    failure: str | None
    start: float | None
    end: float | None
    background: bool
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A steady-state probe in one of the two hypotheses.

    Attributes:
        name: Its name in the experiment.
        tolerance: What it may answer, in words.
        value: What it answered, shortened; None when it was not reached.
        met: Whether that was within the tolerance; None when it was not reached.
    """

    name: str
    tolerance: str
    value: str | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A steady-state hypothesis as it was checked once."""

    met: bool
    probes: tuple[Probe, ...]


@dataclass(frozen=True, slots=True)
class Journal:
    """What a journal says, without trusting its status word.

    Attributes:
        title: Of the experiment.
        description: Of the experiment.
        status: Chaos Toolkit's own word.
        deviated: Whether the hypothesis was met before and not after.
        before: The hypothesis before the method; None when it was not checked.
        after: The hypothesis after the method; None when it was not checked.
        run: The method's activities, as far as they were started.
        rollbacks: The rollbacks that were started.
        planned: Names of the method's activities.
        planned_rollbacks: Names of the rollbacks.
        declared: Name and tolerance of the hypothesis' probes in the experiment.
        start: Unix seconds.
        end: Unix seconds.
        software: Versions and platform.
        treatment: Names of the activities that are the treatment.
        primary: The metric that decides a campaign, as the experiment declares it; None when it does not.
        margin: Equivalence margin as a share, as the experiment declares it; None when it does not.
        expect: What it expects of the primary metric (see claims); None when it does not say.
        in_effect: Name of the activity whose success shows that the treatment works; None when connections and
            dropped packets show it.
        findings: What the activities that it names for that answered: the sentences for a summary.
    """

    title: str
    description: str
    status: str
    deviated: bool
    before: Hypothesis | None
    after: Hypothesis | None
    run: tuple[Activity, ...]
    rollbacks: tuple[Activity, ...]
    planned: tuple[str, ...]
    planned_rollbacks: tuple[str, ...]
    declared: tuple[tuple[str, str], ...]
    start: float | None
    end: float | None
    software: tuple[tuple[str, str], ...]
    treatment: tuple[str, ...]
    primary: str | None = None
    margin: float | None = None
    expect: Expectation | None = None
    in_effect: str | None = None
    findings: tuple[str, ...] = ()

    @property
    def not_run(self) -> str | None:
        """Why the method was never carried out, or None when it was."""
        if self.before is not None and not self.before.met:
            return "the steady-state hypothesis was not met before the method, so nothing was run"
        if self.planned and not self.run:
            return "no activity of the method was started"
        return None

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that keeps this journal from being a finished run, in words; empty when it is one."""
        found = (
            [] if self.status == "completed" else [f"the run was {self.status or 'cut short'}, not completed"]
        )
        if self.not_run:
            found.append(self.not_run)
        found += [f"{a.kind} {a.name!r} {a.failure}" for a in self.run if a.failure]
        found += [f"rollback {a.name!r} {a.failure}" for a in self.rollbacks if a.failure]
        if self.not_run is None and 0 < len(self.run) < len(self.planned):
            found.append(f"only {len(self.run)} of {len(self.planned)} activities of the method were started")
        return tuple(found)

    def pairs(self) -> tuple[tuple[Probe, Probe | None], ...]:
        """Each probe before and after, by name; None where the hypothesis was not checked again."""
        before = {p.name: p for p in self.before.probes} if self.before else {}
        after = {p.name: p for p in self.after.probes} if self.after else {}
        names = dict.fromkeys([*(name for name, _ in self.declared), *before, *after])
        tolerances = dict(self.declared)

        def blank(name: str) -> Probe:
            other = before.get(name) or after.get(name)
            return Probe(name, tolerances.get(name) or (other.tolerance if other else ""), None, None)

        return tuple((before.get(n, blank(n)), after.get(n, blank(n)) if self.after else None) for n in names)


def read_journal(text: str, *, origin: str) -> Journal:
    """A journal from its text.

    Args:
        text: The file's content.
        origin: How messages name the file.

    Raises:
        RecordError: Not JSON, cut short, or not a journal.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"{origin}: not JSON, perhaps cut short ({error}); run the experiment again"
        ) from error
    if not isinstance(value, Mapping) or not isinstance(value.get("experiment"), Mapping):
        raise RecordError(f"{origin}: not a Chaos Toolkit journal, it has no `experiment`")
    return _journal(value)


def _journal(value: Mapping[str, Any]) -> Journal:
    experiment = value["experiment"]
    states = mapping(value.get("steady_states"))
    declaration = _declaration(experiment)
    declared = mapping(experiment.get("steady-state-hypothesis")).get("probes")
    return Journal(
        title=str(experiment.get("title") or "untitled experiment"),
        description=str(experiment.get("description") or ""),
        status=str(value.get("status") or ""),
        deviated=value.get("deviated") is True,
        before=_hypothesis(states.get("before")),
        after=_hypothesis(states.get("after")),
        run=tuple(_activity(item) for item in mappings(value.get("run"))),
        rollbacks=tuple(_activity(item) for item in mappings(value.get("rollbacks"))),
        planned=_names(experiment.get("method")),
        planned_rollbacks=_names(experiment.get("rollbacks")),
        declared=tuple((_name(p), tolerance_words(p.get("tolerance"))) for p in mappings(declared)),
        start=timestamp(value.get("start")),
        end=timestamp(value.get("end")),
        software=tuple(
            (label, str(value[key]))
            for key, label in (
                ("chaoslib-version", "chaostoolkit-lib"),
                ("platform", "platform"),
                ("node", "machine"),
            )
            if value.get(key)
        ),
        treatment=_treatment(declaration),
        primary=str(declaration["primary"]) if declaration.get("primary") else None,
        margin=_margin(declaration.get("margin")),
        expect=next((word for word in EXPECTATIONS if word == declaration.get("expect")), None),
        in_effect=str(declaration["in_effect"]) if declaration.get("in_effect") else None,
        findings=_findings(declaration.get("finding"), value),
    )


def _hypothesis(value: object) -> Hypothesis | None:
    if not isinstance(value, Mapping):
        return None
    probes = []
    for item in mappings(value.get("probes")):
        activity = mapping(item.get("activity"))
        met = item.get("tolerance_met")
        answer = shorten(item.get("output"))
        if item.get("status") == "failed":
            answer = f"failed: {last_line(item.get('exception'))}"
        probes.append(
            Probe(
                _name(activity),
                tolerance_words(activity.get("tolerance")),
                answer,
                met if isinstance(met, bool) else None,
            )
        )
    return Hypothesis(value.get("steady_state_met") is True, tuple(probes))


def _activity(item: Mapping[str, Any]) -> Activity:
    declared = mapping(item.get("activity"))
    return Activity(
        name=_name(declared),
        kind=str(declared.get("type") or "activity"),
        failure=_failure(item, declared),
        start=timestamp(item.get("start")),
        end=timestamp(item.get("end")),
        background=declared.get("background") is True,
        met=item.get("tolerance_met") if isinstance(item.get("tolerance_met"), bool) else None,
    )


def _failure(item: Mapping[str, Any], declared: Mapping[str, Any]) -> str | None:
    status = item.get("status")
    if status is None:
        return "was cut off before it ended"
    if status != "succeeded":
        return f"{status}: {last_line(item.get('exception'))}"
    provider, output = mapping(declared.get("provider")), mapping(item.get("output"))
    code = output.get("status")
    if provider.get("type") == "process" and "tolerance" not in declared and code not in {0, None}:
        detail = str(output.get("stderr") or "").strip()
        return f"ended with status {code}" + (f": {detail[:MAX_VALUE_CHARS]}" if detail else "")
    return None


def _declaration(experiment: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the experiment says to us, in its `extensions`."""
    extensions = mappings(experiment.get("extensions"))
    return next((e for e in extensions if e.get("name") == "meshverdict"), {})


def _findings(named: object, journal: Mapping[str, Any]) -> tuple[str, ...]:
    """The answers, in the order of the names; the last one where an activity ran twice."""
    wanted = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    ran = [*mappings(journal.get("run")), *mappings(journal.get("rollbacks"))]
    said = {_name(mapping(a.get("activity"))): a.get("output") for a in ran if a.get("status") == "succeeded"}
    return tuple(
        answer.removeprefix("as expected: ").removeprefix("NOT as expected: ")
        for name in wanted
        if isinstance(answer := said.get(str(name)), str)
    )


def _treatment(declaration: Mapping[str, Any]) -> tuple[str, ...]:
    names = declaration.get("treatment")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _margin(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1 else None


def _names(value: object) -> tuple[str, ...]:
    return tuple(_name(item) for item in mappings(value))


def _name(value: Mapping[str, Any]) -> str:
    return str(value.get("name") or value.get("ref") or "unnamed")
