"""Whether the sidecars really serve a policy: an object that was accepted may still change nothing.

The embedded lab writes the condition `Reconciled` once every Envoy has said that it serves a resource, and
`PatchesApplied` where a patch of an EnvoyFilter matched something; Istio writes `Reconciled` where its status is on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from meshverdict.chaos.answers import AS_EXPECTED, NOT_EXPECTED
from meshverdict.chaos.manifests import Objects, named, read_manifests
from meshverdict.chaos.session import current
from meshverdict.model.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLL_S: Final = 0.1
_SILENT: Final = (
    "this cluster does not tell whether its sidecars serve it (no condition Reconciled): switch Istio's status on"
    " (PILOT_ENABLE_STATUS and PILOT_ENABLE_CONFIG_DISTRIBUTION_TRACKING)"
)


def policies_served(
    paths: list[str] | str,
    timeout: float = 10.0,
    required: bool = False,  # noqa: FBT001, FBT002 - JSON
) -> str:
    """Whether every sidecar serves the policies of these manifests under the treatment, and none without; phase-aware.

    Args:
        paths: Files or folders, as they were applied.
        timeout: Seconds to wait until it is so.
        required: Fail instead of answering "NOT as expected", for rollbacks.
    """
    session = current()
    objects = Objects(session.access, session.scratch)
    manifests = [
        m for path in ([paths] if isinstance(paths, str) else paths) for m in read_manifests(Path(path))
    ]
    treated = session.timeline.treated
    deadline = time.monotonic() + float(timeout)
    while True:
        found = [(named(m), objects.get(m)) for m in manifests]
        problems = [text for name, item in found if (text := problem(name, item, wanted=treated))]
        if not problems:
            names = ", ".join(name for name, _ in found)
            return f"{AS_EXPECTED}{names} {'served by every sidecar' if treated else 'not there'}"
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    if required:
        raise LabError(f"after {timeout:g} s: {'; '.join(problems)}")
    return f"{NOT_EXPECTED}{'; '.join(problems)}"


def problem(name: str, found: Mapping[str, Any] | None, *, wanted: bool) -> str:
    """What is wrong with a policy that must be served (*wanted*), or must be gone; empty when nothing is. Pure."""
    if not wanted:
        return "" if found is None else f"{name} is still there"
    if found is None:
        return f"{name} is not there"
    status = found.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    reconciled = conditions.get("Reconciled")
    if reconciled is None:
        return f"{name}: {_SILENT}"
    seen = reconciled.get("observedGeneration", status.get("observedGeneration"))
    if seen is not None and int(seen) < int(found["metadata"].get("generation") or 0):
        return f"{name}: the newest form has not reached the sidecars"
    # Only True says that it is served; PatchesApplied is there for policies with patches alone.
    for condition in (reconciled, conditions.get("PatchesApplied") or {"status": "True"}):
        if condition.get("status") != "True":
            said = condition.get("message") or condition.get("reason") or "not served"
            return f"{name}: {said} (condition {condition.get('type')}: {condition.get('status')})"
    return ""
