"""Where the lab cannot run: what is missing is named, with the way out, and nothing is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
# The limit belongs to the user namespace in which it is set, so the machine itself is left as it is.
WITHOUT = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
# Hides a program in a mount namespace of its own: the machine keeps it.
HIDDEN = 'mount --bind /dev/null "$0" && exec "$@"'


def unfit(person, without, command):
    """All that a command says where *without* takes something away; it could not measure, and no lab is left."""
    done = subprocess.run(
        [*without, BIN / "meshverdict", command, "--name", "unfit"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(person.home), "XDG_STATE_HOME": str(person.home / "state")},
        cwd=person.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 3, said
    assert not (person.home / "state" / "meshverdict" / "unfit" / "lab.json").exists()
    return said


@pytest.mark.parametrize("command", ["up", "demo", "doctor"])
def test_missing_debian_package(person, command):
    """Exit 3, the program and its package by name, the command that brings it, and no lab is left."""
    redis = shutil.which("redis-server", path="/usr/local/bin:/usr/bin")
    if os.geteuid() != 0 or redis is None:
        pytest.skip("needs root, and a Redis of the machine's to hide")
    said = unfit(person, ["unshare", "--mount", "sh", "-c", HIDDEN, redis], command)
    assert "redis-server" in said
    assert "apt-get install" in said


@pytest.mark.parametrize("command", ["up", "demo", "doctor"])
def test_no_user_namespaces_allowed(person, command):
    """Exit 3, the setting by name, and for demo a report that is really there to look at."""
    probe = ["unshare", "-Ur", "sh", "-c", WITHOUT, "sh"]
    if subprocess.run([*probe, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not allow user namespaces anyway")
    said = unfit(person, probe, command)
    assert "max_user_namespaces" in said
    if command == "demo":
        example = said.partition("measured elsewhere: ")[2].splitlines()[0]
        assert Path(example).is_file(), said
