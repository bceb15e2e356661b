"""What pods use: processor time and memory of each container, from /proc.

There are no control groups to ask (a plain user's lab has none), and a cluster is asked through its kubelet's
``/stats/summary``; so the lab's kubelet adds up the processes of each container and answers in that form.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PROC: Final = Path("/proc")
# Fields of /proc/PID/stat after the command's closing bracket: parent; user and system time, own and of children
# that were waited for.
_PARENT: Final = 1
_TIMES: Final = slice(11, 15)
_ANONYMOUS: Final = "RssAnon:"


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """One process.

    Attributes:
        parent: Its parent's number.
        cpu_s: Seconds of processor time, its own and that of its ended children.
        anonymous: Bytes of memory that are no file's, so that a program shared by many pods counts for none.
    """

    parent: int
    cpu_s: float
    anonymous: int


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """A container that runs, with the number of its first process."""

    namespace: str
    pod: str
    uid: str
    name: str
    pid: int


def parse_stat(text: str, ticks: int) -> tuple[int, float]:
    """Parent and processor time from /proc/PID/stat; a command may hold blanks and brackets.

    >>> parse_stat("7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 150 50 20 5 20 0 1 0", 100)
    (1, 2.25)
    """
    fields = text.rpartition(")")[2].split()
    return int(fields[_PARENT]), sum(int(value) for value in fields[_TIMES]) / ticks


def read_processes(proc: Path = _PROC) -> dict[int, ProcessUse]:
    """Every process that /proc shows; one that ends meanwhile is left out."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for entry in os.listdir(proc):  # noqa: PTH208 - a Path for each of hundreds of names, once a second, is waste
        if not entry.isdigit():
            continue
        try:
            parent, cpu_s = parse_stat((proc / entry / "stat").read_text(), ticks)
            status = (proc / entry / "status").read_text()
        except (OSError, IndexError, ValueError):
            continue
        found[int(entry)] = ProcessUse(parent, cpu_s, _anonymous(status))
    return found


def _anonymous(status: str) -> int:
    for line in status.splitlines():
        if line.startswith(_ANONYMOUS):
            return int(line.split()[1]) * 1024
    return 0  # a zombie has no memory


def _of_tree(
    first: int, processes: Mapping[int, ProcessUse], children: Mapping[int, list[int]]
) -> tuple[float, int]:
    """Processor seconds and bytes of a process with all its descendants."""
    cpu_s, size, waiting = 0.0, 0, [first]
    while waiting:
        pid = waiting.pop()
        if (process := processes.get(pid)) is not None:
            cpu_s += process.cpu_s
            size += process.anonymous
        waiting += children.get(pid, ())
    return cpu_s, size


def summary(
    node: str, containers: Iterable[RunningContainer], processes: Mapping[int, ProcessUse], now: float
) -> dict[str, Any]:
    """The kubelet's summary, in the form and with the names of Kubernetes' stats/v1alpha1. Pure.

    Args:
        node: The node's name.
        containers: What runs there.
        processes: From `read_processes`.
        now: Unix time of the reading.
    """
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    time = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    pods: dict[str, dict[str, Any]] = {}
    for container in containers:
        reference = {"name": container.pod, "namespace": container.namespace, "uid": container.uid}
        pod = pods.setdefault(container.uid, {"podRef": reference, "containers": []})
        cpu_s, size = _of_tree(container.pid, processes, children)
        pod["containers"].append(
            {
                "name": container.name,
                "cpu": {"time": time, "usageCoreNanoSeconds": round(cpu_s * 1e9)},
                "memory": {"time": time, "rssBytes": size},
            }
        )
    return {"node": {"nodeName": node}, "pods": list(pods.values())}
