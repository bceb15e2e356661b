"""Users who ask the app for its version, some of them insiders who say so in a header.

    locust -f locustfiles/canary.py --headless --rate 60 --rate-for insider=6 -t 1m

Each request is counted under the version that answered it, such as ``/count/version 2.0.0``, so that the record tells
which version answered whom. A request that no version answered keeps its plain name.
"""

from __future__ import annotations

from typing import Any

from locust import between, tag, task

from meshverdict.load.target import HOST_HEADER, find_target
from meshverdict.load.users import OpenUser

PATH = "/count/version"
INSIDER = {"x-insider": "true"}


class Visitor(OpenUser):
    """Somebody who does not care which version answers, and an insider who wants the new one."""

    host = find_target()
    default_headers = {"Host": HOST_HEADER}  # noqa: RUF012  # Locust's way of saying it
    wait_time = between(0.05, 0.15)

    @tag("everybody")
    @task(10)
    def version(self) -> None:
        """Case 1 without Redis: traefik, apache, the app."""
        self._ask(PATH, None)

    @tag("insider")
    @task(1)
    def version_of_insiders(self) -> None:
        """The same, saying who asks."""
        self._ask(f"{PATH}?insider", INSIDER)

    def _ask(self, name: str, headers: dict[str, str] | None) -> None:
        with self.client.get(PATH, name=name, headers=headers, catch_response=True) as response:
            if response.status_code != 200:
                return
            try:
                version = response.json()["version"]
            except (ValueError, KeyError, TypeError):
                response.failure("the answer has no 'version'")
                return
            _count_under(response, f"{name} {version}")


def _count_under(response: Any, name: str) -> None:
    """Rename a request that is under way: an open loop's answer has a name, a stock one keeps it in its meta data."""
    if hasattr(response, "request_meta"):
        response.request_meta["name"] = name
    else:
        response.name = name
