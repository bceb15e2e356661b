"""Load of one campaign in one piece: whose turn it is, the control's or the treatment's, is read from the clock.

    START=UNIX_TIME SLOT_S=4 ORDER=ctct... locust -f benchmarks/judge/two_apps.py --headless --rate 100 ...

ORDER holds one letter a slot, from START on: c or t. Nothing is asked before START.
"""

from __future__ import annotations

import os
import time

from locust import task

from meshverdict.load.users import OpenUser

START = float(os.environ.get("START", "0"))
SLOT_S = float(os.environ.get("SLOT_S", "4"))
ORDER = os.environ.get("ORDER", "c")


class Visitor(OpenUser):
    """Somebody who reads the time through the ingress and one of the two apps."""

    @task
    def read(self) -> None:
        """One request, to the app whose turn it is."""
        slot = min(max(int((time.time() - START) // SLOT_S), 0), len(ORDER) - 1)
        arm = {"c": "control", "t": "treatment"}[ORDER[slot]]
        self.client.get("/get", name=arm, headers={"Host": f"{arm}.lan"})
