"""What breaks a generator, or a part of it, is said, and no record of it is taken for a whole one."""

import os
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest
from locust_command import OWN, command, environment, locust

from meshverdict.model.record_reader import read_record
from meshverdict.model.validity import check_load


def test_a_worker_that_is_killed_makes_the_run_invalid(tmp_path, own, lab):
    """Nothing of it was under way, so no request is missing: what is missing is load."""
    running = subprocess.Popen(
        command(
            own, "--headless", "-H", lab, "--rate", "100", "-t", "6s", "--processes", "2", "--record", "load.jsonl"
        ),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    record = tmp_path / "load.jsonl"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and (not record.exists() or len(record.read_bytes().splitlines()) < 8):
        time.sleep(0.05)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    running.wait(60)
    found = read_record(record)
    assert found.reason == "crashed"
    assert not check_load(found).valid


ENDLESS = """
    import sys
    from locust import task
    from meshverdict.load.users import OpenUser

    class Visitor(OpenUser):
        network_timeout = 0.5
        @task
        def read(self):
            {what}
"""


@pytest.mark.parametrize(
    ("what", "words"), [("while True: pass", "did not end: it was killed"), ("sys.exit(5)", "SystemExit: 5")]
)
def test_a_task_that_breaks_the_generator_is_said_to_have(tmp_path, lab, what, words):
    """One that never comes back, and one that leaves: no record of theirs is whole, and nothing is left running."""
    file = tmp_path / "own.py"
    file.write_text(textwrap.dedent(ENDLESS.format(what=what)))
    done = locust(tmp_path, file, "-H", lab, "--rate", "10", "-t", "2s", "--record", "load.jsonl")
    assert words in done.stderr
    assert read_record(tmp_path / "load.jsonl").reason == "crashed"
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(file).encode() in _bytes(p)]
    assert left == []


def _bytes(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_users_that_would_be_in_no_record_are_refused(tmp_path, lab):
    """With a rate, users that wait for answers would load the service besides."""
    file = tmp_path / "own.py"
    file.write_text(
        textwrap.dedent(OWN)
        + "\nfrom locust import FastHttpUser\nclass Other(FastHttpUser):\n    tasks = [lambda u: None]\n"
    )
    done = locust(tmp_path, file, "-H", lab, "--rate", "10", "-t", "1s")
    assert done.returncode == 2
    assert "--rate: Other: no OpenUser" in done.stderr
    assert locust(tmp_path, file, "-H", lab, "--rate", "10", "-t", "1s", "Visitor").returncode == 0
