"""What a lab could leave on a machine: processes, mounts, interfaces, packet rules."""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


def free_port() -> int:
    """A port of 127.0.0.1 that is free now, with room for the next ones to be tried."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return min(sock.getsockname()[1], 60000)


@dataclass(frozen=True)
class Process:
    """A process, told from a later one with the same id by its start."""

    pid: int
    started: str

    def alive(self) -> bool:
        """Whether it still runs (a zombie does not)."""
        stat = _stat(self.pid)
        return stat is not None and stat[19] == self.started and stat[0] != "Z"

    def name(self) -> str:
        """The first words of its command line."""
        try:
            words = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return "?"
        return b" ".join(words[:4]).decode(errors="replace")


def tree(root: int) -> list[Process]:
    """A process and all that descend from it, on this machine's own process table."""
    children: dict[int, list[int]] = {}
    started: dict[int, str] = {}
    for entry in (p.name for p in Path("/proc").iterdir()):
        stat = _stat(int(entry)) if entry.isdigit() else None
        if stat is not None:
            children.setdefault(int(stat[1]), []).append(int(entry))
            started[int(entry)] = stat[19]
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        if pid in started:
            found.append(Process(pid, started[pid]))
            waiting += children.get(pid, [])
    return found


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


@dataclass(frozen=True)
class Footprint:
    """The machine's mounts, interfaces and packet rules."""

    mounts: frozenset[str]
    interfaces: frozenset[str]
    rules: str

    @classmethod
    def now(cls) -> Footprint:
        """Look at the machine."""
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=False).stdout
        mounts = frozenset(Path("/proc/self/mountinfo").read_text().splitlines())
        return cls(mounts, frozenset(p.name for p in Path("/sys/class/net").iterdir()), rules)

    def beyond(self, before: Footprint) -> list[str]:
        """What is there that was not."""
        lines = [f"interface {name}" for name in sorted(self.interfaces - before.interfaces)]
        lines += [f"mount {line}" for line in self.mounts - before.mounts]
        return lines + ([f"rules {self.rules}"] if self.rules != before.rules else [])


def wait_nothing_left(processes: list[Process], before: Footprint, timeout: float = 5.0) -> list[str]:
    """What a lab has left, after at most *timeout* seconds; empty when the machine is as before."""
    deadline = time.monotonic() + timeout
    while True:
        left = [f"process {p.pid} {p.name()}" for p in processes if p.alive()] + Footprint.now().beyond(
            before
        )
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)
