"""Where the lab cannot run: what is missing is named, with the way out, and nothing is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
# The limit belongs to the user namespace in which it is set, so the machine itself is left as it is.
WITHOUT = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'


@pytest.mark.parametrize("command", ["up", "demo", "doctor"])
def test_no_user_namespaces_allowed(person, command):
    """Exit 3, the setting by name, and for demo a report that is really there to look at."""
    probe = ["unshare", "-Ur", "sh", "-c", WITHOUT, "sh"]
    if subprocess.run([*probe, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not allow user namespaces anyway")
    done = subprocess.run(
        [*probe, BIN / "meshverdict", command, "--name", "unfit"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(person.home), "XDG_STATE_HOME": str(person.home / "state")},
        cwd=person.home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 3, said
    assert "max_user_namespaces" in said
    if command == "demo":
        example = said.partition("measured elsewhere: ")[2].splitlines()[0]
        assert Path(example).is_file(), said
    assert not (person.home / "state" / "meshverdict" / "unfit" / "lab.json").exists()
