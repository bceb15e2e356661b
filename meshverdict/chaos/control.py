"""The control of every experiment: gives the run a lab, a load and a folder, and lets it touch nothing else.

    "controls": [{"name": "meshverdict", "provider": {"type": "python", "module": "meshverdict.chaos.control",
                  "arguments": {"baseline_s": "${baseline_s}", "load": {"rate": 60}}}}]

Chaos Toolkit swallows every error of a control but InterruptExecution, so nothing else leaves this module.
A run that is refused plays no rollbacks: they would go to whatever cluster the libraries find by
themselves.
"""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import Any

from chaoslib.exceptions import InterruptExecution, InvalidActivity
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.chaos import finish, session
from meshverdict.chaos.begin import begin, measured
from meshverdict.chaos.cluster import only_reaching
from meshverdict.chaos.events import RunEvents
from meshverdict.chaos.options import check_arguments
from meshverdict.chaos.undisturbed import undisturbed
from meshverdict.model.errors import MeshverdictError, UsageError

log = logging.getLogger("chaostoolkit")


def validate_control(control: dict[str, Any]) -> None:
    """Called by ``chaos validate`` and ``chaos run``: refuse arguments that do not exist."""
    try:
        check_arguments((control.get("provider") or {}).get("arguments") or {})
    except UsageError as error:
        raise InvalidActivity(str(error)) from error


def configure_control(event_registry: Any = None, **_arguments: Any) -> None:
    """Called before anything runs: listen to what happens when."""
    if event_registry is not None:
        event_registry.register(RunEvents())


def before_experiment_control(
    context: dict[str, Any],
    configuration: dict[str, Any] | None = None,
    secrets: dict[str, Any] | None = None,
    **arguments: Any,
) -> None:
    """Provide the lab, check everything, start the load, and wait for the end of the baseline.

    Args:
        context: The experiment.
        configuration: Its variables, shared with every activity.
        secrets: Its secrets.
        arguments: See docs/chaos.md.

    Raises:
        InterruptExecution: The run cannot begin; the message says why and what to do.
    """
    experiment = context
    if not measured(experiment):
        log.warning("--dry=activities: no lab is needed and nothing will be measured")
        return
    rollbacks, experiment["rollbacks"] = experiment.get("rollbacks") or [], []
    values = configuration if configuration is not None else {}
    sources = os.environ.get("KUBECONFIG") or "~/.kube/config"
    with ExitStack() as stack:
        # From here on, also while a refused run ends, no library finds a cluster by itself.
        aim = stack.enter_context(only_reaching())
        try:
            # The control arm takes its rollbacks out of the list.
            made = begin(
                {**experiment, "rollbacks": rollbacks}, values, secrets or {}, arguments, aim, sources
            )
        except MeshverdictError as error:
            _refuse(stack, str(error), error)
        except InterruptExecution:
            _leave_unaimed(stack)
            raise
        except ApiException as error:
            _refuse(
                stack, f"the cluster refused a request: {error.status} {error.reason}: {error.body}", error
            )
        except (HTTPError, OSError) as error:
            _refuse(stack, f"the cluster cannot be reached, or a file not be written: {error}", error)
        except Exception as error:
            log.debug("the control failed", exc_info=True)
            _refuse(stack, f"a mistake in meshverdict itself, please report it: {error!r}", error)
        stack.callback(session.set_current, None)
        # What the run stands on is let go in reverse: the lab first, then where the libraries point.
        outer = stack.pop_all()
        outer.push(made.standing)
        made.standing = outer
    session.set_current(made)
    experiment["rollbacks"] = rollbacks


def _leave_unaimed(stack: ExitStack) -> None:
    """Keep the libraries pointed nowhere until the experiment's end has been reached."""
    _Refused.stack = stack.pop_all()


class _Refused:
    stack: ExitStack | None = None


def _refuse(stack: ExitStack, message: str, cause: BaseException) -> None:
    _leave_unaimed(stack)
    raise InterruptExecution(f"meshverdict: {message}") from cause


def after_activity_control(
    context: dict[str, Any], state: dict[str, Any] | None = None, **_arguments: Any
) -> None:
    """A signal during one of our activities ends the run; Chaos Toolkit takes it for a failed activity.

    Raises:
        InterruptExecution: It did.
    """
    if not state or state.get("status") != "failed":
        return
    said = "".join(state.get("exception") or ())
    if "InterruptExecution" in said:
        raise InterruptExecution(f"interrupted during {context.get('name')!r}")


def after_experiment_control(
    context: dict[str, Any],  # noqa: ARG001 - the toolkit's signature
    state: dict[str, Any] | None = None,
    **_arguments: Any,
) -> None:
    """Write the run folder and the report, then let go of the lab."""
    refused, _Refused.stack = _Refused.stack, None
    if refused is not None:
        refused.close()
    made = session.find_current()
    if made is None or state is None:
        return
    with undisturbed():
        try:
            _end(made, state)
        finally:
            made.close()


def _end(made: session.Session, journal: dict[str, Any]) -> None:
    try:
        made.stop_measuring()
    except (MeshverdictError, ApiException, HTTPError, OSError) as error:
        made.problems.append(f"the measurement did not end cleanly: {error}")
        log.error("The measurement did not end cleanly: %s", error)  # noqa: TRY400 - the message is for a person
    try:
        finish.write(made, journal)
        finish.tell(made)
        finish.report(made)
    except OSError as error:
        # Without its folder a run was not measured, and nothing else makes `chaos run` say so.
        journal["status"] = "failed"
        log.error(  # noqa: TRY400
            "The run folder %s could not be written (%s): free some space or set MESHVERDICT_REPORTS to a"
            " folder on another disk, then run again",
            made.folder,
            error.strerror or error,
        )
    except Exception:  # the toolkit would drop it, and a run without a record would end as completed
        journal["status"] = "failed"
        log.exception(
            "The run folder %s is not whole: a mistake in meshverdict itself, please report it", made.folder
        )
