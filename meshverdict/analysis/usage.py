"""What each container used, per request: the price of a sidecar, or of anything else, in processor time and memory.

Pure. Counters are read at moments of their own, so their values at a window's ends are interpolated between the
readings around them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from meshverdict.analysis.loose import mapping, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from meshverdict.analysis.windows import Window

SIDECAR: Final = "istio-proxy"
# A container whose readings cover less of a window than this was not there for all of it.
MIN_COVER: Final = 0.6


@dataclass(frozen=True, slots=True)
class Usage:
    """The readings of one container; all tuples have one length.

    Attributes:
        pod: ``namespace/name``.
        container: Its name in the pod.
        t: Unix seconds.
        cpu_s: Processor seconds since its start.
        memory: Bytes of anonymous memory; NaN where the kubelet did not tell.
    """

    pod: str
    container: str
    t: tuple[float, ...]
    cpu_s: tuple[float, ...]
    memory: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TierUse:
    """What one tier used in some windows.

    Attributes:
        tier: Namespace of its pods.
        part: ``app`` or ``sidecar``.
        cpu_s: Processor seconds.
        memory: Bytes, the mean over time; None where nobody told.
    """

    tier: str
    part: str
    cpu_s: float
    memory: float | None


def parse_usage(lines: Iterable[Mapping[str, Any]]) -> tuple[Usage, ...]:
    """The readings of telemetry lines with ``containers``; other lines, and broken values, are left out."""
    rows: dict[tuple[str, str], dict[float, tuple[float, float]]] = {}
    for line in lines:
        t, pod = number(line.get("t")), line.get("pod")
        if t is None or not isinstance(pod, str):
            continue
        for name, used in mapping(line.get("containers")).items():
            cpu, memory = number(mapping(used).get("cpu_seconds")), number(mapping(used).get("rss_bytes"))
            if cpu is not None:
                own = number(mapping(used).get("t"))
                at = t if own is None else own
                # A reading that comes again is the same reading.
                rows.setdefault((pod, str(name)), {})[at] = (cpu, math.nan if memory is None else memory)
    found = []
    for (pod, name), readings in sorted(rows.items()):
        cpu_s, sizes = zip(*(readings[t] for t in sorted(readings)), strict=True)
        found.append(Usage(pod, name, tuple(sorted(readings)), cpu_s, sizes))
    return tuple(found)


def cpu_between(usage: Usage, start: float, end: float) -> float | None:
    """Processor seconds of a container in [start, end); None when no reading covers any of that.

    Readings that lack a little at the window's ends are extrapolated. One that was there for a part of the window, as
    when its pod was replaced, counts what it used in that part, and one that was started again from its last start: its
    counter went back.
    """
    t, cpu = np.asarray(usage.t), np.asarray(usage.cpu_s)
    if len(back := np.flatnonzero(np.diff(cpu) < 0)):
        t, cpu = t[back[-1] + 1 :], cpu[back[-1] + 1 :]
    first, last = max(start, float(t[0])), min(end, float(t[-1]))
    if last <= first:
        return None
    used = float(np.interp(last, t, cpu) - np.interp(first, t, cpu))
    return used if last - first < MIN_COVER * (end - start) else used * (end - start) / (last - first)


def tier_use(usage: Sequence[Usage], windows: Sequence[Window]) -> tuple[TierUse, ...]:
    """What each tier's own containers and its sidecars used in the windows together, sidecars after the tier's own."""
    cpu: dict[tuple[str, str], float] = {}
    memory: dict[tuple[str, str], float] = {}
    seconds = sum(window.seconds for window in windows)
    for one in usage:
        key = (one.pod.partition("/")[0], "sidecar" if one.container == SIDECAR else "app")
        for window in windows:
            used = cpu_between(one, window.start, window.end)
            if used is None:
                continue
            cpu[key] = cpu.get(key, 0.0) + used
            size = _memory(one, window.start, window.end)
            if size is not None:
                there = min(window.end, one.t[-1]) - max(window.start, one.t[0])
                part = 1.0 if there >= MIN_COVER * window.seconds else there / window.seconds
                memory[key] = memory.get(key, 0.0) + size * part * window.seconds / seconds
    return tuple(TierUse(*key, cpu[key], memory.get(key)) for key in sorted(cpu))


def _memory(usage: Usage, start: float, end: float) -> float | None:
    sizes = [m for t, m in zip(usage.t, usage.memory, strict=True) if start <= t < end and not math.isnan(m)]
    return sum(sizes) / len(sizes) if sizes else None


def cpu_per_request(usage: Sequence[Usage], windows: Sequence[Window], requests: int) -> float | None:
    """Processor seconds of all containers together for one request; None where it is not known.

    It holds what the pods use without any request as well, so it falls with the rate: compare at equal rates.
    """
    used = sum(tier.cpu_s for tier in tier_use(usage, windows))
    return used / requests if used > 0 and requests > 0 else None
