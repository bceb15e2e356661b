"""The engine's own process ends with its parent, however and whenever that ends."""

import ctypes
import os
import time

from meshverdict.load.engine_process import EngineProcess

PR_SET_CHILD_SUBREAPER = 36


class Loop:
    """An open loop that would leave a trace of having begun."""

    duration = None
    error = None

    def __init__(self, trace):
        self._trace = trace

    def open(self):
        """Begin."""
        self._trace.touch()

    def run(self, send):
        """No arrivals."""


def orphan():
    """Fork, with a parent that has ended before the fork could ask to be told of its end."""
    middle = os.fork()
    if middle:
        return middle
    here = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == here:
        time.sleep(0.001)
    return 0


def ended(engine):
    """Wait for the engine's last word."""
    deadline = time.monotonic() + 10
    while not engine.over:
        assert time.monotonic() < deadline
        engine.read()
        time.sleep(0.001)


def test_an_engine_whose_parent_has_gone_already_sends_nothing(tmp_path):
    """Nobody would ever stop it."""
    # Orphans are the children of pid 1 again, whatever lab this process has held before.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    engine = EngineProcess(Loop(tmp_path / "orphan"), fork=orphan)
    ended(engine)
    assert not (tmp_path / "orphan").exists()
    engine = EngineProcess(Loop(tmp_path / "child"))
    ended(engine)
    assert (tmp_path / "child").exists()
