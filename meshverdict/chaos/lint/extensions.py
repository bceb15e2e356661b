"""Controls and extensions: what wraps the run, and what the treatment is said to be."""

from __future__ import annotations

from typing import Any, Final

from meshverdict.chaos.experiment_file import EXTENSION
from meshverdict.chaos.lint.document import Place
from meshverdict.chaos.lint.findings import Subject, among, as_list, as_object, listed, nearest, shown
from meshverdict.chaos.lint.functions import NoModule
from meshverdict.chaos.options import ARGUMENTS
from meshverdict.report.claims import EXPECTATIONS

_CONTROL: Final = "meshverdict.chaos.control"


def check(subject: Subject) -> None:
    """Every control, every extension."""
    names = [as_object(c).get("name") for _, c in subject.controls() if "ref" not in as_object(c)]
    references = {n for n in names if isinstance(n, str)}
    for place, control in subject.controls():
        _control(subject, place, control, references)
    for index, extension in enumerate(as_list(subject.experiment.get("extensions"))):
        _extension(subject, ("extensions", index), extension)


def _control(subject: Subject, place: Place, control: Any, references: set[str]) -> None:
    if not isinstance(control, dict):
        _bad(subject, place, f"{shown(control)} is no control", "write an object with name and provider")
        return
    if "ref" in control and (not isinstance(control["ref"], str) or control["ref"] not in references):
        _bad(
            subject, (*place, "ref"), f"no control is called {shown(control['ref'])}", nearest(control["ref"], references) + f"names are: {listed(sorted(references))}"
        )  # fmt: skip
    if "name" not in control:
        _bad(subject, place, "the control has no name", 'add "name"')
    if "provider" not in control:
        _bad(subject, place, "the control has no provider", 'add "provider"')
    if control.get("scope") and not among(control["scope"], ("before", "after")):
        _bad(
            subject, (*place, "scope"), f"the scope is {shown(control['scope'])}", 'write "before" or "after"'
        )
    _provider(subject, (*place, "provider"), as_object(control.get("provider")))


def _provider(subject: Subject, place: Place, provider: Any) -> None:
    if provider and provider.get("type") != "python":
        _bad(
            subject,
            (*place, "type"),
            f"the control's provider type is {shown(provider.get('type'))}",
            'write "python"; there is no other',
        )
    elif provider and not isinstance(provider.get("module"), str):
        _bad(subject, place, "the control's provider has no module", 'add "module"')
    elif provider:
        found = subject.look_up(provider["module"], "")
        if isinstance(found, NoModule):
            subject.found.say(
                "unknown-control-module",
                (*place, "module"),
                f"the control's module {shown(provider['module'])} cannot be found ({found.why}); Chaos Toolkit"
                " leaves the control out and goes on",
                "correct the name, install its package, or add its folder to PYTHONPATH",
            )
        if provider["module"] == _CONTROL:
            for key in as_object(provider.get("arguments")):
                if key not in ARGUMENTS:
                    subject.found.say(
                        "unknown-argument",
                        (*place, "arguments", key),
                        f"the control meshverdict takes no argument {shown(key)}",
                        f"{nearest(key, ARGUMENTS)}it takes: {', '.join(ARGUMENTS)}",
                    )


def _extension(subject: Subject, place: Place, extension: Any) -> None:
    name = as_object(extension).get("name")
    if not isinstance(name, str) or not name.strip():
        subject.found.say(
            "no-extension-name", place, "the extension has no name", 'write an object with "name"'
        )
        return
    if name != EXTENSION:
        return
    _declaration(subject, place, extension)
    treatment = extension.get("treatment", [])
    here = (*place, "treatment")
    if not isinstance(treatment, list) or not all(isinstance(t, str) for t in treatment):
        subject.found.say(
            "bad-treatment",
            here,
            f"the treatment is {shown(treatment)}, not a list of activity names",
            'write "treatment": ["name of an activity of the method"]',
        )
        return
    names = [a.value.get("name") for a in subject.activities("method", "rollbacks")]
    known = [n for n in names if isinstance(n, str)]
    for index, wanted in enumerate(treatment):
        if wanted not in known:
            subject.found.say(
                "unknown-treatment",
                (*here, index),
                f"the treatment {shown(wanted)} is no activity of the method or the rollbacks, so both arms of a"
                " campaign would be the same",
                f"{nearest(wanted, known)}activities are: {listed(known)}",
            )


def _declaration(subject: Subject, place: Place, extension: Any) -> None:
    """What a campaign is judged by; a slip in it would be taken as not said at all."""
    method = [a.value.get("name") for a in subject.activities("method")]
    steps = [n for n in method if isinstance(n, str)]
    margin, quick = extension.get("margin"), extension.get("quick")
    expect, shows = extension.get("expect"), extension.get("in_effect")

    def say(key: str, fix: str) -> None:
        what = f"`{key}` is {shown(extension[key])}"
        subject.found.say("bad-treatment", (*place, key), what, fix)

    if expect is not None and not among(expect, EXPECTATIONS):
        say("expect", f"write one of {listed(EXPECTATIONS)}")
    if margin is not None and (
        isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1
    ):
        say("margin", "write a share, such as 0.05 for 5 %")
    if shows is not None and shows not in steps:
        say("in_effect", f"{nearest(shows, steps)}activities of the method are: {listed(steps)}")
    if not isinstance(extension.get("paired", True), bool):
        say("paired", "write true or false")
    findings = extension.get("finding")
    named = [findings] if isinstance(findings, str) else findings
    if findings is not None and (not isinstance(named, list) or not set(map(str, named)) <= set(steps)):
        say("finding", f"write one activity of the method or a list of them: {listed(steps)}")
    known = list(as_object(subject.experiment.get("configuration")))
    if quick is not None and (not isinstance(quick, dict) or not set(quick) <= set(known)):
        say("quick", f"write an object of configuration values; there are: {listed(known)}")


def _bad(subject: Subject, place: Place, what: str, fix: str) -> None:
    subject.found.say("bad-control", place, what, fix)
