"""Stock Locust as people use it to make a rate: users with constant_throughput."""

from __future__ import annotations

import os

from locust import FastHttpUser, HttpUser, constant_throughput, task

PER_USER = float(os.environ.get("PER_USER", "20"))
USERS = {"HttpUser": HttpUser, "FastHttpUser": FastHttpUser}


class Visitor(USERS[os.environ.get("KIND", "HttpUser")]):  # type: ignore[misc]  # chosen at run time
    """One request a task, at its own pace."""

    wait_time = constant_throughput(PER_USER)

    @task
    def read(self) -> None:
        """Ask for the page."""
        self.client.get("/")
