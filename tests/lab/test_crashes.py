"""However a part of the lab dies, nothing of the lab is left, and the next `up` works."""

from __future__ import annotations

import json
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


def test_of_two_ups_at_once_both_get_the_same_lab(command):
    """The one that came later waits for the other's lab, and takes none of its files away."""
    words = [sys.executable, "-m", "meshverdict", "up", "-o", "json", "--port", str(free_port())]
    asked = [
        subprocess.Popen(
            words, env=command.env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in asked]
    assert [code for _, _, code in ended] == [0, 0, 0], ended
    infos = [json.loads(out) for out, _, _ in ended]
    assert len({info["pid"] for info in infos}) == 1
    command.seen += tree(infos[0]["pid"])
    assert Path(infos[0]["kubeconfig"]).exists()
    assert command.run("status").returncode == 0


def test_a_lab_whose_state_folder_was_deleted_ends(command):
    """No command could find it any more; it takes itself away, and the next one comes up."""
    before = Footprint.now()
    processes = tree(command.up()["pid"])
    shutil.rmtree(command.state / "meshverdict/default")
    assert wait_nothing_left(processes, before) == []
    command.up()


HOLD = """
import subprocess, sys, time
guard = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE, start_new_session=True)
print(guard.pid, flush=True)
time.sleep(600)
"""


def test_tests_that_are_killed_leave_no_lab(command, tmp_path):
    """A killed pytest tears nothing down: the guard that it holds by a pipe stops its labs."""
    before = Footprint.now()
    words = [sys.executable, "-c", HOLD, str(ROOT / "tests" / "lab_guard.py"), str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
        assert int(holder.stdout.readline())
        command.up()
        holder.kill()
    assert wait_nothing_left(command.seen, before) == []
