"""What a phase of the run cost in processor time, asked while the run goes on."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from meshverdict.analysis.pairs import requests_in
from meshverdict.analysis.usage import Usage, parse_usage, tier_use
from meshverdict.analysis.windows import Window
from meshverdict.chaos import record, telemetry
from meshverdict.chaos.session import current
from meshverdict.model.errors import RecordError
from meshverdict.model.record_reader import read_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# A real kubelet looks about every ten seconds.
_PATIENCE_S: Final = 20.0
_POLL_S: Final = 0.5


def cpu_per_request(phase: str | None = None, beside: str | None = None) -> str:
    """Processor time of all the lab's pods for each request to it, in a sentence; where nobody tells, it says so.

    Args:
        phase: Name of a phase; by default the one that lasts.
        beside: Name of another phase, whose figure is told as well.
    """
    session = current()
    names = [phase] if beside is None else [phase, beside]
    windows = [_window(name) for name in names]
    usage = _usage_until(session.folder / telemetry.FILE, max(w.end for w in windows))
    if not usage:
        return f"processor time is not known: the kubelets tell nothing ({session.usage_refused or 'no reading yet'})"
    table = record.table_covering(
        session.folder / "load.jsonl", record.Window(int(windows[0].start), int(windows[0].end))
    )
    said = [_said(usage, window, requests_in(table, [window])) for window in windows]
    return said[0] if beside is None else f"{said[0]}; {said[1]} in phase {beside!r}"


def _window(phase: str | None) -> Window:
    session = current()
    start = read_record(session.folder / "load.jsonl").header.start
    found = record.window_of(session.timeline, phase=phase, last_s=None, load_start=start)
    return Window(phase or "now", "during", found.start, found.end)


def _usage_until(path: Path, end: float) -> tuple[Usage, ...]:
    """The readings, as soon as they reach the window's end; what there is when they do not."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        text = path.read_text() if path.is_file() else ""
        whole = text[: text.rfind("\n") + 1]
        usage = parse_usage(json.loads(line) for line in whole.splitlines())
        if not usage and current().usage_refused:
            return ()
        if max((one.t[-1] for one in usage), default=0.0) >= end or time.monotonic() > deadline:
            return usage
        time.sleep(_POLL_S)


def _said(usage: Sequence[Usage], window: Window, requests: int) -> str:
    used = tier_use(usage, [window])
    if not used or not requests:
        raise RecordError(
            f"phase {window.name!r}: {requests} requests, and readings of {len(used)} tiers: nothing to divide"
        )
    whole = 1000 * sum(tier.cpu_s for tier in used) / requests
    beside = 1000 * sum(tier.cpu_s for tier in used if tier.part == "sidecar") / requests
    part = f", {beside:.2f} ms of it in sidecars" if beside else ""
    return f"{whole:.2f} ms of processor time for each request{part}"
