"""The programs that stall a tier or a container, run in a PID namespace of their own, as in a pod."""

import shutil
import signal
import subprocess
import sys
import time

import pytest

from meshverdict.chaos import stall_programs
from meshverdict.chaos.stall_programs import ALL, REDIS, RELEASE, SIGNALS, WORKERS, stall

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare (util-linux)"),
]
# A pod's first process with two workers that count, and one command beside them, given as an argument: it begins when both
# have counted, and gets a line to read once both stand still.
POD = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as in a container, also where the tests run under nohup
def work(n):
    while True:
        with open(f"{sys.argv[1]}/{n}", "a") as file: file.write("x")
        time.sleep(0.01)
def still(pid):
    return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "T"
workers = []
for n in ("1", "2"):
    workers.append(os.fork())
    if not workers[-1]: work(n)
while len(os.listdir(sys.argv[1])) < 2: time.sleep(0.01)
command = subprocess.Popen(["sh", "-c", sys.argv[2], "pod", *sys.argv[3:]], stdin=subprocess.PIPE)
while command.poll() is None and not all(map(still, workers)): time.sleep(0.01)
try: command.communicate(b"go\\n")
except BrokenPipeError: pass
print(command.wait(), flush=True)
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
            stdin=subprocess.DEVNULL,
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
    process = pod(SIGNALS, 4, "0.300", "0.100", "4", WORKERS)
    assert len(process.stdout.readline().split()) == 2, "it says whom it stopped"
    assert process.stdout.readline().strip() == "0"
    during = counted(tmp_path)
    time.sleep(1.6)
    after = [b - a for a, b in zip(during, counted(tmp_path), strict=True)]
    assert len(during) == 2
    assert all(a < 0.6 * b for a, b in zip(during, after, strict=True)), (during, after)


def test_release_ends_a_stall_and_sees_that_nobody_stands_still(pod, tmp_path):
    """A stall of 20 s, and the release half a second later: it answers 0, and the workers count again."""
    stall = stalling(SIGNALS, 1, 20, 1, 30, WORKERS)
    standing = "grep -q '^State:.T' /proc/[0-9]*/status || exit 9"
    script = f"{stall} sleep 0.5\n{standing}\n{RELEASE}"
    process = pod(script)
    assert process.stdout.readline().strip() == "0"
    before = counted(tmp_path)
    assert len(before) == 2
    time.sleep(0.3)
    assert all(b > a for a, b in zip(before, counted(tmp_path), strict=True))


@pytest.mark.parametrize("who", [WORKERS, ALL])
def test_workers_go_on_when_the_program_that_stalls_them_is_killed(pod, tmp_path, who):
    """`kill -9` in the middle of a stall of 20 s; its watch, set to two seconds, lets them go on."""
    process = pod(f"{stalling(SIGNALS, 1, 20, 1, 2, who)} read go; kill -9 $!")
    assert process.stdout.readline().strip() == "0"
    before = counted(tmp_path)
    assert len(before) == 2
    time.sleep(0.5)
    assert counted(tmp_path) == before, "they stand still"
    time.sleep(2)
    assert all(b > a for a, b in zip(before, counted(tmp_path), strict=True))


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_a_program_that_is_asked_to_end_lets_its_workers_go_on_at_once(pod, tmp_path, name):
    """In the middle of a stall of 20 s, whose watch is an hour away."""
    process = pod(f"{stalling(SIGNALS, 1, 20, 1, 3600, ALL)} read go; kill -{name} $!; wait $!; exit $?")
    assert process.stdout.readline().strip() == "4"
    before = counted(tmp_path)
    assert len(before) == 2
    time.sleep(0.3)
    assert all(b > a for a, b in zip(before, counted(tmp_path), strict=True))


def test_a_trigger_stops_with_the_same_program_and_says_what(pod, tmp_path):
    """`all` names both workers and what else ran beside them, and lets them go on."""
    command = stall(SIGNALS, 1, 0.3, 0.0, ALL)
    assert command[3] == stall_programs.NAME
    process = pod(SIGNALS, *command[4:])
    assert len(process.stdout.readline().split()) == 2
    assert process.stdout.readline().strip() == "0"
    before = counted(tmp_path)
    time.sleep(0.2)
    assert all(b > a for a, b in zip(before, counted(tmp_path), strict=True))


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")
@pytest.mark.parametrize(("options", "status"), [("", 0), ("--requirepass secret", 3)])
def test_a_redis_that_refuses_the_pause_is_told_from_one_that_pauses(options, status):
    """redis-cli ends with 0 in both cases: the reply decides, and is shown."""
    serve = f"ip link set lo up; redis-server --save '' {options} >/dev/null & "
    wait = "until redis-cli PING >/dev/null 2>&1; do sleep 0.05; done; "
    words = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
    inner = f"sh -c {quoted(REDIS)} pod 1 0.05 0.05 50"
    done = subprocess.run(
        [*words, f"{serve}{wait}{inner}"], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == status, done.stderr
    assert ("NOAUTH" in done.stderr) == bool(status)


def stalling(script, *arguments):
    """A line that stalls in the background, its name in two words: whoever holds the line is none that stalls."""
    words = " ".join(map(str, arguments))
    return f"name=meshverdict-; sh -c {quoted(script)} ${{name}}stall {words} &"


def quoted(script):
    """For another shell."""
    return "'" + script.replace("'", "'\\''") + "'"
