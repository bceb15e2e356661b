"""Find whom to put under load when nobody says: the lab that runs here, or the cluster around us."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

INGRESS_SERVICE = "http://traefik-ingress-service.a-ingress-traefik.svc.cluster.local"
HOST_HEADER = "pippo.lan"
NO_TARGET = (
    "no target for the load: no lab is up on this machine, and this is no pod. "
    "Start one with `meshverdict up`, or name a target: --host http://ADDRESS:PORT"
)


def find_target(environ: Mapping[str, str] = os.environ) -> str | None:
    """Base URL of the lab's ingress; None when there is neither a lab nor a cluster around this process."""
    return _published(environ) or (INGRESS_SERVICE if "KUBERNETES_SERVICE_HOST" in environ else None)


def _published(environ: Mapping[str, str]) -> str | None:
    """The ingress that lab.json names, if that lab still runs."""
    base = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = base / "meshverdict" / environ.get("MESHVERDICT_LAB", "default")
    try:
        ingress = json.loads((folder / "lab.json").read_text())["ingress"]
        if not _locked(folder / "lock"):
            return None
        return f"http://{ingress['host']}:{int(ingress['port'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _locked(lock: Path) -> bool:
    """Whether a process holds the lab's lock: otherwise lab.json was left by a dead one."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
