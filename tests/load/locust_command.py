"""Locust as people start it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"time":"x","GET":"x"}'
OWN = """
    from locust import task, events
    from meshverdict.load.users import OpenUser

    class Visitor(OpenUser):
        network_timeout = 5.0
        @task
        def read(self):
            self.client.get("/")
"""


def environment(tmp_path, **more):
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("LOCUST_", "KUBERNETES_", "MESHVERDICT_"))
    }
    return kept | {"XDG_STATE_HOME": str(tmp_path / "state")} | more


def command(file, *arguments):
    return [sys.executable, "-m", "locust", "-f", str(file), *arguments]


def locust(tmp_path, file, *arguments, **more):
    return subprocess.run(
        command(file, "--headless", "--only-summary", *arguments),
        cwd=tmp_path,
        env=environment(tmp_path, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
