"""From an experiment to a session: all is checked before anything is touched, and undone if a step fails."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from chaoslib import substitute
from chaoslib.types import Dry

from meshverdict.chaos import experiment_file as file_checks
from meshverdict.chaos import files, guard, lab, ledger, session
from meshverdict.chaos.cluster import Aim, KubeAccess
from meshverdict.chaos.kubeconfig import kubeconfig_of_context
from meshverdict.chaos.options import Options, parse
from meshverdict.chaos.timeline import Timeline
from meshverdict.model.errors import LabError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger("chaostoolkit")
CONTROL: Final = "meshverdict.chaos.control"
# Configuration values that are folders of files, made absolute for every activity.
FOLDERS: Final = ("manifests", "locustfiles")


def measured(experiment: Mapping[str, Any]) -> bool:
    """Whether there is anything to measure; with ``--dry=activities`` there is not."""
    return experiment.get("dry") is not Dry.ACTIVITIES


def prepare_variables(
    experiment: Mapping[str, Any], configuration: dict[str, Any], secrets: Mapping[str, Any]
) -> files.Source:
    """Check the variables; put numbers and absolute folders into *configuration*, which activities read.

    Raises:
        UsageError: A variable is undefined, unknown or of the wrong type, or a folder is missing.
    """
    source = files.find_source(os.environ)
    declared = experiment.get("configuration") or {}
    unknown = file_checks.unknown_names(source.variables, declared)
    if unknown:
        known = ", ".join(declared) or "none"
        raise UsageError(
            f"--var {', '.join(unknown)}: the experiment has no such configuration (it has: {known})"
        )
    configuration.update(file_checks.numbers(declared, configuration))
    for name in FOLDERS:
        if isinstance(configuration.get(name), str):
            configuration[name] = str(files.find_data(name, configuration[name], source))
    known_names = [*configuration, *(key for group in secrets.values() for key in group)]
    undefined = file_checks.undefined_variables(experiment, known_names)
    if undefined:
        raise UsageError(
            f"{'; '.join(undefined)}; add it to the experiment's configuration, or correct the name"
        )
    return source


def begin(  # noqa: PLR0917 - called once, by the control
    experiment: dict[str, Any],
    configuration: dict[str, Any],
    secrets: Mapping[str, Any],
    arguments: Mapping[str, Any],
    aim: Aim,
    sources: str,
) -> session.Session:
    """Make the session of this run; the load runs and the baseline is over when this returns.

    Args:
        experiment: The control arm's treatment is taken out of it, in place.
        configuration: Folders become absolute and numbers numbers, in place.
        secrets: Of the experiment.
        arguments: Of the control, variables filled in.
        aim: Points the Kubernetes libraries of this process.
        sources: Kubeconfig paths in which a real cluster's context is looked up.

    Raises:
        MeshverdictError: Something is wrong or missing; nothing of the run is left.
    """
    variables = dict(configuration)
    source = prepare_variables(experiment, configuration, secrets)
    # Chaos Toolkit filled in the variables before they were numbers and folders.
    declared = file_checks.control_arguments(experiment, CONTROL)
    given = arguments if declared is None else substitute(declared, configuration, secrets)
    options = parse(given or {}, {**os.environ, "KUBECONFIG": sources})
    variables |= {k: configuration[k] for k in configuration if k not in FOLDERS}
    treatment = file_checks.treatment_of(experiment)
    made = guard.made_by(experiment, treatment, configuration, secrets)
    touched = guard.touched_by(experiment, configuration, secrets)
    if options.arm == "control":
        if not treatment.apply:
            raise UsageError(
                "MESHVERDICT_ARM=control: the experiment's extension `meshverdict` names no treatment"
            )
        file_checks.leave_out(experiment, treatment)
    with ExitStack() as standing:
        access, found = standing.enter_context(chosen_cluster(options, aim))
        made_session = session.Session(
            options=options,
            source=source,
            experiment=experiment,
            variables=variables,
            treatment=treatment,
            timeline=Timeline(control_arm=options.arm == "control"),
            access=access,
            lab=found,
            namespaces=access.lab_namespaces(),
            scratch=aim.scratch,
            folder=session.make_folder(options, source, str(experiment.get("title", ""))),
            planned_s=file_checks.planned_seconds(experiment, configuration),
        )
        try:
            made_session.check(made, configuration, secrets)
            made_session.remove_leftovers(made)
            title = str(experiment.get("title", ""))
            made_session.ledger = standing.enter_context(
                ledger.kept(access, aim.scratch, made_session.namespaces, title)
            )
            made_session.ledger.remember((t.manifest, t.namespace) for t in touched)
            with made_session.measuring:
                made_session.measure()
                made_session.measuring = made_session.measuring.pop_all()
        except BaseException:
            _give_up(made_session)
            raise
        made_session.standing = standing.pop_all()
    return made_session


def _give_up(failed: session.Session) -> None:
    """Undo what a session that could not begin has started; an empty run folder is removed."""
    try:
        failed.end_load()
    except LabError as error:
        log.warning("%s", error)
    for file in failed.folder.iterdir():
        if file.stat().st_size == 0:
            file.unlink()
    if not any(failed.folder.iterdir()):
        failed.folder.rmdir()


@contextmanager
def chosen_cluster(options: Options, aim: Aim) -> Iterator[tuple[KubeAccess, lab.Lab | None]]:
    """The cluster of this run, reserved for it, with every library pointed at it.

    Raises:
        MeshverdictError: It cannot be had.
    """
    with ExitStack() as stack:
        found = None
        if options.context is not None:
            kubeconfig = kubeconfig_of_context(options.context, aim.scratch, options.sources)
            stack.enter_context(lab.reserved(f"context-{options.context}".replace("/", "_")))
            access = KubeAccess.open(kubeconfig, kind="real")
            log.info("Cluster: context %s, %s", access.context, access.host)
        else:
            stack.enter_context(lab.reserved(options.wanted.name))
            found = stack.enter_context(lab.provided(options.wanted))
            access = KubeAccess.open(found.kubeconfig, kind="embedded")
            if access.host != found.api:
                raise LabError(
                    f"{found.kubeconfig} leads to {access.host}, lab.json says {found.api}; type"
                    " `meshverdict down`"
                )
            log.info("Cluster: the embedded lab %r, %s", found.name, access.host)
        aim.at_cluster(access)
        yield access, found
