"""The lab's users: most set and read the time through all four tiers, one in thirty reads Redis directly.

    locust -f locustfiles/app.py                                   web UI, stock Locust behaviour
    locust -f locustfiles/app.py --headless -u 20 -t 1m            users that wait for answers
    locust -f locustfiles/app.py --headless --rate 400 -t 1m       400 arrivals a second, come what may
    ... --tags case1        only /count/set and /count/get         ... --exclude-tags case2: the same
    ... --rate-for case2=2  the tasks tagged case2 twice a second, beside the others

The target is --host, else the lab that is up on this machine, else, in a pod, the cluster's ingress.
"""

from __future__ import annotations

from typing import Any

from locust import between, tag, task

from meshverdict.load.target import HOST_HEADER, find_target
from meshverdict.load.users import OpenUser


class Visitor(OpenUser):
    """Somebody who sets the time and reads it."""

    host = find_target()
    default_headers = {"Host": HOST_HEADER}  # noqa: RUF012  # Locust's way of saying it
    wait_time = between(0.05, 0.15)

    @tag("case1")
    @task(20)
    def count_get(self) -> None:
        """Case 1: traefik, apache, the app, redis."""
        self._expect_json("/count/get", "time")

    @tag("case1")
    @task(10)
    def count_set(self) -> None:
        """Case 1, writing."""
        self._expect_json("/count/set", "time")

    @tag("case2")
    @task(1)
    def redis_get(self) -> None:
        """Case 2: traefik, apache, then webdis beside redis, past the app."""
        self._expect_json("/redis/GET/time", "GET")

    def _expect_json(self, path: str, key: str) -> None:
        with self.client.get(path, catch_response=True) as response:
            if response.status_code != 200:
                return
            try:
                answer: Any = response.json()
            except ValueError:
                response.failure("the answer is not JSON")
                return
            if not isinstance(answer, dict) or key not in answer:
                response.failure(f"the answer has no {key!r}")
