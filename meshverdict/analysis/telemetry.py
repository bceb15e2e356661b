"""What workloads and machine said of themselves, as columns, and whether the machine left room to measure.

Pure. When somebody waits for a core all the time, latencies measure the queue for the cores and not the
service: such a run is invalid, like one whose load generator was late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshverdict.analysis.loose import mapping, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Somebody waits for a core nearly all the time. The load generator runs ahead of everybody where it may, so
# its own send lag does not show this.
PRESSURE_LIMIT: Final = 0.9
# Where the kernel does not tell pressure: hardly a core was ever free.
BUSY_LIMIT: Final = 0.97
# The machine below took cores away: nothing in here can see what that did.
STEAL_LIMIT: Final = 0.1
MIN_SAMPLES: Final = 5
GAUGES: Final = ("busy_threads", "threads", "queue", "cpu_seconds", "rss_bytes", "handled")
SHARES: Final = ("busy", "steal", "pressure")


@dataclass(frozen=True, slots=True)
class Samples:
    """One source's samples over time; all columns have the length of ``t``, None where a value was missing.

    Attributes:
        source: A pod, or ``machine``.
        t: Unix seconds.
    """

    source: str
    t: tuple[float, ...]
    columns: Mapping[str, tuple[float | None, ...]]

    def rate(self, name: str) -> tuple[float | None, ...]:
        """A counter's increase per second since the sample before; None for the first, and after a restart."""
        values = self.columns.get(name, ())
        found: list[float | None] = [None] * len(values)
        for i in range(1, len(values)):
            now, before, dt = values[i], values[i - 1], self.t[i] - self.t[i - 1]
            if now is not None and before is not None and now >= before and dt > 0:
                found[i] = (now - before) / dt
        return tuple(found)

    def mean(self, name: str, start: float, end: float) -> float | None:
        """Mean of a column between two moments; None with fewer than MIN_SAMPLES values."""
        values = [
            v
            for t, v in zip(self.t, self.columns.get(name, ()), strict=False)
            if v is not None and start <= t < end
        ]
        return sum(values) / len(values) if len(values) >= MIN_SAMPLES else None


def parse_samples(lines: Iterable[Mapping[str, Any]]) -> tuple[tuple[Samples, ...], Samples | None]:
    """The pods that told gauges, and the machine (None where nothing is known of it).

    Lines of other kinds, and values that are no finite numbers, are left out.
    """
    pods: dict[str, list[tuple[float, Mapping[str, Any]]]] = {}
    machine: list[tuple[float, Mapping[str, Any]]] = []
    for line in lines:
        t = number(line.get("t"))
        if t is None:
            continue
        if isinstance(line.get("pod"), str) and mapping(line.get("gauges")):
            pods.setdefault(line["pod"], []).append((t, mapping(line["gauges"])))
        elif mapping(line.get("machine")):
            machine.append((t, mapping(line["machine"])))
    found = tuple(_columns(pod, rows, GAUGES) for pod, rows in sorted(pods.items()))
    return found, _columns("machine", machine, SHARES) if machine else None


def _columns(source: str, rows: Sequence[tuple[float, Mapping[str, Any]]], names: Iterable[str]) -> Samples:
    rows = sorted(rows, key=lambda row: row[0])
    columns = {name: tuple(number(values.get(name)) for _, values in rows) for name in names}
    told = {name: values for name, values in columns.items() if any(v is not None for v in values)}
    return Samples(source, tuple(t for t, _ in rows), told)


def crowded(machine: Samples | None, start: float, end: float) -> tuple[str, ...]:
    """Why the machine left no room to measure between two moments, in words; empty when it did."""
    if machine is None:
        return ()
    steal = machine.mean("steal", start, end)
    reasons = []
    if (pressure := machine.mean("pressure", start, end)) is not None:
        if pressure > PRESSURE_LIMIT:
            reasons.append(
                f"machine: CPU pressure {pressure:.0%}: somebody waited for a core nearly all the time"
                f" (limit {PRESSURE_LIMIT:.0%})"
            )
    elif (busy := machine.mean("busy", start, end)) is not None and busy > BUSY_LIMIT:
        reasons.append(f"machine: its cores were {busy:.0%} busy (limit {BUSY_LIMIT:.0%})")
    if steal is not None and steal > STEAL_LIMIT:
        reasons.append(
            f"machine: {steal:.0%} of its cores' time was taken away from below (limit {STEAL_LIMIT:.0%})"
        )
    return tuple(reasons)
