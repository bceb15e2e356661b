"""What run.json says: everything about a run that neither the journal nor the records hold."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meshverdict import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from meshverdict.chaos.connections import Seen
    from meshverdict.chaos.timeline import Timeline

FORMAT: Final = "run/1"
_PACKAGES: Final = ("chaostoolkit", "chaostoolkit-lib", "chaostoolkit-kubernetes", "kubernetes", "locust")


def software() -> dict[str, str]:
    """Versions of what ran."""
    found = {"meshverdict": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """The machine of the experiment's process; nothing that names it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_mb": memory // 2**20,
        "load_average": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def treatment(timeline: Timeline, seen: Sequence[Seen]) -> dict[str, float | None]:
    """The treatment's moments: asked for, first seen to work, removal asked for, first seen to be gone.

    Only connections that must change count. The first of them dates the effect: a policy that bites some
    pairs later than others shows that in the measures of each pair.
    """
    changing = [s for s in seen if s.connection.untreated != s.connection.treated]
    moments: dict[str, float | None] = {"applied": timeline.applied, "in_effect": None}
    moments |= {"removed": timeline.removed, "restored": None}
    if timeline.applied is not None:
        moments["in_effect"] = _earliest(
            s.first(s.connection.treated, timeline.applied, timeline.removed) for s in changing
        )
    if timeline.removed is not None:
        moments["restored"] = _earliest(s.first(s.connection.untreated, timeline.removed) for s in changing)
    return moments


def _earliest(changes: Any) -> float | None:
    return min((change.t for change in changes if change is not None), default=None)


def elapsed_ms(moments: Mapping[str, float | None], start: str, end: str) -> float | None:
    """Milliseconds between two moments; None where one was not seen."""
    a, b = moments.get(start), moments.get(end)
    return None if a is None or b is None else round((b - a) * 1000, 1)
