"""Date what Chaos Toolkit does: called at the very moment an activity begins and ends, without its pauses."""

from __future__ import annotations

import logging
from typing import Any

from chaoslib.run import RunEventHandler
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.chaos.session import Session, find_current
from meshverdict.chaos.timeline import RESTORED, UNTREATED

log = logging.getLogger("chaostoolkit")


class RunEvents(RunEventHandler):  # type: ignore[misc]
    """Writes the session's timeline; without a session it does nothing."""

    def start_method(self, experiment: Any) -> None:  # noqa: ARG002 - the toolkit's signature
        """The hypothesis was met: the method begins."""
        session = find_current()
        if session is not None and session.timeline.control_arm:
            session.timeline.enter(UNTREATED)

    def start_activity(self, activity: Any) -> None:
        """An activity begins."""
        session = find_current()
        if session is None:
            return
        if activity.get("name") in session.treatment.apply:
            session.timeline.treatment_begins()
        elif activity.get("name") in session.treatment.undo and session.timeline.applied is not None:
            session.timeline.removal_begins()

    def activity_completed(self, activity: Any, run: Any) -> None:
        """An activity has ended, well or not."""
        session = find_current()
        if session is None or run.get("status") != "succeeded":
            return
        if activity.get("name") in session.treatment.apply:
            session.timeline.treatment_given()
        elif activity.get("name") in session.treatment.undo and session.timeline.applied is not None:
            session.timeline.removal_done()

    def method_completed(self, experiment: Any, state: Any = None) -> None:  # noqa: ARG002
        """The method is over; the treatment is still there."""
        session = find_current()
        if session is not None:
            session.timeline.method_over = True
            _picture(session)

    def rollbacks_completed(self, experiment: Any, journal: Any) -> None:  # noqa: ARG002
        """The last moment that belongs to the journal: a load beyond it would be of another run."""
        session = find_current()
        if session is not None:
            session.end_load()

    def start_rollbacks(self, experiment: Any) -> None:  # noqa: ARG002 - the toolkit's signature
        """The rollbacks begin."""
        session = find_current()
        if session is not None and session.timeline.control_arm:
            session.timeline.rolled_back = True
            session.timeline.enter(RESTORED)


def _picture(session: Session) -> None:
    try:
        session.picture("during")
    except (ApiException, HTTPError, OSError) as error:
        log.warning("The table of endpoints could not be read: %s", error)
