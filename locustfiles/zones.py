"""Callers of Pippo in their own zone: a load of two workers has one in each, and Pippo's Service keeps them there.

    chaos run experiments/az-affinity-plain.json

A connection for every request, so that all of Pippo's pods are asked alike: of kept connections a generator needs two or
three at these rates, and they would lead to as many pods. Keys are asked for alike too: of a sharded cache each has one.
"""

from __future__ import annotations

import random

from locust import tag, task

from meshverdict.load.users import OpenUser

KEYS = 600


class Caller(OpenUser):
    """Somebody who asks Pippo, which asks its cache."""

    host = "http://pippo.pippo.svc.cluster.local:5000"
    keep_alive = False

    @tag("read")
    @task
    def read(self) -> None:
        """One answer of the cache: a replica is as good as the primary."""
        path = f"/get?key=k{random.randrange(KEYS)}"  # noqa: S311 - spreads load, guards nothing
        with self.client.get(path, name="/get", catch_response=True) as response:
            if response.status_code == 200 and b"time" not in (response.content or b""):
                response.failure("the answer has no time")
