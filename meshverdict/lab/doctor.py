"""What this machine has and lacks for an embedded lab: findings, each with its way out."""

from __future__ import annotations

import ctypes.util
import platform
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from meshverdict.model.errors import UsageError
from meshverdict.model.settings import LabSettings
from meshverdict.runtime.envoy_binary import REMEDY as ENVOY_REMEDY
from meshverdict.runtime.envoy_binary import few_files, find_envoy, inotify_instances
from meshverdict.runtime.images import ImageTable
from meshverdict.runtime.machine import Machine
from meshverdict.runtime.world import probe_user_namespaces

# Images that the seed's lab starts; the others are only needed by whoever uses them.
_LAB_IMAGES = ("traefik", "httpd", "redis", "webdis")
_SIDECARS = "sidecars"
_LAB_MODULES = ("aiohttp", "cryptography", "flask", "gunicorn", "kubernetes_validate", "redis")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        needed: Whether the lab cannot run without it.
        package: The Debian package that brings it, or an empty string.
        remedy: What a person types, when it is not ok.
    """

    what: str
    ok: bool
    detail: str = ""
    remedy: str = ""
    package: str = ""
    needed: bool = True

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything an embedded lab needs."""
    if platform.system() != "Linux":
        return [
            Finding(
                "operating system",
                ok=False,
                detail=f"{platform.system()} has no network namespaces",
                remedy="use a Linux machine, or name a real cluster with --context NAME",
            )
        ]
    machine = Machine.here()
    return [_python(), _namespaces(), *_modules(), *_programs(machine), _nftables(machine), _sidecars()]


def obstacles(findings: Sequence[Finding], settings: LabSettings) -> list[str]:
    """What keeps a lab with *settings* from running, one line each."""
    lines = [f"{f.what}: {f.detail}; {f.remedy}" for f in findings if f.needed and not f.ok]
    if settings.sidecars:
        lines += [f"{f.what}: {f.detail}; {f.remedy}" for f in findings if f.what == _SIDECARS and not f.ok]
    return lines


def _sidecars() -> Finding:
    path = find_envoy()
    detail = path or "Envoy is not found; it is the sidecar of a pod in the mesh"
    if path and few_files():
        limit = f"fs.inotify.max_user_instances is {inotify_instances()}"
        detail = (
            f"{path}; {limit}, which is enough for a dozen sidecars, with endpoints inside their clusters"
        )
    return Finding(_SIDECARS, ok=path is not None, detail=detail, remedy=ENVOY_REMEDY, needed=False)


def missing_packages(findings: Iterable[Finding]) -> list[str]:
    """The Debian packages that would mend what is missing."""
    return sorted({f.package for f in findings if f.package and not f.ok})


def install_command(findings: Iterable[Finding]) -> list[str]:
    """What to type for the packages that are missing, by line; empty when none is."""
    packages = missing_packages(findings)
    if not packages:
        return []
    return [
        "On Debian and Ubuntu:",
        f"  apt-get install {' '.join(packages)}",
        "or `make setup`, which also works without root.",
    ]


def report(findings: Sequence[Finding]) -> str:
    """The findings for a person, with what to type at the end."""
    width = max(len(f.what) for f in findings)
    lines = [
        f"{'ok ' if f.ok else '-- '} {f.what.ljust(width)}   {f.detail}{'' if f.ok else '; ' + f.remedy}"
        for f in findings
    ]
    command = install_command(findings)
    lines += [
        *(("", *command) if command else ()),
        "",
        "An embedded lab can run here."
        if all(f.ok or not f.needed for f in findings)
        else "An embedded lab cannot run here yet.",
    ]
    return "\n".join(lines)


def image_rows(images: str | None) -> list[dict[str, str]]:
    """The image table as rows for printing."""
    table = ImageTable()
    if images:
        path = Path(images)
        if not path.is_file():
            raise UsageError(f"--images {images}: no such file")
        table = table.merged(path)
    return [
        {
            "image": name,
            "command": " ".join(table.find(name).argv(None, None)),
            "needs": ", ".join(table.find(name).needs),
        }
        for name in table.names()
    ]


def _python() -> Finding:
    version = platform.python_version()
    return Finding(
        "python", ok=sys.version_info >= (3, 11), detail=version, remedy="Python 3.11 or newer is needed"
    )


def _namespaces() -> Finding:
    support = probe_user_namespaces()
    return Finding(
        "user namespaces", ok=support.ok, detail=support.reason or "allowed", remedy=support.remedy
    )


def _modules() -> list[Finding]:
    missing = [m for m in _LAB_MODULES if find_spec(m) is None]
    return [
        Finding(
            "python packages",
            ok=not missing,
            detail=f"missing: {', '.join(missing)}" if missing else "all there",
            remedy="pip install 'meshverdict[lab]'",
        )
    ]


def _programs(machine: Machine) -> list[Finding]:
    table, found = ImageTable(), []
    for name in _LAB_IMAGES:
        for program, package in table.find(name).needs.items():
            path = shutil.which(program, path=machine.path())
            found.append(
                Finding(
                    program,
                    ok=path is not None,
                    detail=path or f"not found; the image {name} runs it",
                    remedy=f"install the Debian package {package}"
                    if package
                    else "pip install 'meshverdict[lab]'",
                    package=package,
                )
            )
    return found


def _nftables(machine: Machine) -> Finding:
    private = list(machine.prefix.rglob("libnftables.so.1")) if machine.prefix else []
    name = str(private[0]) if private else ctypes.util.find_library("nftables")
    return Finding(
        "libnftables",
        ok=name is not None,
        detail=name or "not found; it loads the packet rules into the kernel",
        remedy="install the Debian package libnftables1",
        package="libnftables1",
    )
