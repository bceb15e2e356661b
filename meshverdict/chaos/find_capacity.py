"""Find the capacity: the offered load at which goodput stops following.

So that an experiment can say "0.8 of the capacity" and mean it on any machine.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from meshverdict.analysis.overload import flow_of
from meshverdict.analysis.snowball import hysteresis, knee
from meshverdict.chaos.session import current
from meshverdict.chaos.telemetry import METRICS_PORT, gauges, publishers
from meshverdict.load.driver import start_load
from meshverdict.load.spec import IMAGE, LoadSpec
from meshverdict.model.errors import LabError, UsageError
from meshverdict.model.record_reader import read_record
from meshverdict.model.validity import LoadLimits, check_load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from meshverdict.analysis.snowball import Knee
    from meshverdict.chaos.cluster import KubeAccess

log = logging.getLogger("chaostoolkit")
_TRIES: Final = 3
_LOWEST: Final = 5.0
_DRAIN_S: Final = 60.0
_QUIET: Final = 2
_INGRESS_S: Final = 2.5
# A search counts answers and reads no latency: that others on the machine wait for a core does not spoil it, as long as the
# generator itself was on time.
_LIMITS: Final = LoadLimits(pressure=1.0)
_FOLLOWED: Final = (
    "goodput followed the load to its end; give the app fewer threads or more work with set_capacity"
)
# Which numbers of a shape are rates.
_RATES: Final = {"ramp": (0, 1), "burst": (0, 1)}


def find_capacity(  # noqa: PLR0917 - an experiment names its arguments
    seconds: float = 20.0,
    most: float = 200.0,
    deadline_ms: float = 1000.0,
    tags: list[str] | None = None,
    locustfile: str | None = None,
    down_s: float = 0.0,
) -> dict[str, Any]:
    """Let the offered load rise until goodput no longer follows, and wait until the queues are empty again.

    Later activities of the run say `of_capacity` (start_load) and `limit_of_capacity` (apply_policy). The record of the
    search is in the run folder's `capacity/`. It needs a run in which no load runs yet.

    Args:
        seconds: How long the load rises.
        most: Requests a second at the end of the rise; three times as many when goodput followed to the end. A search
            that says nothing, because the machine was busy with something else, is made again, twice at most.
        deadline_ms: A good answer later than this is no goodput.
        tags: Only tasks with one of these tags; by default those of case 1.
        locustfile: Path, relative to the experiment's file; by default the lab's own.
        down_s: How long the load falls again afterwards, to see at which rate goodput follows again (hysteresis).
    """
    session = current()
    if session.load is not None:
        raise UsageError("find_capacity: a load runs already; find the capacity before start_load")
    top = searched = float(most)
    problem = ""
    for _ in range(_TRIES):
        folder = _next_folder(session.folder)
        rising = LoadSpec(
            duration_s=float(seconds) + float(down_s),
            rate=hill(min(_LOWEST, top / 4), top, float(seconds), float(down_s)),
            seed=session.options.seed,
            deadline_ms=float(deadline_ms),
            workers=session.options.workers or 1,
            tags=tuple(tags or ("case1",)),
            locustfile=session.locustfile(locustfile),
            name="capacity",
            image=session.options.load_image or IMAGE,
        )
        found, problem = _search(rising, folder, float(seconds))
        _await_empty_queues(session.access, session.namespaces)
        if found is not None:
            session.measures["capacity"] = {
                "per_s": round(found.capacity, 2),
                "reached_at": round(found.at, 2),
                "folder": folder.name,
            }
            log.info("Capacity: %.1f requests a second", found.capacity)
            return dict(session.measures["capacity"])
        log.warning("No capacity found yet: %s", problem)
        searched, top = top, top * (3 if problem == _FOLLOWED else 1)
    raise LabError(
        f"the capacity was not found in {_TRIES} searches, the last up to {searched:g} requests a second: {problem}"
    )


def hill(low: float, top: float, up_s: float, down_s: float) -> str:
    """A rate that rises evenly, and falls again in steps of a second where *down_s* is not 0. Pure.

    >>> hill(5, 200, 18, 0), hill(5, 35, 3, 2)
    ('ramp:5:200:18', 'steps:5x1,20x1,35x1,20x1,5x1')
    """
    if down_s <= 0:
        return f"ramp:{low:g}:{top:g}:{up_s:g}"
    up, down = max(2, round(up_s)), max(2, round(down_s))
    rates = [low + (top - low) * i / (up - 1) for i in range(up)]
    rates += [top - (top - low) * i / down for i in range(1, down + 1)]
    return "steps:" + ",".join(f"{rate:g}x1" for rate in rates)


def _search(spec: LoadSpec, folder: Path, up_s: float) -> tuple[Knee | None, str]:
    """The knee; without one, why not."""
    handle = start_load(current().access.api, spec, folder)
    path = folder / "load.jsonl"
    try:
        handle.wait(spec.duration_s + 30.0)
    finally:
        handle.stop()
    record = read_record(path)
    if reasons := check_load(record, _LIMITS).reasons:
        return None, "; ".join(reasons)
    flow = flow_of(record)
    if flow is None:
        return None, "no load was recorded"
    up = flow.between(flow.start, flow.start + up_s)
    found = knee(flow if spec.duration_s <= up_s else up)
    gone = hysteresis(up, flow.between(up.end, flow.start + spec.duration_s))
    if spec.duration_s > up_s and gone is not None:
        current().measures["hysteresis"] = {
            "collapse": gone.collapse,
            "recovery": gone.recovery,
            "gap": gone.gap,
        }
    return found, "" if found is not None else _FOLLOWED


def _next_folder(run: Path) -> Path:
    """A new folder for the record of one search: ``capacity``, ``capacity-2`` and so on."""
    number = 1
    while True:
        folder = run / ("capacity" if number == 1 else f"capacity-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _await_empty_queues(access: KubeAccess, namespaces: Any) -> None:
    """Until no app holds a request or keeps one waiting, and every pod is Ready: what the search left would be measured.

    Raises:
        LabError: It takes too long.
    """
    deadline = time.monotonic() + _DRAIN_S
    quiet = 0
    while quiet < _QUIET:
        inside = _inside(access, namespaces)
        late = [pod["metadata"]["name"] for pod in current().pods() if not _ready(pod)]
        quiet = quiet + 1 if sum(inside) <= 1 and not late else 0
        if time.monotonic() > deadline:
            silent = inside.count(math.inf)
            raise LabError(
                f"{_DRAIN_S:g} s after the search for the capacity {sum(n for n in inside if n < math.inf):g} requests"
                f" are still inside, {silent} apps do not answer, and these pods are not Ready:"
                f" {', '.join(late) or 'none'}"
            )
        time.sleep(0.25)
    # An ingress that lost its backends takes a moment to see them again.
    time.sleep(_INGRESS_S)


def _ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _inside(access: KubeAccess, namespaces: Any) -> list[float]:
    """Requests in each app; infinitely many in one that does not answer, which may be too busy to."""
    pods = [p for name in namespaces for p in access.json(access.core.list_namespaced_pod, name)["items"]]
    found = []
    for namespace, name in publishers(pods):
        try:
            answer: Any = access.core.connect_get_namespaced_pod_proxy_with_path(
                f"{name}:{METRICS_PORT}", namespace, "metrics", _preload_content=False, _request_timeout=2.0
            )
        except (ApiException, HTTPError, OSError):
            found.append(math.inf)
            continue
        values = gauges(answer.data.decode(errors="replace"))
        found.append(values.get("queue", 0.0) + values.get("busy_threads", 0.0))
    return found


def scaled(shape: float | str, factor: float) -> float | str:
    """A rate or shape of rates, in shares of something, times *factor*; seconds stay seconds. Pure.

    >>> scaled(0.8, 50), scaled("0.8", 50), scaled("ramp:0.2:1.5:30", 80), scaled("steps:0.5x10,1.2x5", 100)
    (40.0, 40.0, 'ramp:16:120:30', 'steps:50x10,120x5')

    Raises:
        UsageError: Not of such a form; traces have their own rates.
    """
    if not isinstance(shape, str):
        return float(shape) * factor
    kind, colon, rest = shape.partition(":")
    try:
        if not colon:
            return float(shape) * factor
        if kind == "steps":
            steps = [step.split("x") for step in rest.split(",")]
            return "steps:" + ",".join(f"{float(rate) * factor:g}x{length}" for rate, length in steps)
        if kind in _RATES:
            parts = rest.split(":")
            return ":".join(
                [kind, *(f"{float(p) * factor:g}" if i in _RATES[kind] else p for i, p in enumerate(parts))]
            )
    except ValueError:
        pass
    raise UsageError(
        f"of_capacity {shape!r}: a number, or a shape of them such as ramp:0.2:1.5:30 or steps:0.5x10,1.2x5"
    )
