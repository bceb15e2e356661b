"""What a container used, from /proc: a real process tree that computes, and the summary's form."""

import os
import subprocess
import sys
import time

import pytest

from meshverdict.runtime.pod_usage import ProcessUse, RunningContainer, read_processes, summary

# A child computes and ends, then its parent computes: both belong to the container.
BURN = """
import os, sys, time
print("up", flush=True); sys.stdin.readline()
def burn():
    end = time.thread_time() + 0.15
    while time.thread_time() < end: pass
if (child := os.fork()) == 0:
    burn(); os._exit(0)
os.waitpid(child, 0); burn()
print("done", flush=True); time.sleep(30)
"""


def cpu_of(found):
    return found["pods"][0]["containers"][0]["cpu"]["usageCoreNanoSeconds"] / 1e9


def test_time_of_a_process_and_of_its_ended_children_is_counted():
    """0.15 s in a child that has ended and 0.15 s of its own."""
    process = subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        first = RunningContainer("c", "app-1", "u", "app", process.pid)
        assert process.stdout.readline() == b"up\n"
        started = summary("node-a", [first], read_processes(), time.time())
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n"
        found = summary("node-a", [first], read_processes(), time.time())
    finally:
        process.kill()
        process.communicate()
    assert cpu_of(found) - cpu_of(started) == pytest.approx(0.30, abs=0.05)
    assert found["pods"][0]["containers"][0]["memory"]["rssBytes"] > 1e6


def test_summary_adds_up_descendants_and_nobody_else():
    """Processes 11 and 12 descend from 10; process 20 is another container's, 30 nobody's."""
    processes = {
        10: ProcessUse(1, 1.0, 100),
        11: ProcessUse(10, 0.5, 10),
        12: ProcessUse(11, 0.25, 1),
        20: ProcessUse(1, 8.0, 1000),
        30: ProcessUse(1, 99.0, 9999),
    }
    containers = [
        RunningContainer("c", "app-1", "u", "app", 10),
        RunningContainer("c", "app-1", "u", "istio-proxy", 20),
    ]
    found = summary("node-a", containers, processes, 0.25)
    time_ = "1970-01-01T00:00:00.250Z"
    used = [("app", 1.75, 111), ("istio-proxy", 8.0, 1000)]
    assert found == {
        "node": {"nodeName": "node-a"},
        "pods": [
            {
                "podRef": {"name": "app-1", "namespace": "c", "uid": "u"},
                "containers": [
                    {
                        "name": name,
                        "cpu": {"time": time_, "usageCoreNanoSeconds": round(cpu * 1e9)},
                        "memory": {"time": time_, "rssBytes": size},
                    }
                    for name, cpu, size in used
                ],
            }
        ],
    }


def test_own_process_is_among_those_read():
    """With its parent."""
    assert read_processes()[os.getpid()].parent == os.getppid()
