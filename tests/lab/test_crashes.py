"""However a part of the lab dies, nothing of the lab is left, and the next `up` works."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .machine import Footprint, free_port, tree, wait_nothing_left

ROOT = Path(__file__).resolve().parents[2]


def own_processes(keeper):
    """The lab's own processes by part: keeper, supervisor, spawner, relay."""
    parts = {}
    for process in tree(keeper):
        if "lab.keeper" in process.name():
            comm = Path(f"/proc/{process.pid}/comm").read_text().strip()
            parent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1]
            name = {"mv-relay": "relay", "mv-spawner": "spawner"}.get(comm)
            parts[name or ("keeper" if process.pid == keeper else f"supervisor of {parent}")] = process
    return {name.partition(" ")[0]: process for name, process in parts.items()}


@pytest.mark.parametrize("part", ["keeper", "supervisor", "spawner", "relay"])
def test_a_killed_part_takes_the_whole_lab_along(command, part):
    """SIGKILL of any process of ours: no process, mount, interface or rule stays; the next lab comes up."""
    before = Footprint.now()
    info = command.up()
    processes = tree(info["pid"])
    parts = own_processes(info["pid"])
    assert sorted(parts) == ["keeper", "relay", "spawner", "supervisor"]
    os.kill(parts[part].pid, signal.SIGKILL)
    assert wait_nothing_left(processes, before) == []
    assert command.run("status").returncode == 3
    assert command.up()["pid"] != info["pid"]


def test_ten_labs_killed_at_random_moments_of_their_start_leave_nothing(command):
    """The keeper is killed somewhere between its first instruction and Ready."""
    chance = random.Random(20261122)
    for _ in range(10):
        before = Footprint.now()
        asked = subprocess.Popen(
            [sys.executable, "-m", "meshverdict", "up", "--port", str(free_port())],
            env=command.env,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.3 + chance.random() * 1.2)
        processes = tree(asked.pid)
        lock = command.state / "meshverdict/default/lock"
        keeper = lock.read_text() if lock.exists() else ""
        if keeper:
            processes += tree(int(keeper))
            try:
                os.kill(int(keeper), signal.SIGKILL)
            except ProcessLookupError:
                assert not tree(int(keeper))
        asked.wait(timeout=30)
        command.run("down")
        assert wait_nothing_left(processes, before) == []
    assert command.up()["ready_s"] < 60


def test_an_interrupted_up_leaves_nothing(command):
    """Ctrl-C while the lab starts takes back what was started."""
    before = Footprint.now()
    asked = subprocess.Popen(
        [sys.executable, "-m", "meshverdict", "up", "--port", str(free_port())],
        env=command.env,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.5)
    processes = tree(asked.pid)
    asked.send_signal(signal.SIGINT)
    asked.wait(timeout=30)
    command.run("down")
    assert wait_nothing_left(processes, before) == []


def test_a_lab_whose_state_folder_was_deleted_ends(command):
    """No command could find it any more; it takes itself away, and the next one comes up."""
    before = Footprint.now()
    processes = tree(command.up()["pid"])
    shutil.rmtree(command.state / "meshverdict/default")
    assert wait_nothing_left(processes, before) == []
    command.up()
