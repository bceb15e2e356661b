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
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from meshverdict.model.errors import UsageError
from meshverdict.model.paths import PACKAGE, data_folder
from meshverdict.runtime.rootfs import Mount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DEFAULT_UID: Final = 1000
_SYSTEM_PATH: Final = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


class ImageError(Exception):
    """The image cannot be used here; the text is what the pod's status shows."""


@dataclass(frozen=True, slots=True)
class Image:
    """One row of the table.

    Attributes:
        program: What options are given to when ``args`` begins with ``-`` (as the usual entry points do).
        entrypoint: What ``command`` replaces.
        cmd: What ``args`` replaces.
        defaults: Options with their values, appended to *program* when the caller does not give them.
        needs: Programs that must be on this machine, each with the Debian package that has it.
        shows: Files or folders of this machine to show elsewhere, as ``source: target``.
        folders: Folders that the container may write to.
        ports: Documentation of the ports that the program listens on.
    """

    name: str
    program: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    shows: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    workdir: str = "/"
    user: int = DEFAULT_UID
    ports: tuple[int, ...] = ()

    def argv(self, command: Sequence[str] | None, args: Sequence[str] | None) -> list[str]:
        """The argument list, by Kubernetes' rules of command and args."""
        if command:
            argv = [*command, *(args or ())]
        elif args:
            argv = [*self.entrypoint, *args]
        else:
            argv = [*self.entrypoint, *self.cmd]
        if argv and argv[0].startswith("-"):
            argv = [*self.program, *argv]
        if argv and argv[0] in self.aliases:
            argv = [*self.aliases[argv[0]].split(), *argv[1:]]
        if self.program and tuple(argv[: len(self.program)]) == self.program:
            for option, value in self.defaults:
                if option not in argv:
                    argv += [option, value]
        return argv


_SHELL_NEEDS: Final = {"sh": "dash", "sleep": "coreutils"}
_APACHE_ROOT: Final = "/usr/local/apache2"
_APACHE_PROGRAM: Final = ("apache2", "-d", _APACHE_ROOT, "-D", "FOREGROUND")
_APACHE: Final = Image(
    "httpd",
    program=_APACHE_PROGRAM,
    cmd=_APACHE_PROGRAM,
    defaults=(("-f", f"{_APACHE_ROOT}/conf/httpd.conf"),),
    needs={"apache2": "apache2-bin"},
    aliases={"httpd-foreground": " ".join(_APACHE_PROGRAM), "httpd": f"apache2 -d {_APACHE_ROOT}"},
    shows={
        "/usr/lib/apache2/modules": f"{_APACHE_ROOT}/modules",
        "/etc/mime.types": f"{_APACHE_ROOT}/conf/mime.types",
    },
    folders=(f"{_APACHE_ROOT}/logs", f"{_APACHE_ROOT}/htdocs"),
    workdir=_APACHE_ROOT,
    ports=(80,),
)
_SHELL: Final = Image("busybox", cmd=("sh",), needs=_SHELL_NEEDS)

_TABLE: Final = (
    Image("traefik", program=("traefik",), cmd=("traefik",), needs={"traefik": ""}, ports=(80,)),
    _APACHE,
    replace(_APACHE, name="apache"),
    Image(
        "redis",
        program=("redis-server",),
        cmd=("redis-server",),
        # The image of that name is built without protected mode.
        defaults=(("--protected-mode", "no"),),
        needs={"redis-server": "redis-server"},
        folders=("/data",),
        workdir="/data",
        ports=(6379,),
    ),
    Image(
        "webdis",
        cmd=("webdis", "/etc/webdis.prod.json"),
        needs={"webdis": "webdis"},
        ports=(7379,),
    ),
    Image(
        "meshverdict/app",
        cmd=("python", "-m", "gunicorn", "-c", "/app/gunicorn.conf.py", "app:APP"),
        env={"PYTHONUNBUFFERED": "1"},
        shows={"@app": "/app"},
        workdir="/app",
        ports=(5000, 9102),
    ),
    Image(
        "meshverdict/load",
        program=("python", "-m", "locust"),
        cmd=("python", "-m", "locust"),
        env={"PYTHONUNBUFFERED": "1"},
        shows={"@locustfiles": "/locustfiles"},
        workdir="/locustfiles",
    ),
    Image("python", cmd=("python",), env={"PYTHONUNBUFFERED": "1"}),
    _SHELL,
    *(replace(_SHELL, name=name) for name in ("alpine", "bash", "debian", "ubuntu")),
    Image(
        "pause",
        entrypoint=("sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"),
        needs=_SHELL_NEEDS,
    ),
    Image("curl", program=("curl",), entrypoint=("curl",), needs={"curl": "curl"}),
    Image(
        "nginx",
        cmd=("nginx", "-g", "daemon off;"),
        needs={"nginx": "nginx-light"},
        folders=("/var/lib/nginx", "/var/log/nginx"),
        ports=(80,),
    ),
)


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

    def __init__(self, images: Iterable[Image] = _TABLE) -> None:
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


def read_images(file: Path) -> list[Image]:
    """The rows of a user's file.

    Raises:
        UsageError: Naming the file, the image and the key.
    """
    try:
        values = yaml.safe_load(file.read_text())
    except OSError as error:
        raise UsageError(f"--images {file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"--images {file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UsageError(f"--images {file}: expected a mapping of image names, e.g. 'my-app: {{cmd: [...]}}'")
    return [_image(file, str(name), row) for name, row in values.items()]


def _image(file: Path, name: str, row: Any) -> Image:
    where = f"--images {file}: image {name!r}"
    known = {f.name for f in fields(Image)} - {"name"}
    if not isinstance(row, dict):
        raise UsageError(f"{where}: expected a mapping with any of {', '.join(sorted(known))}")
    values: dict[str, Any] = {}
    for key, value in row.items():
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}; known are {', '.join(sorted(known))}")
        if key in ("program", "entrypoint", "cmd", "folders", "ports"):
            if not isinstance(value, list):
                raise UsageError(f"{where}: {key} must be a list")
            values[key] = tuple(value if key == "ports" else map(str, value))
        elif key in ("env", "needs", "aliases", "shows"):
            if not isinstance(value, dict):
                raise UsageError(f"{where}: {key} must be a mapping")
            values[key] = {str(k): str(v) for k, v in value.items()}
        elif key == "defaults":
            values[key] = tuple((str(k), str(v)) for k, v in dict(value).items())
        else:
            values[key] = value
    return Image(name, **values)


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
