"""How busy the machine is: the lab, the load generator and everything else share its cores.

From /proc/pressure/cpu (how long somebody had to wait for a core) where the kernel has it, and from
/proc/stat (how long the cores were used, and how long the machine below took them away).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# Fields of the first line of /proc/stat, after the word "cpu".
_IDLE = (3, 4)
_STEAL = 7
_COUNTED = 8  # guest time, which follows, is part of user time


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment: seconds since boot, of all cores together; None where the kernel has none."""

    t: float
    used: float
    total: float
    steal: float
    waited: float | None


def read(now: float, proc: Path = _PROC) -> Reading | None:
    """The counters now; None where there is no /proc/stat."""
    try:
        line = (proc / "stat").read_text().splitlines()[0].split()[1 : _COUNTED + 1]
        jiffies = [float(text) for text in line]
    except (OSError, ValueError, IndexError):
        return None
    per_second = float(os.sysconf("SC_CLK_TCK"))
    total = sum(jiffies) / per_second
    idle = sum(jiffies[i] for i in _IDLE) / per_second
    return Reading(now, total - idle, total, jiffies[_STEAL] / per_second, _waited(proc / "pressure" / "cpu"))


def _waited(path: Path) -> float | None:
    try:
        some = path.read_text().splitlines()[0]
        return float(some.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError, IndexError):
        return None


def between(one: Reading, two: Reading) -> dict[str, float] | None:
    """Shares of the time between two readings: ``busy`` and ``steal`` of all cores, ``pressure`` of the time.

    None when no time has passed.
    """
    total, seconds = two.total - one.total, two.t - one.t
    if total <= 0 or seconds <= 0:
        return None
    found = {"busy": (two.used - one.used) / total, "steal": (two.steal - one.steal) / total}
    if one.waited is not None and two.waited is not None:
        found["pressure"] = (two.waited - one.waited) / seconds
    return {name: round(min(1.0, max(0.0, value)), 4) for name, value in found.items()}
