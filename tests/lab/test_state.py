"""Whether a lab runs is told by a lock, and nobody who merely asks is taken for a lab."""

import fcntl
import os
import subprocess
import sys

import pytest

from meshverdict.cli import main
from meshverdict.lab.state import LabInfo, StateFolder
from meshverdict.lab.up import stop
from meshverdict.model.errors import LabError
from meshverdict.model.settings import LabSettings


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = StateFolder("asked")
    made.create()
    return made


def test_two_who_ask_at_once_find_no_lab_and_end_no_process(state):
    """The lock file still names the keeper of a lab that has ended; its number may be anybody's by now."""
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    state.lock_file.write_text(str(stranger.pid))
    other = os.open(state.lock_file, os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_SH)  # `meshverdict status`, say
        assert not state.running()
        assert stop(state, 0.5) is False
        assert stranger.poll() is None
    finally:
        os.close(other)
        stranger.communicate()
    assert stranger.returncode == 1, "it ended by itself, at the end of its input"


def test_a_lab_that_holds_the_lock_runs(state):
    """As long as its descriptor is open, and no longer."""
    descriptor = state.lock()
    assert state.running()
    os.close(descriptor)
    assert not state.running()


def test_a_lab_with_another_image_table_is_not_taken_for_the_one_that_was_asked(state, tmp_path, capsys):
    """`up --images` on a lab that is up without it would do nothing in silence."""
    info = LabInfo("asked", os.getpid(), str(state.kubeconfig), "https://127.0.0.1:1", LabSettings(), 0.0)
    state.write_info(info)
    images = tmp_path / "images.yaml"
    images.write_text("a: {cmd: [sh]}\n")
    descriptor = state.lock()
    try:
        assert main(["up", "--name", "asked", "--images", str(images)]) == 3
        assert "not with --images" in capsys.readouterr().err
        assert main(["up", "--name", "asked"]) == 0
    finally:
        os.close(descriptor)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_looked_into_is_named(state):
    """A message instead of a traceback."""
    state.path.chmod(0)
    try:
        with pytest.raises(LabError, match="XDG_STATE_HOME"):
            state.running()
    finally:
        state.path.chmod(0o700)


@pytest.mark.usefixtures("state")
@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_a_time_that_is_none_is_refused(seconds, capsys):
    """`nan` would be waited for without end."""
    assert main(["up", "--name", "asked", "--timeout", seconds]) == 2
    assert "--timeout" in capsys.readouterr().err
