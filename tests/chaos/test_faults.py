"""The programs that stall a tier, run in a PID namespace of their own, as in a pod."""

import shutil
import signal
import subprocess
import sys
import time

import pytest

from meshverdict.chaos import faults

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)"),
]
# A pod's first process with two workers that count, and one command beside them, given as an argument.
POD = """
import os, subprocess, sys, time
def work(n):
    while True:
        with open(f"{sys.argv[1]}/{n}", "a") as file: file.write("x")
        time.sleep(0.01)
for n in (1, 2):
    if os.fork() == 0: work(n)
print(subprocess.call(["sh", "-c", sys.argv[2], "pod", *sys.argv[3:]]), flush=True)
time.sleep(30)
"""


@pytest.fixture
def pod(tmp_path):
    """Starts a pod with a command in it; ended with the test."""
    started = []

    def start(script, *arguments):
        words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", POD]
        process = subprocess.Popen(
            [*words, str(tmp_path), script, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def counted(tmp_path):
    """How often the workers counted."""
    return [len(path.read_text()) for path in sorted(tmp_path.iterdir())]


def test_workers_stand_still_for_their_share_of_the_time_and_go_on(pod, tmp_path):
    """Four stalls of 300 ms with 100 ms between them: far fewer counts than in the same time afterwards."""
    process = pod(faults._SIGNALS, 4, "0.300", "0.100", "300", "4")
    assert process.stdout.readline().strip() == "0"
    during = counted(tmp_path)
    time.sleep(1.6)
    after = [b - a for a, b in zip(during, counted(tmp_path), strict=True)]
    assert len(during) == 2
    assert all(a < 0.6 * b for a, b in zip(during, after, strict=True)), (during, after)


def test_release_ends_a_stall_and_sees_that_nobody_stands_still(pod, tmp_path):
    """A stall of 20 s, and the release half a second later: it answers 0, and the workers count again."""
    # Not in one word, or this very program would be taken for one that stalls.
    stall = f"name=meshverdict-; sh -c {quoted(faults._SIGNALS)} ${{name}}stall 1 20 1 20000 30 &"
    standing = "grep -q '^State:.T' /proc/[0-9]*/status || exit 9"
    script = f"{stall} sleep 0.5\n{standing}\n{faults._RELEASE}"
    process = pod(script)
    assert process.stdout.readline().strip() == "0"
    before = counted(tmp_path)
    assert len(before) == 2
    time.sleep(0.3)
    assert all(b > a for a, b in zip(before, counted(tmp_path), strict=True))


def test_workers_go_on_when_the_program_that_stalls_them_is_killed(pod, tmp_path):
    """`kill -9` in the middle of a stall of 20 s; its watch, set to two seconds, lets them go on."""
    script = f"sh -c {quoted(faults._SIGNALS)} meshverdict-stall 1 20 1 20000 2 & sleep 0.5; kill -9 $!"
    process = pod(script)
    assert process.stdout.readline().strip() == "0"
    before = counted(tmp_path)
    assert len(before) == 2
    time.sleep(0.5)
    assert counted(tmp_path) == before, "they stand still"
    time.sleep(2)
    assert all(b > a for a, b in zip(before, counted(tmp_path), strict=True))


def quoted(script):
    """For another shell."""
    return "'" + script.replace("'", "'\\''") + "'"
