"""Our open loop; writes when each request was due, for the truth."""

from __future__ import annotations

import array
import os
from pathlib import Path
from typing import Any

from locust import events, task

from meshverdict.load.users import OpenUser

DUE = array.array("d")


class Visitor(OpenUser):
    """One request a task."""

    @task
    def read(self) -> None:
        """Ask for the page."""
        self.client.get("/")


def _note(start_time: float, **_: Any) -> None:
    DUE.append(start_time)


def _write(**_: Any) -> None:
    Path(os.environ["DUE_FILE"]).write_bytes(DUE.tobytes())


if "DUE_FILE" in os.environ:
    events.request.add_listener(_note)  # type: ignore[no-untyped-call]
    events.test_stop.add_listener(_write)  # type: ignore[no-untyped-call]
